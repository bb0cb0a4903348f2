"""Every check that a DCAP quote goes through, whatever its body is. The kinds add their own.

Steps are numbered as Intel's Quote Verification Library numbers its requirements (4.1.2.4 and 4.1.2.5).
"""

from __future__ import annotations

from typing import Final

from attest.checks import Check
from attest.errors import Outcome

_QUOTE: Final = "Intel SGX ECDSA Quote Library Reference for DCAP, appendix A (quote format)"
_QUOTE4: Final = "Intel TDX DCAP Quoting Library API, A.3 (quote format version 4 and 5)"
_QVL: Final = "Intel SGX/TDX Quote Verification Library"
_PCS: Final = "Intel SGX and TDX Provisioning Certification Service API version 4"
_PCK: Final = "Intel SGX PCK Certificate and CRL Profile Specification"

_ALTERED: Final = "the quote is altered or cut off: collect it again"
_FETCH: Final = "fetch current collateral for this platform: attest collateral fetch"

# -- the quote's form -----------------------------------------------------------------------------------------------------

QUOTE_FORM: Final = Check("dcap.quote-form", "form of the quote", f"{_QUOTE}; {_QUOTE4}", Outcome.MALFORMED, _ALTERED)
QUOTE_VERSION: Final = Check(
    "dcap.quote-version",
    "version and TEE of the quote",
    f"{_QUOTE}; {_QUOTE4}",
    Outcome.MALFORMED,
    "quotes of version 3 (SGX), 4 (SGX and TDX) and 5 are understood",
)
QUOTE_BODY: Final = Check(
    "dcap.quote-body", "type and size of the quote body", _QUOTE4, Outcome.MALFORMED, "the body type and its size must belong together"
)
TEE: Final = Check(
    "dcap.tee",
    "quote of this kind of TEE",
    f"{_QUOTE}, tee_type",
    Outcome.MALFORMED,
    "quotes of TDX guests are of the kind tdx, those of SGX enclaves of the kind sgx",
)
KEY_TYPE: Final = Check(
    "dcap.key-type", "type of the attestation key", _QUOTE, Outcome.MALFORMED, "only ECDSA P-256 attestation keys are certified by Intel"
)
VENDOR: Final = Check(
    "dcap.vendor", "vendor of the quoting enclave", _QUOTE, Outcome.MALFORMED, "only quotes of Intel's quoting enclaves can be verified"
)
RESERVED: Final = Check(
    "dcap.reserved", "reserved bytes of the reports", f"{_QUOTE}, report body", Outcome.MALFORMED, "a newer version may know this report"
)
CERTIFICATION: Final = Check(
    "dcap.certification-type",
    "type of the certification data",
    f"{_QUOTE}, certification data; {_QUOTE4}: the outer type of version 4 and 5 is 6",
    Outcome.MALFORMED,
    "the quote must carry or name its PCK certificate: types 1 to 5, in version 4 and 5 inside type 6",
)

# -- the PCK certificate --------------------------------------------------------------------------------------------------

PCK_CERTIFICATE: Final = Check(
    "dcap.pck-certificate",
    "PCK certificate at hand",
    f"{_QUOTE}, certification data",
    Outcome.CANNOT_DECIDE,
    "add the PCK certificate chain of this platform to the evidence as part `certificates`",
)
PCK_ROLE: Final = Check(
    "dcap.pck-role",
    "roles in the PCK chain",
    f"{_QVL} 4.1.2.4.1-6; {_PCK}",
    fix="the chain must be a PCK certificate, its PCK Platform or Processor CA, and the SGX Root CA",
)
PCK_CHAIN: Final = Check("dcap.pck-chain", "PCK certificate chain", f"{_QVL} 4.1.2.4; {_PCK}")
PCK_EXTENSION: Final = Check(
    "dcap.pck-extension", "SGX extension of the PCK certificate", f"{_PCK}, 1.2.840.113741.1.13.1", Outcome.MALFORMED
)
PCK_CERTIFIED: Final = Check(
    "dcap.pck-certified",
    "PCK certificate and what the quote certifies with",
    f"{_QUOTE}, certification data types 1 to 3",
    fix="the PCK certificate is that of another platform: use the one for the quote's PPID, CPUSVN, PCESVN and PCE id",
)

