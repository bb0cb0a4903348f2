"""The real TDX quotes that ship with the project: authentic as far as the quote goes, undecided without Intel's collateral."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from attest.bundle import Bundle
from attest.crypto import sha256, spki_sha256
from attest.errors import CannotDecideError, NotAuthenticError
from attest.evidence import Collateral, Evidence
from attest.kinds.tdx import TDX
from attest.trust import Role, TrustStore

TODAY = datetime(2026, 11, 21, tzinfo=UTC)
SEEN = {"gcp-v4": ("0d0108", sha256(b"\xab" * 32)), "gcp-seam15": ("0f010a", sha256(b"\x5e" * 32)), "azure-v4": ("0d0104", None)}


@pytest.mark.parametrize("name", SEEN)
def test_undecided_without_collateral(fixtures: Path, name: str) -> None:
    bundle = Bundle.load(fixtures / "tdx" / name)
    [evidence] = bundle.evidence
    with pytest.raises(CannotDecideError) as caught:
        TDX.verify(evidence, trust=TrustStore.production(), collateral=bundle.collateral, at=TODAY)
    assert caught.value.code == "dcap.tcb-info"
    done = {check: status for check, status, _ in caught.value.done}
    assert {done[f"dcap.{check}"] for check in ("pck-chain", "pck-role", "qe-report-signature", "attestation-key", "quote-signature")} == {
        "passed"
    }
    shown = TDX.inspect(evidence)
    svn, chosen = SEEN[name]
    assert shown["TEE_TCB_SVN"].startswith(svn)
    assert chosen is None or shown["REPORTDATA"] == chosen.hex() + "00" * 32
    assert [piece.type for piece in TDX.wanted(evidence, Collateral())] == ["tcb-info", "qe-identity", "crl", "crl"]
    assert len(TDX.statement(evidence)) == 48


@pytest.mark.parametrize("name", SEEN)
def test_one_bit_of_what_is_signed(fixtures: Path, name: str) -> None:
    [evidence] = Bundle.load(fixtures / "tdx" / name).evidence
    quote = bytearray(evidence.part("quote"))
    quote[48 + 136] ^= 1  # MRTD
    changed = Evidence.of("tdx", "cpu", {"quote": bytes(quote)})
    with pytest.raises(NotAuthenticError) as caught:
        TDX.verify(changed, trust=TrustStore.production(), collateral=Collateral(), at=TODAY)
    assert caught.value.code == "dcap.quote-signature"


@pytest.mark.parametrize("form", [bytes, lambda quote: quote.hex().encode(), lambda quote: b'{"quote":"' + quote.hex().encode() + b'"}'])
def test_recognised_in_the_forms_of_other_tools(fixtures: Path, form) -> None:
    [evidence] = Bundle.load(fixtures / "tdx" / "azure-v4").evidence
    [found] = TDX.recognise(form(evidence.part("quote")))
    assert found.digest == evidence.digest


def test_the_pin_is_that_of_intels_root(fixtures: Path) -> None:
    root = x509.load_pem_x509_certificate((fixtures / "pki" / "intel" / "intel-sgx-root-ca.pem").read_bytes())
    assert [anchor.spki_sha256 for anchor in TrustStore.production().for_role(Role.INTEL_SGX_ROOT)] == [spki_sha256(root.public_key())]
