"""Evidence before and after verification: two types that cannot be mistaken for each other.

`Evidence` is bytes that somebody sent. `Verified` is claims that a hardware key vouches for, together with everything they were
verified against. Only :meth:`Checklist`-driven verification in a kind can make one (see :func:`conclude`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Final, Generic, Literal, Protocol, TypeVar, get_type_hints

from attest import limits
from attest.checks import Check, Checklist, CheckResult
from attest.crypto import framed, sha256
from attest.errors import MalformedError
from attest.versions import VersionForm
from attest.wire import bounded

if TYPE_CHECKING:
    from attest.recipient import Recipient
    from attest.trust import TrustStore


# -- claims ---------------------------------------------------------------------------------------------------------------


class ClaimEnum(StrEnum):
    """Base of every closed vocabulary. Becomes a Cedar enum entity type of the same name."""


class Debug(ClaimEnum):
    """Whether a debugger or the host can look into the device."""

    OFF = "off"
    ON = "on"
    UNKNOWN = "unknown"


class Tri(ClaimEnum):
    """A yes or no that the hardware may not be able to say."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Revocation(ClaimEnum):
    """What the revocation answers said. A revoked certificate never becomes a claim: it ends the verification."""

    GOOD = "good"
    UNKNOWN = "unknown"


class EventLogState(ClaimEnum):
    """Whether there is an event log that replays to the measured registers. One that does not ends the verification."""

    REPLAYED = "replayed"
    ABSENT = "absent"


class Measurements(ClaimEnum):
    """Runtime measurements against the signed reference values for the version that the device reports."""

    MATCH = "match"
    MISMATCH = "mismatch"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ClaimInfo:
    """What a claim means, where it stands in the evidence, and the vendor's own name for it.

    Used as annotation: ``vmpl: Annotated[int, ClaimInfo("Privilege level", where="report 0x030")]``. ``version`` names a sibling text
    claim that spells this packed number the way a person writes it, and ``form`` how it is packed; both or neither are set.
    """

    meaning: str
    where: str
    vendor: str = ""
    version: str = ""
    form: VersionForm | None = None


ClaimValue = bool | int | str | frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimSet:
    """Typed claims about one subject of a policy decision: a device, or the workload as a whole.

    Allowed field types: bool, int (0..2**63-1), str, frozenset[str], and :class:`ClaimEnum` classes, each annotated with a
    :class:`ClaimInfo`. There are no optional claims: what a device cannot say is an enum member ``unknown`` or the empty string,
    never absence (host rule H7).
    """

    def values(self) -> Mapping[str, ClaimValue]:
        """Claim name to value, in declaration order."""
        return MappingProxyType({item.name: getattr(self, item.name) for item in dataclasses.fields(self)})


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims(ClaimSet):
    """Claims that every device has; a kind's claims type adds its own (frozen, slotted, keyword-only dataclass)."""

    debug: Annotated[Debug, ClaimInfo("Debugging of the device or guest", where="see the kind")]
    simulated: Annotated[bool, ClaimInfo("Made by the simulator", where="trust store")]
    revocation: Annotated[Revocation, ClaimInfo("Revocation of the certificate chain", where="CRL or OCSP answers")]
    device_id: Annotated[str, ClaimInfo("Identity of the chip, stable across firmware", where="see the kind")]


def declared(claims: type[ClaimSet]) -> Mapping[str, tuple[object, ClaimInfo]]:
    """Claim name to (type, declaration) of a claims class, in declaration order.

    Raises TypeError for a field without a :class:`ClaimInfo`.
    """
    if claims not in _DECLARED:
        found: dict[str, tuple[object, ClaimInfo]] = {}
        for name, hint in get_type_hints(claims, include_extras=True).items():
            metadata: tuple[object, ...] = getattr(hint, "__metadata__", ())
            if len(metadata) != 1 or not isinstance(metadata[0], ClaimInfo):
                raise TypeError(f"{claims.__name__}.{name} has no ClaimInfo")
            found[name] = (hint.__origin__, metadata[0])
        _DECLARED[claims] = MappingProxyType(found)
    return _DECLARED[claims]


_DECLARED: Final[dict[type[ClaimSet], Mapping[str, tuple[object, ClaimInfo]]]] = {}  # classes do not change once they are read


