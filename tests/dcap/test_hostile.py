"""Flips, truncations, and sizes made to hurt: always a typed refusal, always at once."""

from __future__ import annotations

import json
import struct
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.dcap.documents import read_qe_identity, read_tcb_info
from attest.dcap.pck import parse_platform
from attest.dcap.quote import parse
from attest.dcap.simulate import default_platform
from attest.dcap.simulate_pki import SimulatedIntel, encode_platform
from attest.errors import AttestError, MalformedError
from attest.evidence import Collateral, Evidence
from attest.kinds.sgx import SGX
from attest.kinds.sgx import simulate as sgx
from attest.kinds.tdx import TDX
from attest.kinds.tdx import simulate as tdx

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
KINDS = {"tdx": (TDX, tdx.simulate, tdx.default_guest, tdx.trust), "sgx": (SGX, sgx.simulate, sgx.default_enclave, sgx.trust)}


@pytest.fixture(scope="module")
def pki() -> SimulatedIntel:
    return SimulatedIntel.create(at=AT)


@pytest.fixture(scope="module", params=list(KINDS))
def made(request, pki):
    kind, simulate, default, trust = KINDS[request.param]
    evidence, items = simulate(pki, default(), report_data=bytes(64), at=AT)

    def run(quote: bytes) -> None:
        kind.verify(Evidence.of(kind.name, "x", {"quote": quote}), trust=trust(pki), collateral=Collateral(items), at=AT)

    run(evidence.part("quote"))
    return run, evidence.part("quote")


def test_every_flip_is_refused(made):
    """One bit in every byte of header, body, keys, signatures and QE report; of the PEM, one in every 16th byte that carries content."""
    run, quote = made
    pem = quote.index(b"-----BEGIN")
    ends = {quote.index(b"-----END CERTIFICATE-----", position) for position in range(pem, len(quote) - 100, 500)}
    for position in [*range(pem), *range(pem, len(quote) - 1, 16)]:
        changed = bytearray(quote)
        changed[position] ^= 1
        if position >= pem and bytes(changed[position : position + 1]).isspace() and quote[position : position + 1].isspace():
            continue
        with pytest.raises(AttestError):
            run(bytes(changed))
    assert ends


def test_every_truncation_is_refused(made):
    run, quote = made
    for length in [*range(0, 1400, 3), *range(1400, len(quote), 61)]:
        with pytest.raises(MalformedError):
            run(quote[:length])


