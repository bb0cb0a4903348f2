"""TCB Info (version 2 and 3) and QE Identity (version 2): signed JSON to typed values.

A document that holds anything unknown is refused: Intel has added members that change what a document means without a new version
(tdxModuleIdentities in version 3), and a reader that skips them judges wrongly.

Source: Intel SGX and TDX Provisioning Certification Service API version 4, appendices A (TCB Info) and B (Enclave Identity).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, NoReturn

from attest.dcap.checks import COLLATERAL_FORM
from attest.dcap.quote import Tee
from attest.dcap.status import TcbStatus
from attest.wire import Json

COMPONENTS: Final = 16
_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ\Z")
_HEX: Final = re.compile(r"(?:[0-9a-fA-F]{2})*\Z")
_ADVISORY: Final = re.compile(r"[A-Z0-9-]{1,40}\Z")

Object = dict[str, Json]


@dataclass(frozen=True, slots=True)
class TcbLevel:
    """One level of a TCB Info: the SVNs of 16 SGX and 16 TDX components, one byte each.

    ``tdx`` is empty in a TCB Info for SGX; ``date`` is an RFC 3339 UTC time as text.
    """

    sgx: bytes
    pce_svn: int
    tdx: bytes
    date: str
    status: TcbStatus
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SvnLevel:
    """One level of a TDX module or of an enclave: an ISVSVN and what it is worth."""

    isv_svn: int
    date: str
    status: TcbStatus
    advisories: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ModuleIdentity:
    """Who signed a TDX module (48 bytes), its attributes and the mask (8 bytes each); levels in falling order.

    ``id`` is "TDX_01" and the like; empty for the `tdxModule` of platforms before module versions were told apart, which has no levels.
    """

    id: str
    mr_signer: bytes
    attributes: bytes
    mask: bytes
    levels: tuple[SvnLevel, ...]


@dataclass(frozen=True, slots=True)
class TcbInfo:
    """A TCB Info: the levels of one processor family, in the order in which they are matched.

    sgx_names and tdx_names say what each component is ("SGX Late Microcode Update"), empty where Intel does not say.
    """

    tee: Tee
    version: int
    issued: datetime
    next_update: datetime
    fmspc: bytes
    pce_id: bytes
    evaluation_number: int
    module: ModuleIdentity | None
    modules: Mapping[str, ModuleIdentity]
    levels: tuple[TcbLevel, ...]
    sgx_names: tuple[str, ...]
    tdx_names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class QeIdentity:
    """What a quoting enclave must be: misc_select 4 bytes little endian as number, attributes 16, mr_signer 32; levels in falling order."""

    tee: Tee
    issued: datetime
    next_update: datetime
    evaluation_number: int
    misc_select: int
    misc_select_mask: int
    attributes: bytes
    attributes_mask: bytes
    mr_signer: bytes
    isv_prod_id: int
    levels: tuple[SvnLevel, ...]


# -- TCB Info -------------------------------------------------------------------------------------------------------------

_TCB_MEMBERS: Final = frozenset({"version", "issueDate", "nextUpdate", "fmspc", "pceId", "tcbType", "tcbEvaluationDataNumber", "tcbLevels"})
_TCB_MEMBERS_3: Final = _TCB_MEMBERS | {"id"}
_TCB_MEMBERS_TDX: Final = _TCB_MEMBERS_3 | {"tdxModule"}
_LEVEL_MEMBERS: Final = frozenset({"tcb", "tcbDate", "tcbStatus"})
_COMPONENT_MEMBERS: Final = frozenset({"svn", "category", "type"})
_ADVISORIES: Final = frozenset({"advisoryIDs"})
_TEES: Final = {"SGX": Tee.SGX, "TDX": Tee.TDX}
_LEVEL_STATUSES: Final = frozenset(set(TcbStatus) - TcbStatus.derived())
_MODULE_STATUSES: Final = frozenset({TcbStatus.UP_TO_DATE, TcbStatus.OUT_OF_DATE, TcbStatus.REVOKED})


def read_tcb_info(value: Json) -> TcbInfo:
    """Read a TCB Info. Raises MalformedError."""
    place = "TCB Info"
    version = _integer(_object(value, place), "version", 1 << 16, place)
    if version not in (2, 3):
        _fail(place, f"version {version}", "2 or 3")
    tee = _TEES.get(_text(_object(value, place), "id", place)) if version == 3 else Tee.SGX
    if tee is None:
        _fail(place, f"id {_text(_object(value, place), 'id', place)!r}", "SGX or TDX")
    if tee is Tee.TDX:
        fields = _object(value, place, _TCB_MEMBERS_TDX, frozenset({"tdxModuleIdentities"}))
    else:
        fields = _object(value, place, _TCB_MEMBERS_3 if version == 3 else _TCB_MEMBERS)
    if (kind := _integer(fields, "tcbType", 1 << 16, place)) != 0:
        _fail(place, f"tcbType {kind}", "0: no other way to compare components is specified")
    levels, names = _levels(fields, version, tee)
    modules: dict[str, ModuleIdentity] = {}
    for index, item in enumerate(_array(fields, "tdxModuleIdentities", place) if "tdxModuleIdentities" in fields else ()):
        identity = _module(item, f"{place}: tdxModuleIdentities[{index}]", named=True)
        if identity.id in modules:
            _fail(place, f"module identity {identity.id} twice", "one each")
        modules[identity.id] = identity
    return TcbInfo(
        tee,
        version,
        _time(fields, "issueDate", place),
        _time(fields, "nextUpdate", place),
        _hex(fields, "fmspc", 6, place),
        _hex(fields, "pceId", 2, place),
        _integer(fields, "tcbEvaluationDataNumber", 1 << 31, place),
        _module(fields["tdxModule"], f"{place}: tdxModule", named=False) if tee is Tee.TDX else None,
        modules,
        levels,
        *names,
    )


def _levels(fields: Object, version: int, tee: Tee) -> tuple[tuple[TcbLevel, ...], tuple[tuple[str, ...], tuple[str, ...]]]:
    """Levels in the order of matching, and the names of the components."""
    members = frozenset({"pcesvn"})
    if version == 3:
        members |= {"sgxtcbcomponents"}
    else:
        members |= {f"sgxtcbcomp{number:02d}svn" for number in range(1, COMPONENTS + 1)}
    if tee is Tee.TDX:
        members |= {"tdxtcbcomponents"}
    levels: dict[tuple[bytes, int, bytes], TcbLevel] = {}
    sgx_names: tuple[str, ...] = ("",) * COMPONENTS
    tdx_names = sgx_names
    for index, item in enumerate(_array(fields, "tcbLevels", "TCB Info")):
        place = f"TCB Info: tcbLevels[{index}]"
        level = _object(item, place, _LEVEL_MEMBERS, _ADVISORIES)
        tcb = _object(level["tcb"], f"{place}: tcb", members)
        if version == 3:
            sgx, sgx_names = _components(tcb, "sgxtcbcomponents", place, sgx_names)
        else:
            sgx = bytes(_integer(tcb, f"sgxtcbcomp{number:02d}svn", 0xFF, place) for number in range(1, COMPONENTS + 1))
        tdx = b""
        if tee is Tee.TDX:
            tdx, tdx_names = _components(tcb, "tdxtcbcomponents", place, tdx_names)
        key = (sgx, _integer(tcb, "pcesvn", 0xFFFF, place), tdx)
        if key in levels:
            _fail(place, "the same TCB as another level", "each TCB once")
        levels[key] = TcbLevel(*key, _date(level, place), _status(level, _LEVEL_STATUSES, place), _advisories(level, place))
    # Intel's order: SGX components, then PCESVN, then TDX components, each from high to low.
    return tuple(levels[key] for key in sorted(levels, reverse=True)), (sgx_names, tdx_names)


def _components(tcb: Object, name: str, place: str, names: tuple[str, ...]) -> tuple[bytes, tuple[str, ...]]:
    """SVNs of the 16 components, and what they are. Whole-list operations: this is most of the work on a document."""
    items = _array(tcb, name, place)
    if len(items) != COMPONENTS:
        _fail(place, f"{len(items)} {name}", f"{COMPONENTS}")
    if set(map(type, items)) != {dict}:
        _fail(place, f"{name} with something else than objects", "objects")
    try:
        values = [item["svn"] for item in items]  # type: ignore[call-overload,index]  # all are objects
        svns = bytes(values)  # type: ignore[arg-type]  # refuses what is no number
    except (KeyError, ValueError, TypeError):
        _fail(place, f"{name} without svn, or out of range", "an svn of 0 to 255 each")
    if set(map(type, values)) != {int}:
        _fail(place, f"{name} with svn that is no number", "an svn of 0 to 255 each")
    if sum(map(len, items)) != COMPONENTS:  # type: ignore[arg-type]
        unknown = set().union(*items) - _COMPONENT_MEMBERS  # type: ignore[arg-type]
        if unknown:
            _fail(place, f"{name} with {', '.join(sorted(map(str, unknown)))}", "svn, category and type")
        if not any(names):
            names = tuple(_text(item, "type", place) if "type" in item else "" for item in items)  # type: ignore[arg-type,operator]
    return svns, names


def _module(value: Json, place: str, *, named: bool) -> ModuleIdentity:
    members = frozenset({"mrsigner", "attributes", "attributesMask"})
    fields = _object(value, place, members | {"id", "tcbLevels"} if named else members)
    return ModuleIdentity(
        _text(fields, "id", place).upper() if named else "",
        _hex(fields, "mrsigner", 48, place),
        _hex(fields, "attributes", 8, place),
        _hex(fields, "attributesMask", 8, place),
        _svn_levels(fields, _MODULE_STATUSES, 0xFF, place) if named else (),
    )


# -- QE Identity ----------------------------------------------------------------------------------------------------------

_QE_MEMBERS: Final = frozenset(
    {
        "id", "version", "issueDate", "nextUpdate", "tcbEvaluationDataNumber", "miscselect", "miscselectMask", "attributes",
        "attributesMask", "mrsigner", "isvprodid", "tcbLevels",
    }
)  # fmt: skip
_QES: Final = {"QE": Tee.SGX, "TD_QE": Tee.TDX}


def read_qe_identity(value: Json) -> QeIdentity:
    """Read a QE Identity. Raises MalformedError."""
    place = "QE Identity"
    if (version := _integer(_object(value, place), "version", 1 << 16, place)) != 2:
        _fail(place, f"version {version}", "2")
    fields = _object(value, place, _QE_MEMBERS)
    tee = _QES.get(_text(fields, "id", place))
    if tee is None:
        _fail(place, f"id {_text(fields, 'id', place)!r}", "QE or TD_QE")
    return QeIdentity(
        tee,
        _time(fields, "issueDate", place),
        _time(fields, "nextUpdate", place),
        _integer(fields, "tcbEvaluationDataNumber", 1 << 31, place),
        int.from_bytes(_hex(fields, "miscselect", 4, place), "little"),
        int.from_bytes(_hex(fields, "miscselectMask", 4, place), "little"),
        _hex(fields, "attributes", 16, place),
        _hex(fields, "attributesMask", 16, place),
        _hex(fields, "mrsigner", 32, place),
        _integer(fields, "isvprodid", 0xFFFF, place),
        _svn_levels(fields, _LEVEL_STATUSES, 0xFFFF, place),
    )


def _svn_levels(fields: Object, statuses: frozenset[TcbStatus], most: int, place: str) -> tuple[SvnLevel, ...]:
    levels: dict[int, SvnLevel] = {}
    for index, item in enumerate(_array(fields, "tcbLevels", place)):
        where = f"{place}: tcbLevels[{index}]"
        level = _object(item, where, _LEVEL_MEMBERS, _ADVISORIES)
        svn = _integer(_object(level["tcb"], f"{where}: tcb", frozenset({"isvsvn"})), "isvsvn", most, where)
        if svn in levels:
            _fail(where, f"isvsvn {svn} twice", "each once")
        levels[svn] = SvnLevel(svn, _date(level, where), _status(level, statuses, where), _advisories(level, where))
    return tuple(levels[svn] for svn in sorted(levels, reverse=True))


# -- members --------------------------------------------------------------------------------------------------------------


def _fail(place: str, found: str, expected: str) -> NoReturn:
    raise COLLATERAL_FORM.failure(where=place, found=found[:120], expected=expected)


def _object(value: Json, place: str, members: frozenset[str] | None = None, optional: frozenset[str] = frozenset()) -> Object:
    if not isinstance(value, dict):
        _fail(place, "no object", "an object")
    if members is not None and value.keys() != members:
        missing = members - value.keys()
        unknown = value.keys() - members - optional
        if missing or unknown:
            _fail(
                place,
                ", ".join([*(f"no {name}" for name in sorted(missing)), *(f"unknown {name}" for name in sorted(unknown))]),
                "members of this version",
            )
    return value


def _array(fields: Object, name: str, place: str) -> list[Json]:
    value = fields.get(name)
    if not isinstance(value, list):
        _fail(place, f"{name} is no array", "an array")
    return value


def _text(fields: Object, name: str, place: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or len(value) > 128:
        _fail(place, f"{name} is no short string", "a string")
    return value


def _integer(fields: Object, name: str, most: int, place: str) -> int:
    value = fields.get(name)
    if type(value) is not int or not 0 <= value <= most:
        _fail(place, f"{name} is {value!r}", f"0 to {most}")
    return value


def _hex(fields: Object, name: str, size: int, place: str) -> bytes:
    text = _text(fields, name, place)
    if len(text) != 2 * size or not _HEX.match(text):
        _fail(place, f"{name} is {text!r}", f"{size} bytes in hex")
    return bytes.fromhex(text)


def _time(fields: Object, name: str, place: str) -> datetime:
    text = _date(fields, place, name)
    return datetime.fromisoformat(text[:-1]).replace(tzinfo=UTC)


def _date(fields: Object, place: str, name: str = "tcbDate") -> str:
    text = _text(fields, name, place)
    try:
        if _TIME.match(text):
            datetime.fromisoformat(text[:-1])
            return text
    except ValueError:
        pass
    _fail(place, f"{name} is {text!r}", "YYYY-MM-DDTHH:MM:SSZ")


def _status(fields: Object, allowed: frozenset[TcbStatus], place: str) -> TcbStatus:
    text = _text(fields, "tcbStatus", place)
    if text not in allowed:
        _fail(place, f"tcbStatus {text!r}", ", ".join(sorted(allowed)))
    return TcbStatus(text)


def _advisories(fields: Object, place: str) -> tuple[str, ...]:
    if "advisoryIDs" not in fields:
        return ()
    names: list[str] = []
    for item in _array(fields, "advisoryIDs", place):
        if not isinstance(item, str) or not _ADVISORY.match(item):
            _fail(place, f"advisory {item!r}", "an id such as INTEL-SA-00837")
        names.append(item)
    return tuple(names)
