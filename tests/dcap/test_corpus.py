"""Every quote and case of the corpus gives the verdict of Intel's algorithm: status, advisories, dates, and the reason of every refusal."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509

from attest.crypto import spki_sha256
from attest.errors import AttestError, Outcome, worst
from attest.evidence import Debug
from attest.trust import Role, TrustStore
from tests.dcap.cases import REFUSED, mutate

pytestmark = pytest.mark.corpus

# Genuine by the algorithm; the floor refuses debugging, and no policy lowers that.
DEBUGGABLE = {"td_debug"}


def test_vectors(quotes: Path, judge) -> None:
    """Genuine quotes under Intel's own root."""
    vectors = json.loads((quotes / "vectors.json").read_bytes())
    assert len(vectors) == 24
    for vector in vectors:
        quote = (quotes / vector["quote"]).read_bytes()
        collateral = json.loads((quotes / vector["collateral"]).read_bytes()) if vector["collateral"] else None
        at = vector.get("now", 1_763_700_000)
        if collateral is None or vector["expected_tcb_status"] == "TCB_NOT_SUPPORTED":
            with pytest.raises(AttestError) as caught:
                judge(quote, collateral, at, TrustStore.production())
            assert caught.value.code == ("dcap.tcb-info" if collateral is None else "dcap.tcb-level"), vector["quote"]
            assert collateral is not None or caught.value.exit_code == 6
            done = [check for check, _, _ in caught.value.done]
            assert {"dcap.quote-signature", "dcap.pck-chain", "dcap.qe-report-signature"} <= set(done)
            continue
        verified = judge(quote, collateral, at, TrustStore.production())
        claims = verified.claims.values()
        found = (
            claims["tcb_status"],
            sorted(claims["advisories"]),
            claims["tcb_date"],
            claims["current_tcb_status"],
            claims["fmspc"].upper(),
            claims["quote_version"],
            claims["debug"] is Debug.ON,
            claims.get("service_td", False),
            not claims.get("sept_ve_disabled", True),
        )
        expected = (
            vector["expected_tcb_status"],
            sorted(vector["expected_advisory_ids"]),
            int(vector["expected_tcb_date"][:10].replace("-", "")),
            vector["expected_current_status"] or "NotReported",
            vector["fmspc"],
            vector["quote_version"],
            bool({"SGX_DEBUG", "TD_DEBUG"} & set(vector["flags"])),
            "MRSERVICETD_NONZERO" in vector["flags"],
            "SEPT_VE_DISABLE_CLEAR" in vector["flags"],
        )
        assert found == expected, vector["quote"]
        assert verified.valid_until == datetime.fromisoformat(vector["valid_until"]), vector["quote"]
        accepted = claims["tcb_status"] == "UpToDate" and not any(found[6:])
        assert accepted is (vector["strict_verdict"] == "accept"), vector["quote"]


@pytest.mark.parametrize(("file", "root", "count"), [("cases.json", "root_ca.der", 85), ("role_cases.json", "role_root_ca.der", 9)])
def test_synthetic(quotes: Path, judge, trust_in, file: str, root: str, count: int) -> None:
    """Cases under a test root: every status with every status of the parts, relaunch, and one fault each."""
    cases = json.loads((quotes / "synthetic" / file).read_bytes())
    assert len(cases) == count
    trust = trust_in((quotes / "synthetic" / root).read_bytes())
    for case in cases:
        name, quote = case["name"], base64.b64decode(case["quote_b64"])
        if name in REFUSED:
            assert case["expected"].startswith("refuse"), name
            with pytest.raises(AttestError) as caught:
                judge(quote, case["collateral"], case["now"], trust)
            assert caught.value.code == REFUSED[name], f"{name}: {caught.value}"
            continue
        claims = judge(quote, case["collateral"], case["now"], trust).claims
        if "intel_algorithm_tcb_status" in case:
            assert claims.tcb_status == case["intel_algorithm_tcb_status"], name
            assert claims.advisories == set(case["intel_advisory_ids"]), name
        if name in DEBUGGABLE:
            assert case["expected"] == "refuse"
            assert claims.debug is Debug.ON
        else:
            assert case["expected"] in ("accept", "policy"), name
            assert claims.debug is Debug.OFF


