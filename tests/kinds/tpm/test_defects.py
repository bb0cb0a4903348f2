"""One thing wrong at a time, signed again, and the check that must refuse it."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from attest.checks import Status
from attest.crypto import spki_sha256
from attest.errors import AttestError
from attest.evidence import Collateral, Debug, Revocation, Verified
from attest.kinds.tpm import TPM
from attest.kinds.tpm.claims import TpmClaims
from attest.kinds.tpm.firmware import SecureBoot
from attest.kinds.tpm.identity import Hierarchy, KeyTrust
from attest.kinds.tpm.report import Selection
from attest.pki import Anchor
from attest.recipient import Kem
from attest.trust import Origin, Role, TrustStore
from tests.kinds.tpm.software import (
    DATABASE,
    ZERO,
    A,
    Ev,
    Session,
    ak,
    boot_events,
    booted,
    ec_key,
    log_of,
    oaep_key,
    pcrs_of,
    policy_digest,
    qualified,
    rsa_key,
    signature_list,
    sized,
    u16,
    u32,
    variable,
)

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
PCRS = (0, 4, 7)


def judge(session: Session) -> Verified[TpmClaims]:
    result = TPM.verify(session.evidence(), trust=session.trust(), collateral=Collateral(), at=AT)
    assert isinstance(result.claims, TpmClaims)
    return result  # type: ignore[return-value]


def code_of(session: Session) -> str:
    with pytest.raises(AttestError) as caught:
        judge(session)
    (reason,) = caught.value.reasons
    assert reason.subject == "tpm-0"
    assert reason.found or reason.expected or reason.where
    assert reason.fix or reason.code.startswith(("wire.", "evidence."))
    return reason.code


def cut(part: str, change: Callable[[bytes], bytes]) -> Session:
    def apply(parts: dict[str, bytes]) -> None:
        parts[part] = change(parts[part])

    return Session(finish=[apply])


def put(part: str, offset: int, data: bytes) -> Session:
    return cut(part, lambda old: old[:offset] + data + old[offset + len(data) :])


def resident(**changes: object) -> Session:
    """A session with a recipient key that is bound to three of its PCRs."""
    session = Session(policy=(Selection(A.SHA256, PCRS),))
    values = [session.values[A.SHA256][pcr] for pcr in PCRS]
    key = oaep_key(policy=policy_digest(session.policy or (), values))
    return dataclasses.replace(session, **({"recipient": key} | changes))  # type: ignore[arg-type]


def quoted(**changes: object) -> Session:
    return Session(**changes)  # type: ignore[arg-type]


ONE = Selection(A.SHA256, (0, 1))
SHA256_VALUES = {pcr: hashlib.sha256(bytes([pcr])).digest() for pcr in range(8)}
SHA1_VALUES = {pcr: hashlib.sha1(bytes([pcr]), usedforsecurity=False).digest() for pcr in range(8)}
SHA384_VALUES = {pcr: hashlib.sha384(bytes([pcr])).digest() for pcr in range(8)}


def raw_selection(count: bytes, body: bytes = b"") -> Session:
    """Replace the selection of the quote by bytes (and sign again)."""

    def apply(parts: dict[str, bytes]) -> None:
        session = Session()
        quote = session.attest(session.magic, session.type, session.nonce, count + body)
        parts["quote"], parts["signature"] = quote, session.ak.sign(quote)

    return Session(finish=[apply])


def relabelled() -> Session:
    """The value of PCR 10 called PCR 11 in the unsigned list."""
    session = Session()
    pcrs = tuple(11 if pcr == 10 else pcr for pcr in session.values[A.SHA256])
    return quoted(listed=(Selection(A.SHA256, pcrs),), listed_values=list(session.values[A.SHA256].values()))


def swapped_banks() -> Session:
    """Two banks, selected in another order in the list than in the quote."""
    values = {A.SHA256: {0: SHA256_VALUES[0]}, A.SHA384: {0: SHA384_VALUES[0]}}
    listed = (Selection(A.SHA384, (0,)), Selection(A.SHA256, (0,)))
    return quoted(values=values, listed=listed, listed_values=[SHA384_VALUES[0], SHA256_VALUES[0]])


REFUSED: dict[str, tuple[str, Callable[[], Session]]] = {
    # the statement
    "magic-zero": ("tpm.magic", lambda: quoted(magic=0)),
    "magic-other": ("tpm.magic", lambda: quoted(magic=0xFF544348)),
    "type-certify": ("tpm.type", lambda: quoted(type=0x8017)),
    "type-nv": ("tpm.type", lambda: quoted(type=0x8014)),
    "type-time": ("tpm.type", lambda: quoted(type=0x8019)),
    "type-creation": ("tpm.type", lambda: quoted(type=0x801A)),
    "type-unknown": ("tpm.type", lambda: quoted(type=0x8099)),
    "safe-two": ("tpm.clock", lambda: quoted(clock=bytes(16) + b"\2")),
    "quote-trailing": ("wire.trailing", lambda: cut("quote", lambda data: data + b"\0")),
    "quote-truncated": ("wire.truncated", lambda: cut("quote", lambda data: data[:-1])),
    "quote-empty": ("wire.truncated", lambda: cut("quote", lambda data: b"")),
    "extra-data-long": ("wire.truncated", lambda: quoted(nonce=bytes(67))),
    "selection-17-banks": ("tpm.selection", lambda: raw_selection((17).to_bytes(4, "big"))),
    "selection-4-bytes": ("tpm.selection", lambda: raw_selection((1).to_bytes(4, "big"), u16(A.SHA256) + b"\4\1\0\0\0")),
    "selection-0-bytes": ("tpm.selection", lambda: raw_selection((1).to_bytes(4, "big"), u16(A.SHA256) + b"\0")),
    "selection-bank-twice": ("tpm.selection", lambda: raw_selection((2).to_bytes(4, "big"), (u16(A.SHA256) + b"\3\1\0\0") * 2)),
    "selection-empty": ("tpm.selection", lambda: raw_selection(bytes(4), sized(hashlib.sha256().digest()))),
    "selection-no-pcr": ("tpm.selection", lambda: raw_selection((1).to_bytes(4, "big"), u16(A.SHA256) + b"\3\0\0\0" + sized(bytes(32)))),
    # the key's public area
    "ak-truncated": ("wire.truncated", lambda: cut("ak", lambda data: data[:-1])),
    "ak-trailing": ("wire.trailing", lambda: cut("ak", lambda data: data + b"\0")),
    "ak-keyedhash": ("tpm.public", lambda: quoted(ak=ak(area_change=lambda area: u16(A.KEYEDHASH) + area[2:]))),
    "ak-reserved-attribute": ("tpm.public", lambda: quoted(ak=ak(bits=0x00050072 | 1))),
    "ak-scheme-unknown": ("tpm.public", lambda: quoted(ak=ak(area_change=lambda area: area.replace(u16(0x14, 0xB), u16(0x1A, 0xB), 1)))),
    "ak-even-modulus": ("tpm.public", lambda: quoted(ak=ak(area_change=lambda area: area[:-1] + b"\2"))),
    "ak-off-curve": (
        "tpm.public",
        lambda: quoted(ak=ak(private=ec_key(), scheme=A.ECDSA, area_change=lambda area: area[:-1] + bytes([area[-1] ^ 1]))),
    ),
    "ak-sha1-name": ("tpm.key-strength", lambda: put("ak", 4, u16(A.SHA1))),
    "ak-rsa-1024": ("tpm.key-strength", lambda: quoted(ak=ak(private=rsa_key(1024)))),
    "ak-exponent-3": ("tpm.key-strength", lambda: quoted(ak=ak(private=rsa_key(2048, 0, 3)))),
    "ak-p521": ("tpm.key-strength", lambda: quoted(ak=ak(private=ec_key(5), scheme=A.ECDSA))),
    # the signature
    "signature-bit": ("tpm.signature", lambda: cut("signature", lambda data: data[:-1] + bytes([data[-1] ^ 1]))),
    "signature-of-other-key": (
        "tpm.signature",
        lambda: cut("signature", lambda _: ak(private=rsa_key(number=9)).sign(Session().evidence().part("quote"))),
    ),
    "quote-altered": ("tpm.signature", lambda: put("quote", 50, b"\xee")),
    "signature-scheme": ("tpm.scheme", lambda: quoted(scheme=A.RSAPSS)),
    "signature-read-as-pss": ("tpm.scheme", lambda: put("signature", 0, u16(A.RSAPSS))),
    "signature-hash": ("tpm.scheme", lambda: quoted(digest=A.SHA384)),
    "signature-sha1": ("tpm.signature-hash", lambda: quoted(ak=ak(scheme_hash=A.SHA1))),
    "signature-ecdaa": ("tpm.signature-form", lambda: put("signature", 0, u16(0x1A))),
    "signature-trailing": ("wire.trailing", lambda: cut("signature", lambda data: data + b"\0")),
    "signature-empty-number": ("tpm.signature-form", lambda: cut("signature", lambda data: data[:4] + u16(0))),
    "ecdsa-r-zero": ("tpm.signature", lambda: ecdsa(lambda r, s: (b"\0", s))),
    "ecdsa-s-order": (
        "tpm.signature",
        lambda: ecdsa(lambda r, s: (r, bytes.fromhex("FFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551"))),
    ),
    "ecdsa-oversize": ("tpm.signature-form", lambda: ecdsa(lambda r, s: (bytes(49), s))),
    # who vouches for the key
    "ak-unrestricted": ("tpm.ak-attributes", lambda: quoted(ak=ak(bits=0x00040072))),
    "ak-not-fixed": ("tpm.ak-attributes", lambda: quoted(ak=ak(bits=0x00050070))),
    "ak-not-fixed-parent": ("tpm.ak-attributes", lambda: quoted(ak=ak(bits=0x00050062))),
    "ak-brought-in": ("tpm.ak-attributes", lambda: quoted(ak=ak(bits=0x00050052))),
    "ak-decrypts": ("tpm.ak-attributes", lambda: quoted(ak=ak(bits=0x00070072))),
    "ak-not-enrolled": ("tpm.ak-trust", lambda: quoted(enrolled=False)),
    "ak-other-hierarchy": ("tpm.qualified-signer", lambda: quoted(signer=b"\0\x0b" + bytes(32))),
    "ak-other-endorsement-key": ("tpm.qualified-signer", lambda: quoted(ek_name=b"\0\x0b" + bytes(32))),
    # PCR values
    "pcrs-relabelled": ("tpm.pcr-labels", relabelled),
    "pcrs-banks-swapped": ("tpm.pcr-labels", swapped_banks),
    "pcrs-extra": ("tpm.pcr-labels", lambda: quoted(listed=(Selection(A.SHA256, tuple(range(12))),), listed_values=[bytes(32)] * 12)),
    "pcrs-missing-value": ("tpm.pcr-form", lambda: quoted(listed_values=[bytes(32)] * 11)),
    "pcrs-short-value": ("tpm.pcr-form", lambda: quoted(listed_values=[*list(Session().values[A.SHA256].values())[:-1], bytes(20)])),
    "pcrs-altered": ("tpm.pcr-digest", lambda: quoted(listed_values=[*list(Session().values[A.SHA256].values())[:-1], bytes(32)])),
    "pcrs-reordered": ("tpm.pcr-digest", lambda: quoted(listed_values=list(Session().values[A.SHA256].values())[::-1])),
    "pcrs-trailing": ("wire.trailing", lambda: cut("pcrs", lambda data: data + b"\0")),
    "pcrs-truncated": ("wire.truncated", lambda: cut("pcrs", lambda data: data[:-1])),
    "pcrs-bank-count": ("tpm.pcr-form", lambda: put("pcrs", 0, u32(17))),
    "pcrs-list-bomb": ("tpm.pcr-form", lambda: put("pcrs", 132, b"\xff\xff\xff\xff")),
    "pcr-digest-of-bank-hash": ("tpm.pcr-digest", lambda: quoted(values={A.SHA384: SHA384_VALUES}, digest_algorithm=A.SHA384)),
    "bank-sha1": ("tpm.pcr-bank", lambda: quoted(values={A.SHA1: SHA1_VALUES})),
    "bank-sha1-beside": ("tpm.pcr-bank", lambda: quoted(values={A.SHA256: SHA256_VALUES, A.SHA1: SHA1_VALUES})),
    # the recipient key
    "recipient-other-key": ("tpm.certified-name", lambda: resident(certified_name=b"\0\x0b" + bytes(32))),
    "recipient-certified-by-other": ("tpm.certify", lambda: resident(certifier=ak(private=rsa_key(number=9)))),
    "recipient-quote-as-certification": ("tpm.type", lambda: resident(certify_type=0x8018)),
    "recipient-certification-magic": ("tpm.magic", lambda: resident(certify_magic=0)),
    "recipient-exportable": ("tpm.recipient-attributes", lambda: resident(recipient=oaep_key(bits=0x00020020))),
    "recipient-duplicable": ("tpm.recipient-attributes", lambda: resident(recipient=oaep_key(bits=0x00020022))),
    "recipient-brought-in": ("tpm.recipient-attributes", lambda: resident(recipient=oaep_key(bits=0x00020012))),
    "recipient-signs": ("tpm.recipient-attributes", lambda: resident(recipient=oaep_key(bits=0x00060032))),
    "recipient-restricted": ("tpm.recipient-attributes", lambda: resident(recipient=oaep_key(bits=0x00030032))),
    "recipient-any-scheme": ("tpm.recipient-scheme", lambda: resident(recipient=oaep_key(scheme=A.NULL, scheme_hash=A.NULL))),
    "recipient-rsaes": ("tpm.recipient-scheme", lambda: resident(recipient=oaep_key(scheme=A.RSAES, scheme_hash=A.NULL))),
    "recipient-oaep-sha1": ("tpm.recipient-scheme", lambda: resident(recipient=oaep_key(scheme_hash=A.SHA1))),
    "recipient-no-policy": ("tpm.recipient-policy", lambda: resident(recipient=oaep_key())),
    "recipient-password-too": (
        "tpm.recipient-policy",
        lambda: resident(recipient=dataclasses.replace(resident().recipient or oaep_key(), bits=0x00020072)),
    ),
    "recipient-policy-not-quoted": ("tpm.recipient-policy", lambda: resident(policy=(Selection(A.SHA256, (0, 23)),))),
    "recipient-policy-of-other-pcrs": ("tpm.recipient-policy", lambda: resident(policy=(Selection(A.SHA256, (0, 4, 8)),))),
    "recipient-without-certification": ("evidence.part-missing", lambda: resident(parts={"certification": None})),
    "certification-without-recipient": ("evidence.part-missing", lambda: resident(parts={"recipient": None})),
    "policy-without-recipient": (
        "evidence.part-missing",
        lambda: resident(parts={"recipient": None, "certification": None, "certification-signature": None}),
    ),
    # parts
    "no-signature": ("evidence.part-missing", lambda: quoted(parts={"signature": None})),
    "no-pcrs": ("evidence.part-missing", lambda: quoted(parts={"pcrs": None})),
    "no-ak": ("evidence.part-missing", lambda: quoted(parts={"ak": None})),
}


def ecdsa(change: Callable[[bytes, bytes], tuple[bytes, bytes]]) -> Session:
    def apply(parts: dict[str, bytes]) -> None:
        data = parts["signature"]
        size = int.from_bytes(data[4:6], "big")
        r, s = change(data[6 : 6 + size], data[8 + size :])
        parts["signature"] = data[:4] + sized(r) + sized(s)

    return Session(ak=ak(private=ec_key(), scheme=A.ECDSA), finish=[apply])


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    code, make = REFUSED[name]
    assert code_of(make()) == code


# -- event logs -----------------------------------------------------------------------------------------------------------


def with_log(change: Callable[[list[Ev]], list[Ev]], *, measured: bool = True) -> Session:
    """A boot with a change, in log and PCRs alike, or (``measured`` False) in the log alone."""
    events = boot_events()
    changed = change(list(events))
    session = booted(changed if measured else events)
    session.parts["event-log"] = log_of(changed)
    return session


def position(events: list[Ev], pcr: int, kind: int) -> int:
    return next(index for index, event in enumerate(events) if (event.pcr, event.type) == (pcr, kind))


def swap(pcr: int, kind: int, **changes: object) -> Callable[[list[Ev]], list[Ev]]:
    def apply(events: list[Ev]) -> list[Ev]:
        index = position(events, pcr, kind)
        events[index] = dataclasses.replace(events[index], **changes)  # type: ignore[arg-type]
        return events

    return apply


def add(event: Ev) -> Callable[[list[Ev]], list[Ev]]:
    return lambda events: [*events, event]


def bytes_of_log(change: Callable[[bytes], bytes]) -> Session:
    session = booted(boot_events())
    session.parts["event-log"] = change(log_of(boot_events()))
    return session


LOGS: dict[str, tuple[str, Callable[[], Session]]] = {
    "log-trailing": ("wire.truncated", lambda: bytes_of_log(lambda data: data + b"\0")),
    "log-truncated": ("wire.truncated", lambda: bytes_of_log(lambda data: data[:-1])),
    "log-text": ("tpm.log-event", lambda: bytes_of_log(lambda data: b"this is not an event log at all!!!")),
    "log-spec-version": ("tpm.log-header", lambda: bytes_of_log(lambda data: data[:53] + b"\3" + data[54:])),
    "log-algorithm-bomb": ("tpm.log-header", lambda: bytes_of_log(lambda data: data[:56] + u32(0x7FFFFFFF) + data[60:])),
    "log-algorithm-size": ("tpm.log-header", lambda: bytes_of_log(lambda data: data[:62] + b"\x14\0" + data[64:])),
    "log-vendor-size": ("tpm.log-header", lambda: bytes_of_log(lambda data: data[:64] + b"\4" + data[65:])),
    "log-digest-count": ("tpm.log-event", lambda: bytes_of_log(lambda data: data[:73] + u32(0xFFFFFFFF) + data[77:])),
    "log-undeclared": ("tpm.log-event", lambda: bytes_of_log(lambda data: data[:77] + b"\x12\0" + data[79:])),
    "log-event-size": ("wire.truncated", lambda: bytes_of_log(lambda data: data[:111] + u32(0xFFFFFFF0) + data[115:])),
    "log-pcr-24": ("tpm.log-event", lambda: bytes_of_log(lambda data: data[:65] + u32(24) + u32(8) + data[73:])),
    "locality-late": ("tpm.log-locality", lambda: with_log(add(Ev(0, 3, b"StartupLocality\0\4")))),
    "locality-twice": ("tpm.log-locality", lambda: with_log(lambda events: [events[0], *events])),
    "locality-unknown": ("tpm.log-locality", lambda: with_log(swap(0, 3, data=b"StartupLocality\0\x09"))),
    "locality-hidden": ("tpm.log-replay", lambda: with_log(lambda events: events[1:], measured=False)),
    "event-hidden": ("tpm.log-replay", lambda: with_log(swap(7, 0x80000001, type=3), measured=False)),
    "event-missing": ("tpm.log-replay", lambda: with_log(lambda events: events[:-1], measured=False)),
    "event-surplus": ("tpm.log-replay", lambda: with_log(add(Ev(7, 4, ZERO)), measured=False)),
    "event-reordered": (
        "tpm.log-replay",
        lambda: with_log(lambda events: [*events[:4], events[5], events[4], *events[6:]], measured=False),
    ),
    "other-bank": ("tpm.log-replay", lambda: bytes_of_log(lambda data: log_of(boot_events(), (A.SHA384,)))),
    "data-flipped": (
        "tpm.log-data",
        lambda: with_log(
            swap(7, 0x80000001, data=variable("SecureBoot", b"\0"), measured=variable("SecureBoot", b"\1")),
        ),
    ),
    "action-data": ("tpm.log-data", lambda: with_log(swap(4, 0x80000007, data=b"another", measured=b"text"))),
    "separator-twice": ("tpm.log-separator", lambda: with_log(add(Ev(6, 4, ZERO)))),
    "separator-error": ("tpm.log-separator", lambda: with_log(swap(3, 4, data=b"\xff\xff\xff\xff"))),
}


@pytest.mark.parametrize("name", LOGS)
def test_log_refused(name: str) -> None:
    code, make = LOGS[name]
    assert code_of(make()) == code


def test_boot_of_a_whole_log() -> None:
    claims = judge(booted(boot_events())).claims
    assert (claims.secure_boot, claims.secure_boot_note, claims.debug) == (SecureBoot.ON, "", Debug.OFF)
    assert claims.boot_applications == {hashlib.sha256(text).hexdigest() for text in (b"shim", b"kernel")}
    assert claims.boot_drivers == {hashlib.sha256(b"option ROM").hexdigest()}
    assert claims.boot_files == {hashlib.sha256(b"kernel file").hexdigest()}
    assert claims.boot_commands == {"set root=hd0", "root=/dev/vda1 ro"}
    assert claims.kernel_command_lines == {"root=/dev/vda1 ro"}
    assert claims.secure_boot_authorities == {"db:" + hashlib.sha256(b"certificate").hexdigest()}
    assert (claims.forbidden_entries, claims.forbidden_digest) == (3, hashlib.sha256(signature_list(3)).hexdigest())
    assert claims.explained_pcrs == {"0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "14"}
    assert claims.unexplained_pcrs == {"10", "11", "12", "13"}
    assert claims.unknown_events == 0
    assert not claims.early_applications


CONFIG = 0x80000001
UNCLEAR: dict[str, Callable[[list[Ev]], list[Ev]]] = {
    "type-relabelled": swap(7, CONFIG, type=2),
    "secure-boot-two": swap(7, CONFIG, data=variable("SecureBoot", b"\2")),
    "secure-boot-empty": swap(7, CONFIG, data=variable("SecureBoot", b"")),
    "variable-after-separator": add(Ev(7, CONFIG, variable("AuditMode", b"\0"))),
    "variable-twice": lambda events: [*events[:4], events[4], *events[4:]],
    "variable-of-other-vendor": swap(7, CONFIG, data=variable("SecureBoot", b"\1", DATABASE)),
    "variable-not-one": swap(7, CONFIG, data=b"short"),
    "no-authority": lambda events: [event for event in events if event.type != 0x800000E0],
    "no-platform-key": lambda events: [event for event in events if event.data != variable("PK", b"pk")],
    "no-separator": lambda events: [event for event in events if (event.pcr, event.type) != (7, 4)],
    "debug-mode": add(Ev(7, 0x80000007, b"UEFI Debug Mode")),
}


@pytest.mark.parametrize("name", UNCLEAR)
def test_secure_boot_is_unknown(name: str) -> None:
    claims = judge(with_log(UNCLEAR[name])).claims
    assert claims.secure_boot is SecureBoot.UNKNOWN
    assert claims.secure_boot_note
    assert claims.debug is (Debug.ON if name == "debug-mode" else Debug.OFF)


def test_debug_mode_under_another_type() -> None:
    assert judge(with_log(add(Ev(7, 0x800000E0, b"UEFI Debug Mode\0")))).claims.debug is Debug.ON


def test_secure_boot_off() -> None:
    assert judge(booted(boot_events(secure=b"\0"))).claims.secure_boot is SecureBoot.OFF


@pytest.mark.parametrize("kind", [0x80000007, 0xD, 6, 0x77])
def test_a_program_cannot_be_hidden_by_its_type(kind: int) -> None:
    """An Authenticode digest is one over some bytes: with those as data, the event passes for an action."""
    claims = judge(with_log(add(Ev(4, kind, b"bytes of a program")))).claims
    assert hashlib.sha256(b"bytes of a program").hexdigest() in claims.boot_applications
    assert claims.unknown_events == (kind == 0x77)


def test_a_command_line_that_the_log_hides() -> None:
    events = boot_events()
    session = booted(events)
    hidden = [dataclasses.replace(event, data=b"", measured=event.measured or event.data) if event.pcr == 8 else event for event in events]
    session.parts["event-log"] = log_of(hidden)
    claims = judge(session).claims
    assert claims.kernel_command_lines == frozenset()
    assert claims.boot_commands == {"sha256:" + hashlib.sha256(text).hexdigest() for text in (b"set root=hd0", b"root=/dev/vda1 ro")}


def test_early_application() -> None:
    assert judge(with_log(lambda events: [*events[:2], Ev(4, 0x80000003, b"", b"early"), *events[2:]])).claims.early_applications


def test_pcr_that_software_extended_is_unexplained() -> None:
    session = booted(boot_events())
    session.values[A.SHA256][9] = hashlib.sha256(session.values[A.SHA256][9] + bytes(32)).digest()
    claims = judge(session).claims
    assert "9" in claims.unexplained_pcrs
    assert claims.boot_files == frozenset()


# -- what passes ----------------------------------------------------------------------------------------------------------

SCHEMES = {
    "rsassa-sha256": ak(),
    "rsassa-sha384": ak(scheme_hash=A.SHA384),
    "rsapss-sha256": ak(scheme=A.RSAPSS),
    "rsapss-sha512": ak(scheme=A.RSAPSS, scheme_hash=A.SHA512),
    "ecdsa-p256": ak(private=ec_key(3), scheme=A.ECDSA),
    "ecdsa-p384": ak(private=ec_key(4), scheme=A.ECDSA, scheme_hash=A.SHA384, name_algorithm=A.SHA384),
}


@pytest.mark.parametrize("name", SCHEMES)
@pytest.mark.parametrize("banks", [(A.SHA256,), (A.SHA384,), (A.SHA256, A.SHA384)])
def test_accepted(name: str, banks: tuple[int, ...]) -> None:
    values = {A.SHA256: SHA256_VALUES, A.SHA384: SHA384_VALUES}
    session = quoted(ak=SCHEMES[name], values={bank: values[A(bank)] for bank in banks})
    result = judge(session)
    assert result.freshness == session.nonce
    assert result.claims.pcr7 == values[A(banks[-1])][7].hex()
    assert result.claims.pcr10 == ""
    assert result.claims.hierarchy is Hierarchy.ENDORSEMENT
    assert (result.claims.reset_count, result.claims.restart_count) == ("2", "0")
    assert result.claims.revocation is Revocation.GOOD
    assert {check.check.id for check in result.checks if check.status is not Status.PASSED} == {"tpm.memory", "tpm.running-state"}
    assert len(result.statement) == 48


def test_counters_are_no_claims_without_the_endorsement_key() -> None:
    claims = judge(quoted(ek_name=b"")).claims
    assert (claims.hierarchy, claims.reset_count, claims.restart_count, claims.firmware_version) == (Hierarchy.UNKNOWN, "", "", "")


def test_resident_key() -> None:
    result = judge(resident())
    assert result.resident is not None
    assert result.resident.kem is Kem.RSA2048_OAEP
    assert result.claims.recipient_resident
    assert result.claims.recipient_pcrs == {"0", "4", "7"}
    assert not result.claims.recipient_password


def test_resident_key_on_p384_and_one_that_nothing_is_wrapped_to() -> None:
    key = oaep_key(private=ec_key(4), scheme=A.ECDH, scheme_hash=A.SHA384)
    resident_key = judge(resident(recipient=key, policy=None)).resident
    assert resident_key is not None
    assert resident_key.kem is Kem.P384
    assert judge(resident(recipient=oaep_key(private=ec_key(3), scheme=A.NULL), policy=None)).resident is None


def test_creation_attestation_counts_as_certification() -> None:
    assert judge(resident(certify_type=0x801A)).claims.recipient_resident


def test_blank_pcrs() -> None:
    session = quoted(values={A.SHA256: SHA256_VALUES | {4: bytes(32), 5: b"\xff" * 32}})
    assert judge(session).claims.blank_pcrs == {"4", "5"}


def test_every_check_that_can_fail_has_a_defect() -> None:
    tested = {code for code, _ in (REFUSED | LOGS).values()}
    elsewhere = {"tpm.ak-certificate", "tpm.revocation", "tpm.ima-form", "tpm.ima-template-hash", "tpm.ima-replay"}  # test_corpus, test_ima
    assert {check.id for check in TPM.checks if not check.limitation} - tested == elsewhere


def test_nobody_is_trusted_by_production_without_enrolment() -> None:
    with pytest.raises(AttestError) as caught:
        TPM.verify(Session().evidence(), trust=TrustStore.production(), collateral=Collateral(), at=AT)
    assert caught.value.code == "tpm.ak-trust"


def test_enrolment_in_a_production_store() -> None:
    session = Session()
    store = TrustStore.production().with_enrolment(session.trust().enrolments[0])
    assert store.origin is Origin.PRODUCTION
    assert TrustStore.from_json(store.to_json()) == store
    assert TPM.verify(session.evidence(), trust=store, collateral=Collateral(), at=AT).claims.simulated is False
    with pytest.raises(AttestError) as caught:
        store.with_enrolment(session.trust().enrolments[0])
    assert caught.value.code == "trust.enrolment"


def test_pcrs_of_the_software_tpm_are_those_of_replay() -> None:
    from attest.kinds.tpm.eventlog import parse_event_log, replay

    events = boot_events()
    values = pcrs_of(events, locality=3)
    assert all(values[pcr] == value for pcr, value in replay(parse_event_log(log_of(events)), A.SHA256).items())


def test_qualified_name_is_a_chain() -> None:
    assert qualified(ak().name)[:2] == u16(A.SHA256)


# -- attestation keys with a certificate ----------------------------------------------------------------------------------


def certified(*, key: rsa.RSAPrivateKey, days: int = 1) -> tuple[bytes, Anchor]:
    """PEM of a certificate for ``key`` and of its root, and the root's pin."""
    root = ec_key(4, 7)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "virtual TPMs")])

    def sign(subject: x509.Name, public: rsa.RSAPublicKey | ec.EllipticCurvePublicKey, ca: bool) -> x509.Certificate:
        usage = x509.KeyUsage(not ca, False, False, False, False, ca, False, False, False)  # noqa: FBT003
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(name).public_key(public).serial_number(5)
        builder = builder.not_valid_before(AT - timedelta(days=days)).not_valid_after(AT + timedelta(days=days))
        builder = builder.add_extension(x509.BasicConstraints(ca, None), critical=True).add_extension(usage, critical=True)
        return builder.sign(root, hashes.SHA384())

    leaf = sign(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ak")]), key.public_key(), ca=False)
    chain = [leaf, sign(name, root.public_key(), ca=True)]
    return b"".join(item.public_bytes(Encoding.PEM) for item in chain), Anchor("virtual TPMs", spki_sha256(root.public_key()))


def test_certified_key_is_authentic_and_its_revocation_unknown() -> None:
    pem, anchor = certified(key=rsa_key())
    trust = TrustStore.of("test", Origin.SIMULATED, ((Role.TPM_AK, anchor),))
    result = TPM.verify(quoted(parts={"ak-certificates": pem}).evidence(), trust=trust, collateral=Collateral(), at=AT)
    assert isinstance(result.claims, TpmClaims)
    assert (result.claims.key_trust, result.claims.certified_by) == (KeyTrust.CERTIFIED, "virtual TPMs")
    assert (result.claims.revocation, result.claims.reset_count) == (Revocation.UNKNOWN, "")
    assert [check.check.id for check in result.checks if check.reason is not None] == ["tpm.revocation"]
    assert result.valid_until == AT + timedelta(days=1)
    assert len(result.chain) == 2


@pytest.mark.parametrize(
    ("number", "pinned", "enrolled", "code"),
    [
        (0, True, False, ""),
        (9, True, True, "tpm.ak-certificate"),
        (0, False, True, "pki.chain.anchor"),
        (0, False, False, "pki.chain.anchor"),
    ],
)
def test_a_certificate_that_is_sent_must_be_good(number: int, pinned: bool, enrolled: bool, code: str) -> None:
    """Even when an enrolment would be enough: what is in the evidence is never passed over."""
    pem, anchor = certified(key=rsa_key(number=number) if number else rsa_key())
    session = quoted(parts={"ak-certificates": pem})
    anchors = ((Role.TPM_AK, anchor),) if pinned else ()
    trust = TrustStore.of("test", Origin.SIMULATED, anchors, session.trust().enrolments if enrolled else ())
    try:
        TPM.verify(session.evidence(), trust=trust, collateral=Collateral(), at=AT)
        found = ""
    except AttestError as error:
        found = error.code
    assert found == code
