"""The cases of the corpus for Intel quotes: what must come out, and the call that says what does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from attest.crypto import spki_sha256
from attest.dcap.collateral import from_quote_collateral
from attest.dcap.quote import Tee, parse
from attest.errors import AttestError
from attest.evidence import Claims, Collateral, Evidence, Verified
from attest.kinds.sgx import SGX
from attest.kinds.tdx import TDX
from attest.pki import Anchor
from attest.trust import Origin, Role, TrustStore

# Why each refusal of the synthetic cases is one. A case that is not named here is not refused.
REFUSED = {
    "platform_Revoked": "dcap.tcb-revoked",
    "platform_Revoked_qe_OutOfDate": "dcap.tcb-revoked",
    "platform_Revoked_module_OutOfDate": "dcap.tcb-revoked",
    "platform_Revoked_module_UpToDate": "dcap.tcb-revoked",
    "qe_Revoked": "dcap.tcb-revoked",
    "module_Revoked": "dcap.tcb-revoked",
    "module_minor_below_all_levels": "dcap.module-level",
    "module_identity_missing": "dcap.module-level",
    "module_identities_empty_but_svn1_gt0": "dcap.module-level",
    "svn1_zero_uses_all_components": "dcap.tcb-level",
    "svn1_zero_mod_ge5_but_level_requires_1": "dcap.tcb-level",
    "v5_td15_current_unsupported": "dcap.module-level",
    "v4_bt3_shape": "dcap.quote-form",
    "td_tud_reserved_bit1": "tdx.attributes",
    "seam_attributes_nonzero": "dcap.tdx-module",
    "mrsignerseam_nonzero": "dcap.tdx-module",
    "fmspc_mismatch": "dcap.fmspc",
    "pceid_mismatch": "dcap.pceid",
    "tcbinfo_SGX_for_TDX": "dcap.tcb-info-tee",
    "qe_identity_QE_for_TDX": "dcap.qe-identity-tee",
    "qe_debug": "dcap.qe-match",
    "qe_attr_mismatch": "dcap.qe-match",
    "qe_mrsigner": "dcap.qe-match",
    "qe_prodid": "dcap.qe-match",
    "qe_svn_below": "dcap.qe-level",
    "qe_report_data_mismatch": "dcap.attestation-key",
    "pck_chain_other_root": "pki.chain.anchor",
    "pck_revoked": "pki.crl.revoked",
    "intermediate_revoked": "pki.crl.revoked",
    "tcb_signer_revoked": "pki.crl.revoked",
    "pck_crl_expired": "dcap.pck-crl",
    "tcbinfo_expired": "dcap.tcb-info-time",
    "tcbinfo_future": "dcap.tcb-info-time",
    "qeidentity_expired": "dcap.qe-identity-time",
    "pck_cert_expired": "pki.chain.expired",
    "vendor_id": "dcap.vendor",
    "akt3": "dcap.key-type",
    "outer_cert_type_5": "dcap.certification-type",
    "inner_cert_type_4_with_pem": "dcap.pck-certificate",
    "bitflip_signed_body": "dcap.quote-signature",
    "v3_header_tdx": "dcap.quote-version",
    "tee_sgx_v4": "dcap.quote-form",
    "role_confusion_tcbinfo_signed_by_pck_leaf": "dcap.signer-role",
    "role_confusion_both_signed_by_pck_leaf": "dcap.signer-role",
    "pck_leaf_cn_not_sgx_pck": "dcap.pck-role",
    "slack_bytes_inside_auth_data": "dcap.quote-form",
    "tcbinfo_tcbType_1": "dcap.collateral-form",
    "tcbinfo_version_4": "dcap.collateral-form",
    "tcbinfo_15_components": "dcap.collateral-form",
    "tcbinfo_unknown_status": "dcap.collateral-form",
}


def judge(quote: bytes, collateral: object, now: int, trust: TrustStore, **parts: bytes) -> Verified[Claims]:
    """Judge a quote of whichever TEE it says it is, with a QuoteCollateralV3, at a Unix time."""
    at = datetime.fromtimestamp(now, UTC)
    kind = SGX if parse(quote).tee is Tee.SGX else TDX
    evidence = Evidence.of(kind.name, "cpu", {"quote": quote, **parts})
    items = from_quote_collateral(json.dumps(collateral).encode(), at) if collateral is not None else ()
    return kind.verify(evidence, trust=trust, collateral=Collateral(items), at=at)


def trust_in(root: bytes) -> TrustStore:
    """A store that pins a test root, DER or PEM; never a production one."""
    certificate = x509.load_pem_x509_certificate(root) if root.startswith(b"-") else x509.load_der_x509_certificate(root)
    anchor = Anchor("test root", spki_sha256(certificate.public_key()))
    return TrustStore.of("corpus", Origin.SIMULATED, ((Role.INTEL_SGX_ROOT, anchor),))


def outcome(call: Callable[[], Verified[Claims]]) -> Mapping[str, str]:
    """Status, advisories and date, or the code of the refusal."""
    try:
        claims: Any = call().claims
    except AttestError as error:
        return {"refused": error.code}
    return {
        "refused": "",
        "status": str(claims.tcb_status),
        "advisories": ", ".join(sorted(claims.advisories)),
        "date": str(claims.tcb_date),
        "debug": str(claims.debug),
    }


def cases(corpus: Path) -> Iterator[tuple[str, Mapping[str, str], Callable[[], Mapping[str, str]]]]:
    """Name, what must come out, and the call that says what does."""
    folder = corpus / "tdx-sgx"
    production = TrustStore.production()
    for vector in json.loads((folder / "vectors.json").read_bytes()):
        quote = (folder / vector["quote"]).read_bytes()
        collateral = json.loads((folder / vector["collateral"]).read_bytes()) if vector["collateral"] else None
        name = f"{vector['quote']} {(vector['collateral'] or 'without collateral').rpartition('_')[2].removesuffix('.json')}"
        expected = {"refused": "dcap.tcb-info" if collateral is None else "dcap.tcb-level"}
        if collateral is not None and vector["expected_tcb_status"] != "TCB_NOT_SUPPORTED":
            expected = {
                "refused": "",
                "status": vector["expected_tcb_status"],
                "advisories": ", ".join(sorted(vector["expected_advisory_ids"])),
                "date": vector["expected_tcb_date"][:10].replace("-", ""),
                "debug": "on" if {"SGX_DEBUG", "TD_DEBUG"} & set(vector["flags"]) else "off",
            }
        at = vector.get("now", 1_763_700_000)
        yield name, expected, lambda q=quote, c=collateral, t=at: outcome(lambda: judge(q, c, t, production))  # type: ignore[misc]
    for file, root in (("cases.json", "root_ca.der"), ("role_cases.json", "role_root_ca.der")):
        trust = trust_in((folder / "synthetic" / root).read_bytes())
        for case in json.loads((folder / "synthetic" / file).read_bytes()):
            quote = base64.b64decode(case["quote_b64"])
            expected = {"refused": REFUSED.get(case["name"], "")}
            if not expected["refused"] and "intel_algorithm_tcb_status" in case:
                expected |= {
                    "status": case["intel_algorithm_tcb_status"],
                    "advisories": ", ".join(sorted(case["intel_advisory_ids"])),
                    "debug": "on" if case["name"] == "td_debug" else "off",
                }
            at = case["now"]
            yield (  # type: ignore[misc]
                f"synthetic {case['name']}",
                expected,
                lambda q=quote, c=case["collateral"], n=at, t=trust: outcome(lambda: judge(q, c, n, t)),
            )
    for case in json.loads((folder / "negative_mutations.json").read_bytes()):
        quote = (folder / case["base_quote"]).read_bytes()
        collateral = json.loads((folder / case["base_collateral"]).read_bytes())
        quote, collateral = mutate(quote, collateral, case["op"], folder)

        def call(q: bytes = quote, c: object = collateral, t: int = case["now"]) -> Mapping[str, str]:
            return {"any": "refused" if outcome(lambda: judge(q, c, t, production))["refused"] else "accepted"}

        yield f"mutation {case['name']}", {"any": "refused"}, call


def mutate(quote: bytes, collateral: dict[str, str], op: dict[str, Any], quotes: Path) -> tuple[bytes, dict[str, str]]:
    changed = bytearray(quote)
    kind, field = op["kind"], op.get("field", "")
    if kind == "xor_byte":
        changed[op["offset"]] ^= op["value"]
    elif kind == "truncate":
        del changed[op["length"] :]
    elif kind == "set_bytes":
        data = bytes.fromhex(op["hex"])
        changed[op["offset"] : op["offset"] + len(data)] = data
    elif kind == "collateral_xor_last_byte":
        data = bytearray.fromhex(collateral[field])
        data[-1] ^= 1
        collateral[field] = data.hex()
    elif kind == "collateral_replace":
        assert op["old"] in collateral[field]
        collateral[field] = collateral[field].replace(op["old"], op["new"], op.get("count", -1))
    elif kind == "collateral_empty":
        collateral[field] = ""
    elif kind == "collateral_swap":
        collateral[field] = _swapped(op["from_"], field, collateral, quote, quotes)
    else:
        assert kind == "time"
    return bytes(changed), collateral


def _swapped(source: str, field: str, collateral: dict[str, str], quote: bytes, quotes: Path) -> str:
    if source.startswith("collateral/"):
        return str(json.loads((quotes / source).read_bytes())[field])
    if source.startswith("processor CA CRL"):
        return str(json.loads((quotes / "collateral" / "sgx_00906ED50000_eval17_2025-05-27.json").read_bytes())[field])
    if source == "quote PCK chain":
        return parse(quote).certification.pem.decode()
    return collateral[source]