# -- evidence -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Evidence:
    """What one device sent: its kind, its label in the bundle ("gpu-0", "cpu"), and named parts of raw bytes.

    Untrusted. ``digest`` is hex SHA-256 over kind and parts and identifies these very bytes; it is not the identity of the statement
    (signatures are malleable), which is :attr:`Verified.statement`.
    """

    kind: str
    label: str
    parts: Mapping[str, bytes]
    digest: str

    @classmethod
    def of(cls, kind: str, label: str, parts: Mapping[str, bytes]) -> Evidence:
        """Build with digest. Raises MalformedError when a part is over its size limit."""
        for name, data in parts.items():
            bounded(data, limits.MAX_EVIDENCE_PART_BYTES, f"{label}: {name}")
        frozen = {name: bytes(parts[name]) for name in sorted(parts)}
        fields = [kind.encode()]
        for name, data in frozen.items():
            fields += [name.encode(), data]
        return cls(kind, label, MappingProxyType(frozen), sha256(framed("attest-evidence/1", fields)).hex())

    def part(self, name: str) -> bytes:
        """One part. Raises MalformedError when it is missing."""
        if name not in self.parts:
            raise MalformedError.at(
                "evidence.part-missing",
                f"{self.kind} evidence has no part {name!r}",
                found=", ".join(self.parts) or "nothing",
                expected=name,
            ).about(self.label)
        return self.parts[name]


# -- collateral -----------------------------------------------------------------------------------------------------------


class CollateralType(StrEnum):
    """What kinds of endorsement, revocation and reference material a bundle can carry."""

    CERTIFICATES = "certificates"  # PEM, intermediates and roots; believed only when they chain to a pin
    CRL = "crl"  # DER
    OCSP = "ocsp"  # DER OCSPResponse
    RIM = "rim"  # XML
    TCB_INFO = "tcb-info"  # JSON: Intel's TCB Info and its signature as received, and the certificates of the signer
    QE_IDENTITY = "qe-identity"  # JSON: Intel's QE Identity likewise


@dataclass(frozen=True, slots=True)
class CollateralItem:
    """One piece of collateral: type, a name for people, bytes, and when it was fetched. Untrusted until verified.

    ``digest`` is the hex SHA-256 of the bytes.
    """

    type: CollateralType
    name: str
    data: bytes
    fetched_at: datetime
    digest: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256(self.data).hex())


@dataclass(frozen=True, slots=True)
class Collateral:
    """All collateral of a bundle, in bundle order."""

    items: tuple[CollateralItem, ...] = ()

    def of_type(self, wanted: CollateralType) -> tuple[CollateralItem, ...]:
        """Items of one type, in order."""
        return tuple(item for item in self.items if item.type is wanted)


@dataclass(frozen=True, slots=True)
class Wanted:
    """A piece of collateral that is missing, and where its publisher has it. Computed from *unverified* evidence.

    ``host`` is one of the few that the kind names in its code; ``path`` begins with "/" . ``body`` makes it a POST of ``media_type``.
    ``form`` says how the answer carries the piece: as it is, as a DER certificate that is kept as PEM, as base64 in the member
    "rim" of a JSON object whose "id" is the name, or as a signed JSON document whose signer's certificates stand in ``header``.
    """

    type: CollateralType
    name: str
    host: str
    path: str
    body: bytes = b""
    media_type: str = ""
    form: Literal["raw", "der-certificate", "rim-json", "signed-document"] = "raw"
    header: str = ""


# -- verified -------------------------------------------------------------------------------------------------------------

C_co = TypeVar("C_co", bound=Claims, covariant=True)
_SEAL: Final = object()