def test_lengths_are_checked_before_anything_is_read(made):
    run, quote = made
    start = time.monotonic()
    for offset in range(0, 1300, 2):
        for value in (b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f"):
            with pytest.raises(AttestError):
                run(quote[:offset] + value + quote[offset + 4 :])
    assert time.monotonic() - start < 20


@pytest.mark.parametrize("size", [127 << 10, 129 << 10, 1 << 20])
def test_a_quote_of_any_size(made, size):
    """What follows a quote is not read; over the bound nothing is."""
    run, quote = made
    if size < 128 << 10:
        run(quote.ljust(size, b"\0"))
        return
    with pytest.raises(MalformedError):
        run(quote.ljust(size, b"\0"))


def test_pem_bomb(made):
    """Many certificates, or one that never ends, where the PCK chain should be."""
    run, quote = made
    start = time.monotonic()
    index = quote.index(b"-----BEGIN")
    blocks = quote[index:].rstrip(b"\0")
    for pem in (
        blocks * 20,
        b"-----BEGIN CERTIFICATE-----\n" + b"A" * 90_000 + b"\n-----END CERTIFICATE-----\n",
        b"-----BEGIN " * 9000,
        b"\n" * 90_000,
    ):
        head = quote[: index - 4]
        grown = head + struct.pack("<I", len(pem)) + pem
        # the lengths before it are put right, so that it is the PEM that refuses
        added = len(pem) - (len(quote) - index)
        for offset in (_auth_length(quote), *((_auth_length(quote) + 4 + 130,) if quote[0] > 3 else ())):
            size = int.from_bytes(grown[offset : offset + 4], "little") + added
            grown = grown[:offset] + struct.pack("<I", size) + grown[offset + 4 :]
        with pytest.raises(AttestError):
            run(grown)
    assert time.monotonic() - start < 5


def _auth_length(quote: bytes) -> int:
    return 48 + 384 if quote[0] == 3 else 48 + 6 + 648


@given(st.binary(max_size=1200))
def test_no_bytes_crash_the_parser(data):
    with pytest.raises(MalformedError):
        parse(data)


EXTENSION = encode_platform(default_platform().platform)


def test_extension_flips():
    """The SGX extension is signed; its reader takes nothing for granted all the same: no flip gives another error than a typed one."""
    known = parse_platform(EXTENSION)
    assert encode_platform(known) == EXTENSION
    for position in range(len(EXTENSION)):
        for bit in range(8):
            changed = bytearray(EXTENSION)
            changed[position] ^= 1 << bit
            try:
                assert encode_platform(parse_platform(bytes(changed))) == bytes(changed)
            except MalformedError:
                continue


@settings(max_examples=200)
@given(st.binary(max_size=700))
def test_no_bytes_crash_the_extension_reader(data):
    with pytest.raises(MalformedError):
        parse_platform(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["id", "version", "tcb", "svn", "tcbLevels"]), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(JSON)
def test_no_json_crashes_the_documents(value):
    for read in (read_tcb_info, read_qe_identity):
        with pytest.raises(MalformedError):
            read(value)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.pop("fmspc"),
        lambda d: d.update(fmspc="90c06f"),
        lambda d: d.update(version=True),
        lambda d: d.update(tcbEvaluationDataNumber=-1),
        lambda d: d.update(issueDate="2026-06-01"),
        lambda d: d.update(tcbLevels={}),
        lambda d: d["tcbLevels"][0].update(tcb=[]),
        lambda d: d["tcbLevels"][0].pop("tcbStatus"),
        lambda d: d["tcbLevels"][0].update(advisoryIDs=["<script>"]),
        lambda d: d["tcbLevels"][0].update(advisoryIDs="INTEL-SA-1"),
        lambda d: d["tcbLevels"][0].update(tcbStatus="TDRelaunchAdvised"),
        lambda d: d["tcbLevels"][0]["tcb"].update(pcesvn=65536),
        lambda d: d["tcbLevels"][0]["tcb"].update(more=1),
        lambda d: d["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].__setitem__(3, {"svn": 256}),
        lambda d: d["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].__setitem__(3, {"svn": True}),
        lambda d: d["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].__setitem__(3, {"svn": "1"}),
        lambda d: d["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].__setitem__(3, {"svn": 1, "weight": 2}),
        lambda d: d["tcbLevels"][0]["tcb"]["sgxtcbcomponents"].__setitem__(3, 1),
        lambda d: d["tcbLevels"][0]["tcb"].pop("tdxtcbcomponents"),
        lambda d: d["tdxModule"].update(mrsigner="00"),
        lambda d: d["tdxModuleIdentities"].append(d["tdxModuleIdentities"][0]),
        lambda d: d["tdxModuleIdentities"][0]["tcbLevels"].append(d["tdxModuleIdentities"][0]["tcbLevels"][0]),
        lambda d: d["tdxModuleIdentities"][0]["tcbLevels"][0].update(tcbStatus="SWHardeningNeeded"),
        lambda d: d.update(id="XXX"),
    ],
)
def test_a_document_with_one_thing_wrong(change):
    recipes = []
    tdx.simulate(SimulatedIntel.create(at=AT), tdx.default_guest(), report_data=bytes(64), at=AT, change=recipes.append)
    document = json.loads(json.dumps(recipes[0].tcb_info))
    read_tcb_info(document)
    change(document)
    with pytest.raises(MalformedError) as caught:
        read_tcb_info(document)
    assert caught.value.code == "dcap.collateral-form"


@pytest.mark.corpus
def test_flips_of_real_quotes(corpus: Path):
    """Readers only: whatever is flipped in a genuine quote, reading ends in a quote or in a typed refusal."""
    for path in sorted((corpus / "tdx-sgx" / "quotes").glob("*.bin")):
        quote = path.read_bytes()
        for position in range(0, 1300, 5):
            changed = bytearray(quote)
            changed[position] ^= 0x80
            try:
                parse(bytes(changed))
            except MalformedError:
                continue
