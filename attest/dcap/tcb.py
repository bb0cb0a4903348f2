"""Which TCB level a platform has, and which of its parts falls short of a better one.

Source: Intel Quote Verification Library, requirements 4.1.2.5.14 to 4.1.2.5.17 and 4.1.2.9; version of 2026.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from attest.dcap.checks import MODULE_LEVEL, QE_LEVEL, TCB_LEVEL, TDX_MODULE
from attest.dcap.documents import COMPONENTS, ModuleIdentity, QeIdentity, SvnLevel, TcbInfo, TcbLevel
from attest.dcap.pck import PckPlatform
from attest.dcap.status import TcbStatus, converge, relaunch

# From good to bad: which level a shortfall is told against.
_RANK: Final = (
    TcbStatus.UP_TO_DATE, TcbStatus.SW_HARDENING_NEEDED, TcbStatus.CONFIGURATION_NEEDED, TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED,
    TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED, TcbStatus.REVOKED,
)  # fmt: skip
_GOOD: Final = frozenset({TcbStatus.UP_TO_DATE})


@dataclass(frozen=True, slots=True)
class Assessment:
    """The TCB of one launch: the levels that were matched, and what follows from them.

    date         the oldest of the dates of the levels, RFC 3339 text
    advisories   of all three levels, each once, in the order platform, quoting enclave, module
    """

    status: TcbStatus
    platform: TcbLevel
    module: SvnLevel | None
    qe: SvnLevel
    date: str
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TcbResult:
    """What is said of a platform: at launch, now (None when the quote does not say), and both together.

    ``shortfalls`` says for each part that keeps the status from being better what it has and what it needs.
    """

    status: TcbStatus
    launch: Assessment
    current: Assessment | None
    shortfalls: tuple[str, ...]

    @property
    def revoked(self) -> bool:
        """Whether Intel has revoked any part of what was or is running."""
        return TcbStatus.REVOKED in (self.launch.status, self.current.status if self.current else None)


def module_identity(info: TcbInfo, svn: bytes) -> ModuleIdentity:
    """The identity that a TDX module with this TEE_TCB_SVN must have. Raises the failure of the module's level when Intel lists none."""
    if svn[1] == 0:
        if info.module is None:
            raise TDX_MODULE.failure(found="no tdxModule in the TCB Info", expected="an identity of the TDX module")
        return info.module
    name = f"TDX_{svn[1]:02X}"
    identity = info.modules.get(name)
    if identity is None:
        raise MODULE_LEVEL.failure(
            where="TCB Info: tdxModuleIdentities", found=f"no identity {name}", expected=", ".join(sorted(info.modules)) or "one at least"
        )
    return identity


def evaluate(info: TcbInfo, identity: QeIdentity, platform: PckPlatform, qe_svn: int, svns: Sequence[bytes]) -> TcbResult:
    """The TCB of a platform. ``svns``: nothing for SGX, TEE_TCB_SVN of the launch, and then that of now where the quote has it.

    Raises RefusedError when a part is below every level: a current TCB that cannot be evaluated is no better than one of the launch.
    """
    qe = _svn_level(identity.levels, qe_svn)
    if qe is None:
        raise QE_LEVEL.failure(
            where="QE report, ISVSVN",
            found=str(qe_svn),
            expected=f"at least {min((level.isv_svn for level in identity.levels), default=0)}",
        )
    launch = _assess(info, platform, qe, svns[0] if svns else b"")
    current = _assess(info, platform, qe, svns[1]) if len(svns) > 1 else None
    status = launch.status if current is None else relaunch(launch.status, current.status)
    return TcbResult(status, launch, current, _shortfalls(info, identity, platform, qe_svn, svns[0] if svns else b"", launch))


