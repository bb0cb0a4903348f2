"""Which OCSP answers of a bundle speak of a certificate, and what they say together.

NVIDIA answers for every certificate between a device's attestation key and the root, and for the signers of reference manifests. An
answer is valid for a day. A bundle may carry several for one certificate: one that says revoked outweighs every other.
"""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache

from cryptography import x509
from cryptography.x509 import ocsp

from attest import limits
from attest.errors import CannotDecideError
from attest.evidence import Collateral, CollateralType
from attest.pki import RevocationAnswer, VerifiedChain, check_ocsp
from attest.pki.ocsp import MALFORMED
from attest.wire import bounded


class Answers:
    """The OCSP answers of one bundle, looked up by the certificate that they speak of."""

    def __init__(self, collateral: Collateral, at: datetime) -> None:
        """Raises MalformedError for an answer that cannot be read: nobody could say which certificate it speaks of."""
        self._at = at
        self._judged: dict[tuple[x509.Certificate, x509.Certificate], tuple[RevocationAnswer | None, str]] = {}
        self._answers = [(item.data, item.name, _serial_numbers(item.data, item.name)) for item in collateral.of_type(CollateralType.OCSP)]

    def judge(self, chain: VerifiedChain, index: int, name: str) -> tuple[RevocationAnswer | None, str]:
        """The answer that certificate ``index`` of ``chain`` is good, and that may be relied on longest; or None, and why there is none.

        Every answer about the certificate is judged. Raises NotAuthenticError when one says revoked or on hold, or is not from the
        issuer's responder.
        """
        # Both manifests usually have the same certificates above their signers: their answers are judged once.
        key = (chain.certificates[index], chain.certificates[index + 1])
        if key not in self._judged:
            self._judged[key] = self._judge(chain, index, name)
        return self._judged[key]

    def _judge(self, chain: VerifiedChain, index: int, name: str) -> tuple[RevocationAnswer | None, str]:
        subject, issuer = chain.certificates[index : index + 2]
        good: list[RevocationAnswer] = []
        problems: list[str] = []
        for data, label, serial_numbers in self._answers:
            if subject.serial_number not in serial_numbers:
                continue
            try:
                answer = check_ocsp(
                    data, subject=subject, issuer=issuer, anchors_chain=chain.certificates, at=self._at, name=f"{label} for {name}"
                )
            except CannotDecideError as error:
                problems.append(f"{error.reasons[0].message} ({error.reasons[0].found}, expected {error.reasons[0].expected})")
                continue
            good.append(answer)
        if good:
            return max(good, key=lambda answer: answer.next_update), ""
        return None, "; ".join(problems) or f"no OCSP answer for {name}"


@lru_cache(maxsize=256)
def _serial_numbers(der: bytes, name: str) -> frozenset[int]:
    """Serial numbers that an answer speaks of; none for a response without answer (unauthorized, try later)."""
    bounded(der, limits.MAX_OCSP_BYTES, name)
    try:
        response = ocsp.load_der_ocsp_response(der)
        if response.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return frozenset()
        return frozenset(single.serial_number for single in response.responses)
    except (ValueError, TypeError, OverflowError) as error:
        raise MALFORMED.failure(where=name, found=str(error)[:120]) from None