class Verified(Generic[C_co]):
    """Claims that hardware vouches for, and what they were verified against. Immutable; made only by :func:`conclude`.

    claims            typed claims
    subject           label of the device in the bundle
    kind              name of the kind
    statement         SHA-384 over the signed bytes: the identity of the statement, unaffected by signature malleability (48 bytes)
    freshness         the signed field that the requester chose: GPU nonce (32 bytes), SNP REPORT_DATA (64 bytes)
    evidence_digest   hex SHA-256 of the evidence as received
    chain             hex SHA-256 fingerprints of the certificates, leaf first, root last
    trust_digest      digest of the trust store
    collateral        hex SHA-256 digests of every piece of collateral that the result rests on
    at                the time at which it was judged
    valid_until       the earliest end of validity among certificates and collateral used
    resident          the recipient key that the device shows to be inside it, where only it can use it; None when it shows none
    checks            every check of the kind with its result
    """

    __slots__ = (
        "at", "chain", "checks", "claims", "collateral", "evidence_digest", "freshness", "kind", "resident", "statement", "subject",
        "trust_digest", "valid_until",
    )  # fmt: skip

    claims: C_co
    subject: str
    kind: str
    statement: bytes
    freshness: bytes
    evidence_digest: str
    chain: tuple[str, ...]
    trust_digest: str
    collateral: tuple[str, ...]
    at: datetime
    valid_until: datetime
    resident: Recipient | None
    checks: tuple[CheckResult, ...]

    def __init__(self, seal: object, members: Mapping[str, object]) -> None:
        if seal is not _SEAL:
            raise TypeError("Verified is made by verification only")
        for name in self.__slots__:
            object.__setattr__(self, name, members[name])

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("Verified is immutable")

    def __delattr__(self, name: str) -> None:
        raise AttributeError("Verified is immutable")

    def __reduce__(self) -> str:
        raise TypeError("Verified cannot be copied or pickled: verify again")

    def __repr__(self) -> str:
        return f"<Verified {self.kind} {self.subject}>"


C = TypeVar("C", bound=Claims)


def conclude(
    evidence: Evidence,
    claims: C,
    *,
    checklist: Checklist,
    statement: bytes,
    freshness: bytes,
    chain: tuple[str, ...],
    trust: TrustStore,
    collateral: tuple[str, ...],
    at: datetime,
    valid_until: datetime,
    resident: Recipient | None = None,
) -> Verified[C]:
    """The one maker of :class:`Verified`; called as the last line of a kind's ``verify``.

    Raises AssertionError when a check of the kind has no result, or when the claims and the trust store disagree on simulation.
    """
    if claims.simulated is not trust.simulated:
        raise AssertionError("claims and trust store disagree on simulation")
    if at.tzinfo is None or len(statement) != 48:
        raise AssertionError("naive time or wrong statement digest")
    return Verified(
        _SEAL,
        {
            "claims": claims,
            "subject": evidence.label,
            "kind": evidence.kind,
            "statement": statement,
            "freshness": freshness,
            "evidence_digest": evidence.digest,
            "chain": chain,
            "trust_digest": trust.digest,
            "collateral": collateral,
            "at": at,
            "valid_until": valid_until,
            "resident": resident,
            "checks": checklist.close(),
        },
    )


class Scope(StrEnum):
    """What a device of a kind vouches for with the field that the requester chooses."""

    WORKLOAD = "workload"  # a CPU TEE: 64 bytes, binds nonce, recipient and the set of all other devices
    DEVICE = "device"  # an accelerator: 32 bytes, binds nonce and recipient
    BOOT = "boot"  # a TPM: 32 bytes, binds nonce, recipient and the set of accelerators; shows what was booted, hides no memory


class Kind(Protocol):
    """A kind of evidence: one folder under attest/kinds, one line in the registry.

    ``principal`` is the name of its Cedar entity type; ``parts`` the evidence parts it reads (surplus parts are refused);
    ``checks`` everything it verifies, in order; ``scope`` what its freshness field can bind.
    """

    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def principal(self) -> str: ...
    @property
    def claims_type(self) -> type[Claims]: ...
    @property
    def scope(self) -> Scope: ...
    @property
    def parts(self) -> tuple[str, ...]: ...
    @property
    def checks(self) -> tuple[Check, ...]: ...

    def recognise(self, data: bytes) -> tuple[Evidence, ...]:
        """Evidence found in a file of this kind's own or its vendor's formats (labels are numbered); empty when it is not one."""
        ...

    def statement(self, evidence: Evidence) -> bytes:
        """SHA-384 over the signed bytes of the *unverified* report (48 bytes): what a collector needs to compute the binding of the
        CPU report to the other devices. Raises MalformedError.
        """
        ...

    def inspect(self, evidence: Evidence) -> Mapping[str, str]:
        """Field name to readable value of the *unverified* report, for people. Raises MalformedError."""
        ...

    def wanted(self, evidence: Evidence, collateral: Collateral) -> tuple[Wanted, ...]:
        """What the vendor publishes for this *unverified* evidence and the collateral does not have. May want more once that is there.

        Raises MalformedError for evidence that cannot be read.
        """
        ...

    def verify(self, evidence: Evidence, *, trust: TrustStore, collateral: Collateral, at: datetime) -> Verified[Claims]:
        """Parse and verify. Raises AttestError whose reasons name the failed check."""
        ...
