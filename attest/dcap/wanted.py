"""What Intel publishes for a quote that the bundle does not carry: TCB Info, QE Identity, CRLs.

Source: Intel SGX and TDX Provisioning Certification Service API version 4.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from attest import limits
from attest.dcap import collateral as forms
from attest.dcap.documents import read_qe_identity, read_tcb_info
from attest.dcap.endorsements import PCK_CAS, ROOT_NAME
from attest.dcap.pck import PckPlatform, read_platform
from attest.dcap.quote import Quote, Tee
from attest.errors import AttestError
from attest.evidence import Collateral, CollateralItem, CollateralType, Wanted
from attest.pki import load_certificates, load_crl
from attest.pki.certificate import common_name

HOST: Final = "api.trustedservices.intel.com"
ROOT_HOST: Final = "certificates.trustedservices.intel.com"
TCB_INFO_HEADER: Final = "TCB-Info-Issuer-Chain"
QE_IDENTITY_HEADER: Final = "SGX-Enclave-Identity-Issuer-Chain"


def wanted(quote: Quote, certificates: bytes | None, collateral: Collateral) -> tuple[Wanted, ...]:
    """See :class:`attest.evidence.Kind`. A quote that only names its PCK certificate wants no TCB Info: its platform is not known yet.

    Raises MalformedError for a PCK certificate that cannot be read.
    """
    pem = quote.certification.pem or certificates
    if not pem:
        return ()
    leaf = load_certificates(pem, "PCK chain", most=limits.MAX_CHAIN_LENGTH)[0]
    return tuple(_pieces(quote.tee, read_platform(leaf), common_name(leaf.issuer), collateral))


def _pieces(tee: Tee, platform: PckPlatform, authority: str, collateral: Collateral) -> Iterator[Wanted]:
    path = f"/{tee.name.lower()}/certification/v4"
    fmspc = platform.fmspc.hex()
    if not any(_is_tcb_info(item, tee, platform.fmspc) for item in collateral.of_type(CollateralType.TCB_INFO)):
        yield Wanted(
            CollateralType.TCB_INFO,
            f"{tee.name.lower()}-tcb-info-{fmspc}",
            HOST,
            f"{path}/tcb?fmspc={fmspc.upper()}",
            form="signed-document",
            header=TCB_INFO_HEADER,
        )
    if not any(_is_qe_identity(item, tee) for item in collateral.of_type(CollateralType.QE_IDENTITY)):
        yield Wanted(
            CollateralType.QE_IDENTITY,
            f"{tee.name.lower()}-qe-identity",
            HOST,
            f"{path}/qe/identity",
            form="signed-document",
            header=QE_IDENTITY_HEADER,
        )
    issuers = {_issuer(item) for item in collateral.of_type(CollateralType.CRL)}
    ca = PCK_CAS.get(authority)
    if ca is not None and authority not in issuers:
        yield Wanted(CollateralType.CRL, f"pck-{ca.value}-crl", HOST, f"/sgx/certification/v4/pckcrl?ca={ca.value}&encoding=der")
    if ROOT_NAME not in issuers:
        yield Wanted(CollateralType.CRL, "sgx-root-crl", ROOT_HOST, "/IntelSGXRootCA.der")


def _is_tcb_info(item: CollateralItem, tee: Tee, fmspc: bytes) -> bool:
    try:
        info = read_tcb_info(forms.read_document(item.data, forms.TCB_INFO, item.name).value)
    except AttestError:
        return False
    return info.tee is tee and info.fmspc == fmspc


def _is_qe_identity(item: CollateralItem, tee: Tee) -> bool:
    try:
        return read_qe_identity(forms.read_document(item.data, forms.QE_IDENTITY, item.name).value).tee is tee
    except AttestError:
        return False


def _issuer(item: CollateralItem) -> str:
    try:
        return common_name(load_crl(item.data, item.name).issuer)
    except AttestError:
        return ""
