"""Event logs replayed to the registers of a quote, and what Azure's paravisor says."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attest.crypto import sha256, sha384
from attest.dcap.quote import parse
from attest.errors import AttestError, MalformedError
from attest.evidence import Tri
from attest.kinds.tdx.azure import read_runtime_data
from attest.kinds.tdx.event_log import read_event_log
from attest.kinds.tdx.report import parse_body
from attest.trust import TrustStore

HEADER = struct.pack("<II20sI", 1, 3, bytes(20), 33) + b"Spec ID Event03\0" + struct.pack("<IBBBBIHHB", 0, 0, 2, 0, 2, 1, 0x0C, 48, 0)


def record(register: int, kind: int, digest: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<IIIH", register, kind, 1, 0x0C) + digest + struct.pack("<I", len(data)) + data


def variable(name: str, content: bytes) -> bytes:
    return bytes(16) + struct.pack("<QQ", len(name), len(content)) + name.encode("utf-16-le") + content


def cut(log: bytes) -> bytes:
    return log.rstrip(b"\xff")


def test_registers_are_extended_in_order_and_only_by_what_counts():
    one, two = sha384(b"one"), sha384(b"two")
    log = read_event_log(
        HEADER + record(1, 4, one) + record(1, 3, two) + record(0, 4, two) + record(1, 4, two) + record(4, 4, one) + b"\xff" * 64
    )
    assert len(log.events) == 5
    assert log.registers[0] == sha384(sha384(bytes(48) + one) + two)
    assert log.registers[1:3] == (bytes(48), bytes(48))
    assert log.registers[3] == sha384(bytes(48) + one)


@pytest.mark.parametrize("padding", [b"", b"\xff" * 100, bytes(100)])
def test_padding_ends_the_log(padding):
    assert len(read_event_log(HEADER + record(1, 4, bytes(48)) + padding).events) == 1


def test_secure_boot_counts_only_when_its_digest_is_that_of_the_data():
    data = variable("SecureBoot", b"\1")
    assert read_event_log(HEADER + record(1, 0x80000001, sha384(data), data)).secure_boot is Tri.YES
    assert read_event_log(HEADER + record(1, 0x80000001, sha384(variable("SecureBoot", b"\0")), data)).secure_boot is Tri.UNKNOWN
    assert read_event_log(HEADER + 2 * record(1, 0x80000001, sha384(data), data)).secure_boot is Tri.UNKNOWN


@pytest.mark.parametrize(
    "log",
    [
        b"",
        HEADER[:40],
        HEADER.replace(b"Event03", b"Event02"),
        HEADER[:4] + b"\4" + HEADER[5:],
        HEADER + record(1, 4, bytes(48))[:-2],
        HEADER + record(1, 4, bytes(48), b"data")[:-2],
        HEADER + struct.pack("<III", 1, 4, 0) + bytes(20),
        HEADER + struct.pack("<III", 1, 4, 0xFFFFFFFF) + bytes(20),
        HEADER + struct.pack("<IIIH", 1, 4, 1, 0x0B) + bytes(32) + struct.pack("<I", 0),
        HEADER + struct.pack("<IIIH", 1, 4, 1, 0x99) + bytes(48) + struct.pack("<I", 0),
        HEADER + struct.pack("<IIIH", 1, 4, 1, 0x0C) + bytes(48) + struct.pack("<I", 0xFFFFFFFF),
        HEADER + record(1, 4, bytes(48)) * 2000,
    ],
)
def test_what_is_no_log(log):
    with pytest.raises(MalformedError):
        read_event_log(log)


@pytest.mark.corpus
def test_log_of_a_quote(corpus: Path):
    """All four registers of a GCP guest; the quote is one whose chain and collateral are in the corpus too."""
    folder = corpus / "tdx-sgx" / "ccel"
    log = read_event_log(cut((folder / "ccel_data.dat").read_bytes()))
    quote = parse((folder / "cos-113-tdx-quote.dat").read_bytes())
    assert log.registers == parse_body(quote.body, quote.body_type).rtmr
    assert (len(log.events), log.secure_boot, len(log.applications), len(log.commands)) == (43, Tri.NO, 2, 19)


@pytest.mark.corpus
@pytest.mark.parametrize("name", ["ccel_data.dat", "ccel_ovmf_unmatched.dat", "ccel_tdshim_unmatched.dat"])
def test_log_and_quote_end_to_end(corpus: Path, judge, name: str):
    folder = corpus / "tdx-sgx"
    quote = (folder / "ccel" / "cos-113-tdx-quote.dat").read_bytes()
    collateral = json.loads((folder / "collateral" / "tdx_00806F050000_eval17_2025-05-27.json").read_bytes())
    at = int(datetime(2025, 6, 11, tzinfo=UTC).timestamp())
    parts = {"event-log": cut((folder / "ccel" / name).read_bytes())}
    if name == "ccel_data.dat":
        claims = judge(quote, collateral, at, TrustStore.production(), **parts).claims
        assert (claims.event_log, claims.secure_boot, len(claims.boot_applications)) == ("replayed", Tri.NO, 2)
        return
    with pytest.raises(AttestError) as caught:
        judge(quote, collateral, at, TrustStore.production(), **parts)
    assert (caught.value.code, caught.value.reasons[0].where) == ("tdx.event-log", "RTMR0")


@pytest.mark.corpus
def test_azure(corpus: Path, judge):
    """Freshness is what the guest chose, not what the paravisor put into REPORTDATA."""
    folder = corpus / "tdx-sgx"
    report = (folder / "extra" / "azure_hcl_report.bin").read_bytes()
    runtime = report[1236:2437]
    quote = (folder / "quotes" / "tdx_v4_00806F050000_1d10284c.bin").read_bytes()
    collateral = json.loads((folder / "collateral" / "tdx_00806F050000_eval17_2025-05-27.json").read_bytes())
    verified = judge(quote, collateral, 1749669835, TrustStore.production(), **{"runtime-data": runtime})
    assert verified.freshness == bytes(64)
    assert (verified.claims.paravisor, verified.claims.sept_ve_disabled) == ("azure", False)
    assert len(verified.claims.vtpm_key) == 64
    assert judge(quote, collateral, 1749669835, TrustStore.production()).freshness[32:] == bytes(32)
    with pytest.raises(AttestError) as caught:
        judge(quote, collateral, 1749669835, TrustStore.production(), **{"runtime-data": runtime.replace(b"AQAB", b"AQAC")})
    assert caught.value.code == "tdx.runtime-data"
    chosen = runtime.replace(b"0" * 128, b"ab" * 64)
    assert read_runtime_data(chosen, sha256(chosen) + bytes(32)).user_data == b"\xab" * 64
