"""Certificate chains at a given time under a named vendor profile, and revocation (CRL, OCSP).

Verification here reads no clock and no network: time, certificates, revocation answers and anchors are arguments. What comes out is a
:class:`VerifiedChain` or a :class:`RevocationAnswer`, and neither can be had without the checks of :data:`PKI_CHECKS`.
"""

from __future__ import annotations

from typing import Final

from attest.checks import Check
from attest.pki.amd import AMD_CHECKS, load_amd_leaf, verify_amd_chain
from attest.pki.certificate import CERTIFICATE_CHECKS, load_certificate, load_certificates
from attest.pki.chain import (
    CHAIN_CHECKS,
    INTEL_PCK,
    INTEL_TCB_SIGNING,
    NVIDIA_DEVICE,
    NVIDIA_RIM,
    Anchor,
    ChainProfile,
    VerifiedChain,
    verify_chain,
)
from attest.pki.crl import CRL_CHECKS, AuthenticCrl, check_crl, load_crl, read_crl
from attest.pki.ocsp import OCSP_CHECKS, check_ocsp
from attest.pki.revocation import RevocationAnswer
from attest.pki.tpm import AK as TPM_AK
from attest.pki.tpm import EK as TPM_EK
from attest.pki.tpm import TPM_PKI_CHECKS, verify_tpm_chain

PKI_CHECKS: Final[tuple[Check, ...]] = (*CERTIFICATE_CHECKS, *CHAIN_CHECKS, *AMD_CHECKS, *TPM_PKI_CHECKS, *CRL_CHECKS, *OCSP_CHECKS)
"""Every rule of this package, for documentation and for the test that each has a failing example."""

__all__ = [
    "INTEL_PCK",
    "INTEL_TCB_SIGNING",
    "NVIDIA_DEVICE",
    "NVIDIA_RIM",
    "PKI_CHECKS",
    "TPM_AK",
    "TPM_EK",
    "Anchor",
    "AuthenticCrl",
    "ChainProfile",
    "RevocationAnswer",
    "VerifiedChain",
    "check_crl",
    "check_ocsp",
    "load_amd_leaf",
    "load_certificate",
    "load_certificates",
    "load_crl",
    "read_crl",
    "verify_amd_chain",
    "verify_chain",
    "verify_tpm_chain",
]
