"""Reports and extended reports as tools write them; the host's certificate table and each of its faults."""

from __future__ import annotations

import struct
from datetime import datetime
from ssl import PEM_cert_to_DER_cert
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from attest.errors import AttestError, MalformedError
from attest.evidence import CollateralItem, Evidence
from attest.kinds.sev_snp import SEV_SNP
from attest.kinds.sev_snp.product import AmdProduct
from attest.kinds.sev_snp.report import SIZE, AmdSigningKey
from attest.kinds.sev_snp.simulate import default_claims, recipe
from attest.kinds.sev_snp.simulate_pki import SimulatedAmd
from attest.kinds.sev_snp.table import ARK, ASK, TABLE_CHECKS, VCEK, VLEK, parse_table
from tests.kinds.sev_snp.conftest import Verify

Sent = tuple[Evidence, tuple[CollateralItem, ...]]
OTHER = UUID("ecae0c0f-9502-43b1-afa2-0ae2e0d565b6")


def table(entries: list[tuple[UUID, bytes]], *, end: bool = True, gap: int = 0) -> bytes:
    """A table with its blobs behind the header."""
    offset = 24 * (len(entries) + end) + gap
    header, blobs = b"", b""
    for guid, blob in entries:
        header += guid.bytes + struct.pack("<II", offset + len(blobs), len(blob))
        blobs += blob
    return header + bytes(24 * end) + bytes(gap) + blobs


def entry(guid: UUID, offset: int, length: int) -> bytes:
    return guid.bytes + struct.pack("<II", offset, length)


@pytest.fixture(scope="module")
def sent(milan: SimulatedAmd, report_data: bytes, at: datetime) -> Sent:
    guest = recipe(milan, default_claims(AmdProduct.MILAN), report_data=report_data, at=at)
    return guest.evidence(), guest.collateral()


@pytest.fixture(scope="module")
def ders(sent: Sent) -> list[bytes]:
    mark = "-----END CERTIFICATE-----\n"
    return [PEM_cert_to_DER_cert(block + mark) for block in sent[0].part("certificates").decode().split(mark)[:-1]]


def test_raw_report(sent: Sent) -> None:
    (found,) = SEV_SNP.recognise(sent[0].part("report"))
    assert (found.kind, found.label, dict(found.parts)) == ("sev-snp", "cpu-0", {"report": sent[0].part("report")})


def test_extended_report(sent: Sent, ders: list[bytes], milan: SimulatedAmd, verify: Verify) -> None:
    data = sent[0].part("report") + table([(VCEK, ders[0]), (ASK, ders[1]), (ARK, ders[2]), (OTHER, b"\0\0\0\0")])
    (found,) = SEV_SNP.recognise(data)
    assert found.part("certificates") == sent[0].part("certificates")
    assert verify(milan, found, sent[1]).claims == verify(milan, *sent).claims


@pytest.mark.parametrize("broken", [b"", b"\x30\x03\x02\x01\x00", b"noise"])
def test_unreadable_issuers_of_the_host_are_left_out(broken: bytes, sent: Sent, ders: list[bytes]) -> None:
    """Seen on a cloud; the collateral stands in for them."""
    data = sent[0].part("report") + table([(VCEK, ders[0]), (ASK, broken), (ARK, ders[2])])
    (found,) = SEV_SNP.recognise(data)
    assert found.part("certificates").count(b"BEGIN CERTIFICATE") == 2


def test_unreadable_leaf_is_refused(sent: Sent) -> None:
    with pytest.raises(MalformedError) as caught:
        SEV_SNP.recognise(sent[0].part("report") + table([(VCEK, b"noise")]))
    assert caught.value.code == "pki.certificate.malformed"


@pytest.mark.parametrize("behind", [bytes(24), table([(ASK, b"")]), table([(VLEK, b"")])], ids=["empty", "only-ask", "other-key"])
def test_table_without_the_leaf(behind: bytes, sent: Sent) -> None:
    (found,) = SEV_SNP.recognise(sent[0].part("report") + behind)
    assert list(found.parts) == ["report"]


