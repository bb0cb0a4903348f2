"""What NVIDIA's RIM and OCSP services have for a GPU that the bundle does not carry.

RIM service: GET /v1/rim/<id>, JSON with the manifest in base64. OCSP responder: POST of an RFC 6960 request; it answers for the
certificates between attestation key and root and for the signers of manifests, and each answer is valid for a day.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp

from attest.crypto import sha256
from attest.evidence import Collateral, CollateralType, Evidence, Wanted
from attest.kinds.nvidia_gpu.claims import driver_rim_id, vbios_rim_id
from attest.kinds.nvidia_gpu.verify import read_certificates, read_report

RIM_HOST: Final = "rim.attestation.nvidia.com"
OCSP_HOST: Final = "ocsp.ndis.nvidia.com"


def wanted(evidence: Evidence, collateral: Collateral) -> tuple[Wanted, ...]:
    """See :class:`attest.evidence.Kind`. The answers for a manifest's signers are wanted once the manifest is there."""
    _, _, info = read_report(evidence)
    have = {(item.type, item.name) for item in collateral.items}
    pieces = [*_manifests(driver_rim_id(info), vbios_rim_id(info)), *_answers(read_certificates(evidence)[1:])]
    manifests = collateral.of_type(CollateralType.RIM)
    if manifests:
        from attest.kinds.nvidia_gpu import rim  # lxml and signxml would double the time of the command's start

        for item in manifests:
            pieces += _answers(rim.read(item.data).certificates)
    found = {(piece.type, piece.name): piece for piece in pieces}
    return tuple(piece for own, piece in found.items() if own not in have)


def _manifests(*names: str) -> Iterator[Wanted]:
    for name in names:
        yield Wanted(CollateralType.RIM, name, RIM_HOST, f"/v1/rim/{name}", form="rim-json")


def _answers(chain: Sequence[x509.Certificate]) -> Iterator[Wanted]:
    """One request for every certificate but the root."""
    for subject, issuer in pairwise(chain):
        request = ocsp.OCSPRequestBuilder().add_certificate(subject, issuer, hashes.SHA384()).build()
        name = f"ocsp-{sha256(subject.public_bytes(serialization.Encoding.DER))[:12].hex()}"
        body = request.public_bytes(serialization.Encoding.DER)
        yield Wanted(CollateralType.OCSP, name, OCSP_HOST, "/", body, "application/ocsp-request")