def _assess(info: TcbInfo, platform: PckPlatform, qe: SvnLevel, svn: bytes) -> Assessment:
    level = next((level for level in info.levels if _reaches(level, platform, svn)), None)
    if level is None:
        raise TCB_LEVEL.failure(
            where="PCK certificate and TEE_TCB_SVN" if svn else "PCK certificate",
            found="; ".join(_nearest(info, platform, svn)) or "no level at all",
            expected="one of Intel's TCB levels",
        )
    module = None
    if svn and svn[1] > 0:
        listed = module_identity(info, svn)
        module = _svn_level(listed.levels, svn[0])
        if module is None:
            least = min((item.isv_svn for item in listed.levels), default=0)
            raise MODULE_LEVEL.failure(where="TEE_TCB_SVN[0]", found=f"TDX module {listed.id} SVN {svn[0]}", expected=f"at least {least}")
    parts = (qe,) if module is None else (qe, module)
    return Assessment(
        converge(level.status, (part.status for part in parts)),
        level,
        module,
        qe,
        min(level.date, *(part.date for part in parts)),
        tuple(dict.fromkeys((*level.advisories, *(name for part in parts for name in part.advisories)))),
    )


def _reaches(level: TcbLevel, platform: PckPlatform, svn: bytes) -> bool:
    """Whether every component is at least that of the level."""
    if platform.pce_svn < level.pce_svn:
        return False
    for have, need in zip(platform.cpu_svn, level.sgx, strict=True):
        if have < need:
            return False
    if svn:
        # With a module version, SVN and version of the module are judged by its identity, not by the level.
        start = 2 if svn[1] > 0 else 0
        for have, need in zip(svn[start:], level.tdx[start:], strict=True):
            if have < need:
                return False
    return True


def _svn_level(levels: tuple[SvnLevel, ...], svn: int) -> SvnLevel | None:
    return next((level for level in levels if svn >= level.isv_svn), None)


# -- what falls short -----------------------------------------------------------------------------------------------------


def _shortfalls(info: TcbInfo, identity: QeIdentity, platform: PckPlatform, qe_svn: int, svn: bytes, found: Assessment) -> tuple[str, ...]:
    """Every part that is older than in the best level that Intel lists, in words."""
    words: list[str] = []
    if found.platform.status not in _GOOD:
        words += _nearest(info, platform, svn)
    if found.module is not None and found.module.status not in _GOOD:
        name = f"TDX module {module_identity(info, svn).id} SVN"
        words += _short_svn(name, svn[0], module_identity(info, svn).levels)
    if found.qe.status not in _GOOD:
        words += _short_svn("quoting enclave SVN", qe_svn, identity.levels)
    return tuple(words)


def _nearest(info: TcbInfo, platform: PckPlatform, svn: bytes) -> list[str]:
    """The components that fall short of the best level; of several equally good ones, of the one that is missed by the fewest."""
    if not info.levels:
        return []
    best = min(_RANK.index(level.status) for level in info.levels)
    candidates = [level for level in info.levels if _RANK.index(level.status) == best]
    missing = [(_missing(info, level, platform, svn), level) for level in candidates]
    words, level = min(missing, key=lambda pair: len(pair[0]))
    return [f"{word} for the {level.status} level of {level.date[:10]}" for word in words]


def _missing(info: TcbInfo, level: TcbLevel, platform: PckPlatform, svn: bytes) -> list[str]:
    words = [
        f"SGX component {index + 1}{_named(info.sgx_names[index])} is {platform.cpu_svn[index]}, needs {level.sgx[index]}"
        for index in range(COMPONENTS)
        if platform.cpu_svn[index] < level.sgx[index]
    ]
    if platform.pce_svn < level.pce_svn:
        words.append(f"PCE SVN is {platform.pce_svn}, needs {level.pce_svn}")
    if svn:
        words += [
            f"TDX component {index + 1}{_named(info.tdx_names[index])} is {svn[index]}, needs {level.tdx[index]}"
            for index in range(2 if svn[1] > 0 else 0, COMPONENTS)
            if svn[index] < level.tdx[index]
        ]
    return words


def _short_svn(name: str, svn: int, levels: tuple[SvnLevel, ...]) -> list[str]:
    best = min(levels, key=lambda level: (_RANK.index(level.status), level.isv_svn))
    return [f"{name} is {svn}, needs {best.isv_svn} for the {best.status} level of {best.date[:10]}"] if svn < best.isv_svn else []


def _named(name: str) -> str:
    return f" ({name})" if name else ""