# -- signatures of the quote ----------------------------------------------------------------------------------------------

QE_REPORT_SIGNATURE: Final = Check(
    "dcap.qe-report-signature",
    "signature of the quoting enclave's report",
    f"{_QVL} 4.1.2.5.5",
    fix="the quote is altered, or the PCK certificate is that of another platform: collect both again",
)
ATTESTATION_KEY: Final = Check(
    "dcap.attestation-key",
    "attestation key in the quoting enclave's report",
    f"{_QVL} 4.1.2.5.6",
    fix="the quoting enclave does not vouch for this key: do not trust this quote",
)
QUOTE_SIGNATURE: Final = Check(
    "dcap.quote-signature", "signature of the quote", f"{_QVL} 4.1.2.5.8", fix="the quote is altered: collect it again"
)

# -- collateral -----------------------------------------------------------------------------------------------------------

TCB_INFO: Final = Check("dcap.tcb-info", "TCB Info at hand", f"{_PCS}, Get TCB Info", Outcome.CANNOT_DECIDE, _FETCH)
QE_IDENTITY: Final = Check("dcap.qe-identity", "QE Identity at hand", f"{_PCS}, Get QE Identity", Outcome.CANNOT_DECIDE, _FETCH)
COLLATERAL_FORM: Final = Check(
    "dcap.collateral-form",
    "form of TCB Info and QE Identity",
    f"{_PCS}, appendices A and B",
    Outcome.MALFORMED,
    "fetch the document again, byte for byte; a newer version may know a document of another form",
)
SIGNER_ROLE: Final = Check(
    "dcap.signer-role",
    "role of the collateral's signer",
    f"{_QVL} 4.1.2.3 (TCB signing chain)",
    fix="TCB Info and QE Identity must be signed by Intel's TCB Signing certificate, issued by the SGX Root CA itself",
)
SIGNER_CHAIN: Final = Check("dcap.signer-chain", "chain of the collateral's signer", f"{_QVL} 4.1.2.3")
TCB_INFO_SIGNATURE: Final = Check(
    "dcap.tcb-info-signature",
    "signature of the TCB Info",
    f"{_PCS}, Get TCB Info: over the bytes of the member tcbInfo as received",
    fix="fetch the TCB Info again, and keep its bytes as they come: it must not be re-serialised",
)
QE_IDENTITY_SIGNATURE: Final = Check(
    "dcap.qe-identity-signature",
    "signature of the QE Identity",
    f"{_PCS}, Get QE Identity: over the bytes of the member enclaveIdentity as received",
    fix="fetch the QE Identity again, and keep its bytes as they come: it must not be re-serialised",
)
TCB_INFO_TIME: Final = Check(
    "dcap.tcb-info-time", "validity of the TCB Info", f"{_PCS}, issueDate and nextUpdate", Outcome.CANNOT_DECIDE, _FETCH
)
QE_IDENTITY_TIME: Final = Check(
    "dcap.qe-identity-time", "validity of the QE Identity", f"{_PCS}, issueDate and nextUpdate", Outcome.CANNOT_DECIDE, _FETCH
)
ROOT_CRL: Final = Check(
    "dcap.root-crl", "revocation of PCK CA and TCB signer", f"{_QVL} 4.1.2.4.9-13; RFC 5280 section 6.3", Outcome.CANNOT_DECIDE, _FETCH
)
PCK_CRL: Final = Check(
    "dcap.pck-crl", "revocation of the PCK certificate", f"{_QVL} 4.1.2.4.9-14; RFC 5280 section 6.3", Outcome.CANNOT_DECIDE, _FETCH
)
CRL_FORM: Final = Check("dcap.crl-form", "number and authority key of the CRLs", f"{_PCK}, CRL profile", fix=_FETCH)

# -- the platform against its collateral ----------------------------------------------------------------------------------