def test_mutations(quotes: Path, judge) -> None:
    """One change each to a quote that is up to date, or to its collateral, or to the time."""
    cases = json.loads((quotes / "negative_mutations.json").read_bytes())
    assert len(cases) == 63
    for case in cases:
        quote = (quotes / case["base_quote"]).read_bytes()
        collateral = json.loads((quotes / case["base_collateral"]).read_bytes())
        quote, collateral = mutate(quote, collateral, case["op"], quotes)
        with pytest.raises(AttestError) as caught:
            judge(quote, collateral, case["now"], TrustStore.production())
        assert case["expected"] == "refuse"
        assert caught.value.reasons[0].found or caught.value.reasons[0].expected, case["name"]
        late = case["name"] in ("now_after_tcb_nextUpdate", "now_before_tcb_issueDate", "root_crl_missing", "pck_crl_is_root_crl")
        assert (worst([reason.outcome for reason in caught.value.reasons]) is Outcome.CANNOT_DECIDE) >= late, case["name"]


def test_quote_that_names_its_certificate(quotes: Path, judge, trust_in) -> None:
    """Intel's own sample: TCB Info of version 2, certification data of type 1, the PCK chain beside the quote, a test root."""
    extra = quotes / "extra"

    def text(name: str) -> str:
        return (extra / f"intel_qvl_sgx_sample_{name}").read_text()

    root = (extra / "intel_qvl_sgx_sample_trustedRootCaCert.pem").read_bytes()
    tcb_info, qe_identity = text("tcbInfo.json"), text("qeIdentity.json")
    documents = {
        "tcb_info": tcb_info[len('{"tcbInfo":') : tcb_info.index(',"signature"')],
        "tcb_info_signature": json.loads(tcb_info)["signature"],
        "qe_identity": qe_identity[len('{"enclaveIdentity":') : qe_identity.index(',"signature"')],
        "qe_identity_signature": json.loads(qe_identity)["signature"],
        "tcb_info_issuer_chain": _leaf_first(text("tcbSignChain.pem")),
        "qe_identity_issuer_chain": _leaf_first(text("tcbSignChain.pem")),
        "root_ca_crl": (extra / "intel_qvl_sgx_sample_rootCaCrl.der").read_bytes().hex(),
        "pck_crl": (extra / "intel_qvl_sgx_sample_intermediateCaCrl.der").read_bytes().hex(),
    }
    quote = (extra / "intel_qvl_sgx_sample_quote.dat").read_bytes()
    chain = text("pckCert.pem") + _leaf_first(text("pckSignChain.pem"))
    at = int(datetime(2024, 6, 1, tzinfo=UTC).timestamp())
    with pytest.raises(AttestError) as caught:
        judge(quote, documents, at, trust_in(root))
    assert caught.value.code == "dcap.pck-certificate"
    # The body of the sample is zeros: everything that DCAP asks for is there, and no enclave is behind it.
    for form in ({"certificates": chain.encode()}, {}):
        stored = {} if form else {"pck_certificate_chain": chain}
        with pytest.raises(AttestError) as caught:
            judge(quote, documents | stored, at, trust_in(root), **form)
        assert caught.value.code == "sgx.initialised"
        assert {"dcap.pck-certified", "dcap.quote-signature", "dcap.tcb-level", "dcap.tcb-revoked"} <= {
            done for done, _, _ in caught.value.done
        }


def _leaf_first(pem: str) -> str:
    blocks = [
        block + "-----END CERTIFICATE-----\n" for block in pem.replace("\r", "").split("-----END CERTIFICATE-----") if "BEGIN" in block
    ]
    blocks = [block[block.index("-----BEGIN") :] for block in blocks]
    return "".join(blocks)


def test_pin_is_intels(quotes: Path) -> None:
    root = x509.load_der_x509_certificate((quotes / "extra" / "intel_sgx_root_ca.der").read_bytes())
    assert [anchor.spki_sha256 for anchor in TrustStore.production().for_role(Role.INTEL_SGX_ROOT)] == [spki_sha256(root.public_key())]
