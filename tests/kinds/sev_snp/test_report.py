"""Form of the report: layout, round trip, lengths, and that nothing but AttestError comes out of hostile bytes."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from ssl import DER_cert_to_PEM_cert, PEM_cert_to_DER_cert

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.bundle import Bundle
from attest.errors import AttestError, MalformedError
from attest.evidence import Evidence
from attest.kinds.sev_snp import SEV_SNP
from attest.kinds.sev_snp.product import LINES, AmdProduct, Tcb, line_of_model
from attest.kinds.sev_snp.report import OFFSETS, SIZE, VERSIONS, PlatformBit, PolicyBit, SnpReport, encode, parse
from attest.kinds.sev_snp.simulate import default_claims, report_of
from attest.trust import TrustStore
from tests.mutations import flips, resized

# Offsets of AMD 56860 rev 1.58 table 23.
TABLE = {
    "version": 0x000, "guest_svn": 0x004, "policy": 0x008, "family_id": 0x010, "image_id": 0x020, "vmpl": 0x030,
    "signature_algorithm": 0x034, "current_tcb": 0x038, "platform_info": 0x040, "key_info": 0x048, "report_data": 0x050,
    "measurement": 0x090, "host_data": 0x0C0, "id_key_digest": 0x0E0, "author_key_digest": 0x110, "report_id": 0x140,
    "report_id_ma": 0x160, "reported_tcb": 0x180, "family": 0x188, "model": 0x189, "stepping": 0x18A, "chip_id": 0x1A0,
    "committed_tcb": 0x1E0, "current_build": 0x1E8, "current_minor": 0x1E9, "current_major": 0x1EA, "committed_build": 0x1EC,
    "committed_minor": 0x1ED, "committed_major": 0x1EE, "launch_tcb": 0x1F0, "launch_mitigations": 0x1F8,
    "current_mitigations": 0x200, "r": 0x2A0, "s": 0x2E8,
}  # fmt: skip
TODAY = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.fixture(scope="module")
def azure(fixtures: Path) -> Bundle:
    return Bundle.load(fixtures / "sev-snp" / "azure-milan-v3")


@pytest.fixture(scope="module")
def real(azure: Bundle) -> bytes:
    return azure.evidence[0].part("report")


def sound(version: int = 5) -> SnpReport:
    report = report_of(default_claims(AmdProduct.MILAN), bytes(64))
    if version < 5:
        report = dataclasses.replace(report, version=version, launch_mitigations=0, current_mitigations=0)
    if version < 3:
        report = dataclasses.replace(report, family=0, model=0, stepping=0)
    return dataclasses.replace(report, r=b"\1" + bytes(47), s=b"\2" + bytes(47))


def test_offsets_are_those_of_the_specification() -> None:
    assert {name: offset for name, offset in OFFSETS.items() if not name.startswith("_")} == TABLE
    assert [item.name for item in dataclasses.fields(SnpReport)] == list(TABLE)


@pytest.mark.parametrize("name", ["azure-milan-v3", "gcp-milan-v5"])
def test_round_trip_of_real_reports(name: str, fixtures: Path) -> None:
    data = Bundle.load(fixtures / "sev-snp" / name).evidence[0].part("report")
    assert encode(parse(data)) == data


@pytest.mark.parametrize("version", VERSIONS)
def test_round_trip_of_every_version(version: int) -> None:
    report = sound(version)
    assert parse(encode(report)) == report


_BITS = st.integers(0, 2**64 - 1)


@given(
    policy=_BITS.map(lambda bits: bits & (0xFFFF | sum(PolicyBit)) | PolicyBit.ALWAYS_ONE),
    platform=_BITS.map(lambda bits: bits & sum(PlatformBit)),
    vmpl=st.integers(0, 3),
    svn=st.integers(0, 2**32 - 1),
    digest=st.binary(min_size=48, max_size=48),
    data=st.binary(min_size=64, max_size=64),
    mitigations=_BITS,
)
def test_round_trip_of_any_value(policy: int, platform: int, vmpl: int, svn: int, digest: bytes, data: bytes, mitigations: int) -> None:
    report = dataclasses.replace(
        sound(),
        policy=policy,
        platform_info=platform,
        vmpl=vmpl,
        guest_svn=svn,
        measurement=digest,
        report_data=data,
        current_mitigations=mitigations,
    )
    assert parse(encode(report)) == report


def test_every_reserved_byte_is_refused_where_it_stands() -> None:
    """In version 2, which has the most of them."""
    data = encode(sound(2))
    known = {offset for name, start in TABLE.items() for offset in range(start, start + _size(name))}
    absent = {0x188, 0x189, 0x18A, *range(0x1F8, 0x208)}
    reserved = (set(range(SIZE)) - known) | absent
    assert len(reserved) == SIZE - len(known) + 19
    for offset in sorted(reserved):
        with pytest.raises(MalformedError) as caught:
            parse(data[:offset] + b"\x80" + data[offset + 1 :])
        padding = 0x2D0 <= offset < 0x2E8 or 0x318 <= offset < 0x330
        assert caught.value.code == ("sev-snp.signature-form" if padding else "sev-snp.reserved")
        field = max((start for start in TABLE.values() if start <= offset), default=0) if offset in absent else offset
        assert caught.value.reasons[0].where == f"report offset 0x{field:03x}"


def _size(name: str) -> int:
    value = getattr(sound(), name)
    if isinstance(value, bytes):
        return len(value)
    return {"version": 4, "guest_svn": 4, "vmpl": 4, "signature_algorithm": 4, "key_info": 4, "policy": 8, "platform_info": 8}.get(
        name, 8 if name.endswith("mitigations") else 1
    )


@given(st.binary(max_size=SIZE + 8))
@settings(max_examples=200)
def test_noise_is_refused_with_a_typed_error(data: bytes) -> None:
    with pytest.raises(MalformedError):
        parse(data)
    with pytest.raises(MalformedError):
        SEV_SNP.statement(Evidence.of("sev-snp", "cpu", {"report": data}))


def test_every_flipped_bit_is_refused(azure: Bundle, real: bytes) -> None:
    """One bit of every byte; all bits with `make flips`."""
    accepted = [where for where, data in flips(real, every_bit=False) if _code(azure, "report", data) == ""]
    assert accepted == []


def test_every_flipped_bit_of_the_endorsement_is_refused(azure: Bundle) -> None:
    pem = azure.evidence[0].part("certificates")
    accepted = [where for where, data in flips(pem, every_bit=False) if _code(azure, "certificates", data) == ""]
    # A line break more or less between PEM blocks says nothing.
    assert accepted in ([], [f"byte 0x{len(pem) - 1:04x} bit {(len(pem) - 1) % 8}"])


def test_every_bit_of_the_endorsement_itself(azure: Bundle) -> None:
    """In DER, where a flip in a name or a length reaches the certificate reader; its warnings are refusals too."""
    der = PEM_cert_to_DER_cert(azure.evidence[0].part("certificates").decode())
    names = [(where, data) for where, data in flips(der[:400], every_bit=True)]
    changed = [(where, data + der[400:]) for where, data in names] + list(flips(der, every_bit=False))
    codes = {where: _code(azure, "certificates", DER_cert_to_PEM_cert(data).encode()) for where, data in changed}
    assert [where for where, code in codes.items() if not code] == []
    assert {code.split(".")[0] for code in codes.values()} == {"pki", "sev-snp"}


def test_every_other_length_is_refused(azure: Bundle, real: bytes) -> None:
    assert {_code(azure, "report", data) for _, data in resized(real)} == {"sev-snp.length"}


def _code(bundle: Bundle, part: str, data: bytes) -> str:
    """Code of the refusal; empty when there is none."""
    (evidence,) = bundle.evidence
    changed = Evidence.of(evidence.kind, evidence.label, {**evidence.parts, part: data})
    try:
        SEV_SNP.verify(changed, trust=TrustStore.production(), collateral=bundle.collateral, at=TODAY)
    except AttestError as error:
        return error.code
    return ""


# -- processors and TCB layouts -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("family", "model", "product"),
    [
        (0x19, 0x00, AmdProduct.MILAN),
        (0x19, 0x01, AmdProduct.MILAN),
        (0x19, 0x0F, AmdProduct.MILAN),
        (0x19, 0x10, AmdProduct.GENOA),
        (0x19, 0x1F, AmdProduct.GENOA),
        (0x19, 0x20, None),
        (0x19, 0x9F, None),
        (0x19, 0xA0, AmdProduct.GENOA),
        (0x19, 0xAF, AmdProduct.GENOA),
        (0x19, 0xB0, None),
        (0x1A, 0x00, AmdProduct.TURIN),
        (0x1A, 0x02, AmdProduct.TURIN),
        (0x1A, 0x11, AmdProduct.TURIN),
        (0x1A, 0x12, None),
        (0x1A, 0x50, None),  # Venice
        (0x1A, 0x90, None),
        (0x1A, 0xC0, None),
        (0x17, 0x01, None),
        (0x00, 0x00, None),
    ],
)
def test_product_of_a_model(family: int, model: int, product: AmdProduct | None) -> None:
    line = line_of_model(family, model)
    assert (line.product if line else None) is product


def test_tcb_layouts() -> None:
    """The same bytes mean other things on other processors."""
    raw = bytes.fromhex("010302050000005a")
    assert LINES[AmdProduct.TURIN].layout.decode(raw, "x") == Tcb(1, 3, 2, 5, 0x5A)
    with pytest.raises(MalformedError) as caught:
        LINES[AmdProduct.MILAN].layout.decode(raw, "report offset 0x180")
    assert (caught.value.code, caught.value.reasons[0].where) == ("sev-snp.tcb-form", "report offset 0x180 byte 2")
    assert LINES[AmdProduct.GENOA].layout.decode(bytes.fromhex("0a00000000001719"), "x") == Tcb(0, 10, 0, 23, 25)


def test_a_component_that_a_product_lacks_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="fmc"):
        LINES[AmdProduct.MILAN].layout.encode(Tcb(1, 0, 0, 0, 0))


@pytest.mark.parametrize("component", range(5))
def test_tcb_is_compared_by_component(component: int) -> None:
    """A higher component does not make up for a lower one."""
    low = Tcb(5, 5, 5, 5, 5)
    levels = [9, 9, 9, 9, 9]
    levels[component] = 4
    other = Tcb(*levels)
    assert len(low.above(other)) == 1
    assert len(other.above(low)) == 4
    assert len(low.differs(other)) == 5