TCB_INFO_TEE: Final = Check("dcap.tcb-info-tee", "TCB Info of this TEE", f"{_QVL} 4.1.2.5.9: id and version", Outcome.CANNOT_DECIDE, _FETCH)
FMSPC: Final = Check("dcap.fmspc", "TCB Info of this processor family", f"{_QVL} 4.1.2.5.10", Outcome.CANNOT_DECIDE, _FETCH)
PCE_ID: Final = Check("dcap.pceid", "TCB Info of this provisioning enclave", f"{_QVL} 4.1.2.5.11", Outcome.CANNOT_DECIDE, _FETCH)
QE_IDENTITY_TEE: Final = Check("dcap.qe-identity-tee", "QE Identity of this TEE", f"{_QVL} 4.1.2.5.7", Outcome.CANNOT_DECIDE, _FETCH)
QE_MATCH: Final = Check(
    "dcap.qe-match",
    "identity of the quoting enclave",
    f"{_QVL} 4.1.2.9 (enclave report against enclave identity)",
    fix="the quote was not made by Intel's quoting enclave: do not trust it",
)
TCB_LEVEL: Final = Check(
    "dcap.tcb-level",
    "TCB level of the platform",
    f"{_QVL} 4.1.2.5.14",
    Outcome.REFUSED,
    "the platform is older than every level that Intel still lists: update its firmware",
)
QE_LEVEL: Final = Check(
    "dcap.qe-level",
    "TCB level of the quoting enclave",
    f"{_QVL} 4.1.2.9.10",
    Outcome.REFUSED,
    "the quoting enclave is older than every level that Intel still lists: update the DCAP packages of the host",
)
TDX_MODULE: Final = Check(
    "dcap.tdx-module",
    "identity of the TDX module",
    f"{_QVL} 4.1.2.5.12-13",
    fix="the guest runs under a TDX module that Intel did not sign: do not trust this quote",
)
MODULE_LEVEL: Final = Check(
    "dcap.module-level",
    "TCB level of the TDX module",
    f"{_QVL} 4.1.2.5.15 (TDX module identities)",
    Outcome.REFUSED,
    "the TDX module is older than every one that Intel still lists, or not listed: update it",
)
TCB_REVOKED: Final = Check(
    "dcap.tcb-revoked",
    "TCB not revoked",
    f"{_QVL} 4.1.2.5.15-16 (convergence)",
    fix="Intel has revoked this TCB level: update the platform's firmware and get a new PCK certificate",
)
EXTRACTED_KEY: Final = Check(
    "dcap.extracted-key",
    "PCK key extracted by physical attack",
    "public attacks on memory buses (TEE.fail, 2025): such a key signs quotes that verify; a policy can list the platforms it knows",
    limitation=True,
)

QUOTE_CHECKS: Final = (QUOTE_FORM, QUOTE_VERSION, QUOTE_BODY, KEY_TYPE, VENDOR, RESERVED, CERTIFICATION)
"""What parsing refuses."""

DCAP_CHECKS: Final = (
    *QUOTE_CHECKS, TEE, PCK_CERTIFICATE, PCK_ROLE, PCK_CHAIN, PCK_EXTENSION, PCK_CERTIFIED,
    QE_REPORT_SIGNATURE, ATTESTATION_KEY, QUOTE_SIGNATURE,
    TCB_INFO, TCB_INFO_TEE, FMSPC, PCE_ID, QE_IDENTITY, QE_IDENTITY_TEE, COLLATERAL_FORM, SIGNER_ROLE, SIGNER_CHAIN,
    TCB_INFO_SIGNATURE, QE_IDENTITY_SIGNATURE, CRL_FORM, ROOT_CRL, PCK_CRL, TCB_INFO_TIME, QE_IDENTITY_TIME,
    QE_MATCH, TCB_LEVEL, QE_LEVEL, TCB_REVOKED, EXTRACTED_KEY,
)  # fmt: skip

TDX_CHECKS: Final = (TDX_MODULE, MODULE_LEVEL)
"""What a quote of a TDX guest goes through besides."""