def test_leaf_for_the_signing_key_is_taken(
    milan: SimulatedAmd, report_data: bytes, at: datetime, ders: list[bytes], verify: Verify
) -> None:
    """A host may serve both kinds."""
    guest = recipe(milan, default_claims(AmdProduct.MILAN, signing_key=AmdSigningKey.VLEK), report_data=report_data, at=at)
    vlek, report = milan.leaf(guest.leaf), guest.signed_report()
    (found,) = SEV_SNP.recognise(report + table([(VCEK, ders[0]), (VLEK, vlek)]))
    guest.stored = ("asvk", "ark")
    assert verify(milan, found, guest.collateral()).claims == guest.claims


@pytest.mark.parametrize(
    "data",
    [
        b"",
        bytes(SIZE),
        bytes(SIZE - 1),
        b"\5\0\0\0" + bytes(SIZE - 5),
        b"\5\0\0\0" + bytes(SIZE - 4) + b"\0",
        b"\5\0\0\0" + bytes(SIZE - 4) + b"\1" * 64,
        b"\0\1\0\0" + bytes(SIZE - 4),
        b'{"report": ""}',
    ],
    ids=["empty", "zeros", "short-zeros", "short", "one-byte-more", "noise-behind", "version-256", "json"],
)
def test_other_files_are_not_recognised(data: bytes) -> None:
    assert SEV_SNP.recognise(data) == ()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (table([(VCEK, b"x")]) + bytes(200 << 10), "sev-snp.table-size"),
        (entry(VCEK, 24, 4) + b"cert", "sev-snp.table-terminator"),
        (entry(VCEK, 24, 4), "sev-snp.table-terminator"),
        (entry(VCEK, 48, 1) + bytes(16) + b"\1" + bytes(8), "sev-snp.table-terminator"),
        (entry(VCEK, 900, 0) + b"".join(entry(UUID(int=index), 900, 0) for index in range(1, 17)) + bytes(600), "sev-snp.table-terminator"),
        (entry(VCEK, 0, 48) + bytes(24) + b"cert", "sev-snp.table-header"),
        (entry(VCEK, 47, 2) + bytes(24) + b"cert", "sev-snp.table-header"),
        (entry(VCEK, 0xFFFFFFF0, 64) + bytes(24) + b"cert", "sev-snp.table-overflow"),
        (entry(VCEK, 48, 0xFFFFFFFF) + bytes(24) + b"cert", "sev-snp.table-overflow"),
        (entry(VCEK, 48, 5) + bytes(24) + b"cert", "sev-snp.table-bounds"),
        (entry(VCEK, 53, 0) + bytes(24) + b"cert", "sev-snp.table-bounds"),
        (entry(VCEK, 72, 4) + entry(VCEK, 72, 4) + bytes(24) + b"cert", "sev-snp.table-duplicate"),
    ],
)
def test_faults_of_the_table(data: bytes, code: str, sent: Sent) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_table(data)
    assert caught.value.code == code
    with pytest.raises(MalformedError) as caught:
        SEV_SNP.recognise(sent[0].part("report") + data)
    assert caught.value.code == code


def test_every_fault_has_its_own_code() -> None:
    assert len({check.id for check in TABLE_CHECKS}) == 6


def test_blobs_lie_where_the_table_says() -> None:
    assert parse_table(table([(VCEK, b"first"), (OTHER, b""), (ARK, b"third")], gap=7)) == {VCEK: b"first", OTHER: b"", ARK: b"third"}


@given(st.binary(max_size=200))
def test_noise_is_read_or_refused_with_a_typed_error(data: bytes) -> None:
    try:
        blobs = parse_table(data)
    except AttestError:
        return
    assert all(blob in data for blob in blobs.values())
