"""Recorded OCSP answers: every way in which one can fail to say "good"."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID
from hypothesis import given, settings
from hypothesis import strategies as st

from attest import limits
from attest.crypto import sha256
from attest.errors import AttestError, CannotDecideError, MalformedError, NotAuthenticError
from attest.pki import check_ocsp

UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
SECOND = timedelta(seconds=1)
DAY = timedelta(days=1)
BY_NAME = ocsp.OCSPResponderEncoding.NAME


class Asked:
    """A chain, its responder, and the question about certificate 1."""

    def __init__(self, forge, **responder_changes):
        self.forge = forge
        self.specs = forge.device()
        self.chain = forge.build(self.specs)
        self.subject, self.issuer = self.chain[1], self.chain[2]
        self.responder = self.certificate(**responder_changes)
        self.key = responder_changes.get("key", forge.p384("ocsp"))

    def certificate(self, **changes):
        return self.forge.certificate(self.forge.responder(**changes), self.specs[2])

    def answer(self, **changes):
        arguments = {"subject": self.subject, "issuer": self.issuer, "responder": self.responder, "key": self.key, **changes}
        return self.forge.answer(
            arguments.pop("subject"), arguments.pop("issuer"), arguments.pop("responder"), arguments.pop("key"), **arguments
        )

    def check(self, der, **changes):
        arguments = {
            "subject": self.subject,
            "issuer": self.issuer,
            "anchors_chain": self.chain,
            "at": self.forge.at,
            "name": "test answer",
            **changes,
        }
        return check_ocsp(der, **arguments)

    def refused(self, der, error, code, **changes):
        with pytest.raises(error) as caught:
            self.check(der, **changes)
        assert caught.value.code == code
        reason = caught.value.reasons[0]
        assert reason.where.startswith("test answer")
        assert reason.found
        assert reason.fix
        return reason

    def resigned(self, change=lambda tbs: tbs, *, key=None, **changes):
        """An answer whose signed part went through ``change`` (DER in, DER out) before it was signed, with ``key``."""
        children, tlv = self.forge.children, self.forge.tlv
        status, response = children(self.answer(**changes))
        kind, basic = children(children(response)[0])
        tbs, algorithm, _, certificates = children(children(basic)[0])
        signed = children(self.forge.signed(change(tbs), algorithm, key or self.key, self.specs[1]))
        return tlv(0x30, status, tlv(0xA0, tlv(0x30, kind, tlv(0x04, tlv(0x30, *signed, certificates)))))


@pytest.fixture
def asked(forge):
    return Asked(forge)


# -- good ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cert_id", [hashes.SHA1(), hashes.SHA256(), hashes.SHA384()], ids=lambda item: item.name)
@pytest.mark.parametrize("by", list(ocsp.OCSPResponderEncoding))
def test_a_good_answer_of_a_delegate(asked, forge, cert_id, by):
    der = asked.answer(cert_id=cert_id, by=by, begin=forge.at - DAY, end=forge.at + DAY)
    answer = asked.check(der)
    assert (answer.this_update, answer.next_update) == (forge.at - DAY, forge.at + DAY)
    assert answer.digest == sha256(der).hex()
    assert answer.responder == "OCSP Responder"


@pytest.mark.parametrize("carried", ["nothing", "issuer"])
@pytest.mark.parametrize("by", list(ocsp.OCSPResponderEncoding))
def test_a_good_answer_of_the_issuer_itself(asked, by, carried):
    der = asked.answer(responder=asked.issuer, key=asked.specs[2].key, by=by, carried=() if carried == "nothing" else (asked.issuer,))
    assert asked.check(der).responder == "GH100 Provisioner ICA"


def test_other_certificates_may_come_along(asked):
    assert asked.check(asked.answer(carried=(asked.chain[4], asked.responder, asked.responder)))


def test_every_member_below_the_root_can_be_asked_about(forge, asked):
    for index in range(4):
        subject, issuer = asked.chain[index : index + 2]
        responder = forge.certificate(forge.responder(), asked.specs[index + 1])
        der = asked.answer(subject=subject, issuer=issuer, responder=responder)
        assert asked.check(der, subject=subject, issuer=issuer)


# -- no answer ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [item for item in ocsp.OCSPResponseStatus if item is not ocsp.OCSPResponseStatus.SUCCESSFUL])
def test_response_status(asked, status):
    der = ocsp.OCSPResponseBuilder.build_unsuccessful(status).public_bytes(Encoding.DER)
    reason = asked.refused(der, CannotDecideError, "pki.ocsp.response-status")
    assert reason.found == status.name.lower()


def test_every_kind_of_broken_bytes(asked):
    der = asked.answer()
    for broken in (b"", der[:-1], der + b"\0", b"\x30\x00", b"\x30\x03\x0a\x01\x00", b"\x30\x03\x0a\x01\x04"):
        asked.refused(broken, MalformedError, "pki.ocsp.malformed")
    with pytest.raises(MalformedError) as caught:
        asked.check(der + bytes(limits.MAX_OCSP_BYTES))
    assert caught.value.code == "wire.too-long"


def test_unreadable_certificate_inside(asked):
    der = asked.answer()
    assert der.count(b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09") == 1  # the purpose in the responder's certificate
    with pytest.raises(MalformedError):
        asked.check(der.replace(b"\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x09", b"\x06\x08\xab\x86\x81\x85\x85\x87\x83\x89"))


# -- about another certificate -------------------------------------------------------------------------------------------------


def test_another_serial_number(asked, forge):
    sibling = forge.certificate(asked.specs[1], asked.specs[2])
    asked.refused(asked.answer(subject=sibling), NotAuthenticError, "pki.ocsp.certificate-id")


def test_another_issuer_of_the_same_name(asked, forge):
    """certID: the right name hash and serial number under another key."""
    asked.specs[2].key = forge.p384("impostor")
    impostor = forge.certificate(asked.specs[2], asked.specs[3])
    reason = asked.refused(asked.answer(issuer=impostor), NotAuthenticError, "pki.ocsp.certificate-id")
    assert "key" in reason.found


def test_another_issuer_of_the_same_key(asked, forge):
    asked.specs[1].issuer = forge.name("Another CA")
    asked.specs[1].serial = asked.subject.serial_number
    other = forge.certificate(asked.specs[1], asked.specs[2])
    reason = asked.refused(asked.answer(subject=other), NotAuthenticError, "pki.ocsp.certificate-id")
    assert "name" in reason.found


@pytest.mark.parametrize("cert_id", [hashes.SHA224(), hashes.SHA512()], ids=lambda item: item.name)
def test_hash_of_the_certificate_id(asked, cert_id):
    asked.refused(asked.answer(cert_id=cert_id), NotAuthenticError, "pki.ocsp.certificate-id")


def _statements(forge, tbs, change):
    """Replace the list of statements in ResponseData (RFC 6960 section 4.2.1): it stands after responderID and producedAt."""
    fields = forge.children(tbs)
    assert fields[1][0] == 0x18
    fields[2] = forge.tlv(0x30, *change(forge.children(fields[2])))
    return forge.tlv(0x30, *fields)


def test_two_statements(asked, forge):
    der = asked.resigned(lambda tbs: _statements(forge, tbs, lambda statements: statements * 2))
    asked.refused(der, NotAuthenticError, "pki.ocsp.single")


def test_no_statement(asked, forge):
    der = asked.resigned(lambda tbs: _statements(forge, tbs, lambda statements: []))
    asked.refused(der, NotAuthenticError, "pki.ocsp.single")


def test_surgery_itself_changes_nothing(asked):
    assert asked.check(asked.resigned())


# -- responder -----------------------------------------------------------------------------------------------------------------


def test_responder_named_is_not_carried(asked):
    asked.refused(asked.answer(carried=()), NotAuthenticError, "pki.ocsp.responder-id")
    asked.refused(asked.answer(carried=(asked.chain[3],)), NotAuthenticError, "pki.ocsp.responder-id")


def test_responder_named_is_ambiguous(asked):
    twin = asked.certificate()
    asked.refused(asked.answer(carried=(asked.responder, twin)), NotAuthenticError, "pki.ocsp.responder-id")
    asked.refused(asked.answer(carried=(asked.responder, twin), by=BY_NAME), NotAuthenticError, "pki.ocsp.responder-id")


def test_signed_by_the_subject_itself(asked):
    der = asked.answer(responder=asked.subject, key=asked.specs[1].key)
    asked.refused(der, NotAuthenticError, "pki.ocsp.self")


def test_signed_with_the_key_of_the_subject_under_another_certificate(forge):
    asked = Asked(forge, key=forge.p384("ik"))
    asked.refused(asked.answer(), NotAuthenticError, "pki.ocsp.self")


def test_subject_with_the_right_purpose_still_may_not_vouch_for_itself(forge):
    asked = Asked(forge)
    asked.specs[1].extra = [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), False)]
    asked.specs[1].usage = ("key_cert_sign", "digital_signature")
    asked.chain = forge.build(asked.specs)
    asked.subject, asked.issuer = asked.chain[1], asked.chain[2]
    der = asked.answer(responder=asked.subject, key=asked.specs[1].key)
    asked.refused(der, NotAuthenticError, "pki.ocsp.self")


def test_responder_of_another_issuer(asked, forge):
    responder = forge.certificate(forge.responder(), asked.specs[3])
    reason = asked.refused(asked.answer(responder=responder), NotAuthenticError, "pki.ocsp.responder-issuer")
    assert (reason.found, reason.expected) == ("issued by GH100 Identity", "issued by GH100 Provisioner ICA")


def test_responder_made_up_under_the_issuers_name(asked):
    responder = asked.certificate(signer=asked.forge.p384("impostor"))
    asked.refused(asked.answer(responder=responder), NotAuthenticError, "pki.ocsp.responder-issuer")


def test_responder_signed_by_itself(asked, forge):
    spec = forge.responder()
    responder = forge.certificate(spec, spec)
    asked.refused(asked.answer(responder=responder), NotAuthenticError, "pki.ocsp.responder-issuer")


@pytest.mark.parametrize(
    "changes",
    [
        {"extra": []},
        {"extra": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), True)]},
        {"extra": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]), True)]},
        {"usage": None},
        {"usage": ("key_agreement",)},
        {"ca": True, "usage": ("digital_signature", "key_cert_sign")},
        {"extra": [(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.OCSP_SIGNING]), True), (UNKNOWN, True)]},
    ],
    ids=["no purpose", "another purpose", "any purpose", "no keyUsage", "no digitalSignature", "CA", "unknown critical extension"],
)
def test_responder_without_authority(forge, changes):
    asked = Asked(forge, **changes)
    asked.refused(asked.answer(), NotAuthenticError, "pki.ocsp.responder-usage")


def test_certificate_of_the_same_issuer_that_is_no_responder(asked, forge):
    """A sibling device certificate, genuinely issued, signs for its neighbour."""
    sibling = forge.certificate(forge.responder(extra=[]), asked.specs[2])
    asked.refused(asked.answer(responder=sibling), NotAuthenticError, "pki.ocsp.responder-usage")


@pytest.mark.parametrize("key", ["p256", "rsa"])
def test_responder_of_another_algorithm(forge, key):
    asked = Asked(forge, key=forge.p256("ocsp") if key == "p256" else forge.rsa("ocsp", 2048))
    asked.refused(asked.answer(), NotAuthenticError, "pki.ocsp.algorithm")


def test_responder_certificate_signed_with_another_hash(forge):
    asked = Asked(forge, digest=hashes.SHA256())
    asked.refused(asked.answer(), NotAuthenticError, "pki.ocsp.algorithm")


def test_answer_signed_with_another_hash(asked):
    asked.refused(asked.answer(digest=hashes.SHA256()), NotAuthenticError, "pki.ocsp.algorithm")


def test_responder_validity(forge):
    asked = Asked(forge, begin=forge.at, end=forge.at + timedelta(hours=2))
    der = asked.answer(begin=forge.at - DAY, end=forge.at + DAY)
    assert asked.check(der, at=forge.at)
    assert asked.check(der, at=forge.at + timedelta(hours=2))
    asked.refused(der, NotAuthenticError, "pki.ocsp.responder-not-yet-valid", at=forge.at - SECOND)
    asked.refused(der, NotAuthenticError, "pki.ocsp.responder-expired", at=forge.at + timedelta(hours=2) + SECOND)


# -- signature and extensions ----------------------------------------------------------------------------------------------------


def test_signature_of_another_key_under_the_responders_name(asked, forge):
    for by in ocsp.OCSPResponderEncoding:
        asked.refused(asked.resigned(key=forge.p384("impostor"), by=by), NotAuthenticError, "pki.ocsp.signature")


def test_signature_with_unused_bits(asked):
    # Where the last bit is 0, the claim that it is unused changes nothing but the bytes.
    signatures = ((der, ocsp.load_der_ocsp_response(der).signature) for der in (asked.answer() for _ in range(64)))
    der, signature = next((der, signature) for der, signature in signatures if signature[-1] % 2 == 0)
    assert asked.check(der)
    asked.refused(der.replace(b"\0" + signature, b"\1" + signature), MalformedError, "pki.ocsp.malformed")


def test_status_altered(asked):
    der = asked.answer(status=ocsp.OCSPCertStatus.UNKNOWN)
    assert der.count(b"\x82\x00\x18") == 1
    asked.refused(der.replace(b"\x82\x00\x18", b"\x80\x00\x18"), NotAuthenticError, "pki.ocsp.signature")


def test_every_byte_of_the_answer_counts(asked):
    """The certificate that it carries included, which is covered by the issuer's signature."""
    der = asked.answer()
    for offset in range(len(der)):
        for bit in (0, offset % 7 + 1):
            flipped = bytearray(der)
            flipped[offset] ^= 1 << bit
            with pytest.raises(AttestError):
                asked.check(bytes(flipped))


def test_critical_extension_of_the_answer(asked):
    asked.refused(asked.answer(extra=((UNKNOWN, True),)), NotAuthenticError, "pki.ocsp.critical-extension")
    assert asked.check(asked.answer(extra=((UNKNOWN, False),)))


def test_critical_extension_of_the_statement(asked, forge):
    extension = forge.tlv(0x30, forge.tlv(0x06, b"\x2a\x03\x04"), b"\x01\x01\xff", forge.tlv(0x04, b"\x05\x00"))

    def extended(statements):
        return [forge.tlv(0x30, *forge.children(statements[0]), forge.tlv(0xA1, forge.tlv(0x30, extension)))]

    der = asked.resigned(lambda tbs: _statements(forge, tbs, extended))
    asked.refused(der, NotAuthenticError, "pki.ocsp.critical-extension")


def test_unreadable_extension_of_the_statement(asked, forge):
    def extended(statements):
        return [forge.tlv(0x30, *forge.children(statements[0]), forge.tlv(0xA1, forge.tlv(0x30, b"\x30\x00")))]

    asked.refused(asked.resigned(lambda tbs: _statements(forge, tbs, extended)), MalformedError, "pki.ocsp.malformed")


def test_nonce(asked):
    sent = bytes(range(32))
    der = asked.answer(extra=((x509.OCSPNonce(sent), False),))
    assert asked.check(der, nonce=sent)
    assert asked.check(der)
    assert asked.check(asked.answer(extra=((x509.OCSPNonce(sent), True),)), nonce=sent)
    for other in (bytes(32), sent[:-1], b""):
        asked.refused(der, NotAuthenticError, "pki.ocsp.nonce", nonce=other)
    asked.refused(asked.answer(), NotAuthenticError, "pki.ocsp.nonce", nonce=sent)


# -- status and freshness --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reason", [None, *(item for item in x509.ReasonFlags if item is not x509.ReasonFlags.certificate_hold)])
def test_revoked(asked, reason):
    der = asked.answer(status=ocsp.OCSPCertStatus.REVOKED, reason=reason)
    found = asked.refused(der, NotAuthenticError, "pki.ocsp.revoked").found
    assert "GH100 GSP BROM" in found
    assert reason is None or reason.value in found


def test_on_hold(asked):
    der = asked.answer(status=ocsp.OCSPCertStatus.REVOKED, reason=x509.ReasonFlags.certificate_hold)
    asked.refused(der, NotAuthenticError, "pki.ocsp.hold")


def test_revoked_comes_before_stale_and_future(asked, forge):
    der = asked.answer(status=ocsp.OCSPCertStatus.REVOKED)
    for at in (forge.at - 10 * DAY, forge.at + 365 * DAY):
        asked.refused(der, NotAuthenticError, "pki.ocsp.revoked", at=at)


def test_revoked_needs_a_signature_too(asked, forge):
    der = asked.resigned(status=ocsp.OCSPCertStatus.REVOKED, key=forge.p384("impostor"))
    asked.refused(der, NotAuthenticError, "pki.ocsp.signature")


def test_unknown(asked):
    asked.refused(asked.answer(status=ocsp.OCSPCertStatus.UNKNOWN), CannotDecideError, "pki.ocsp.unknown")


def test_window_includes_its_start_and_not_its_end(asked, forge):
    der = asked.answer(begin=forge.at, end=forge.at + DAY)
    assert asked.check(der, at=forge.at)
    assert asked.check(der, at=forge.at + DAY - SECOND)
    asked.refused(der, CannotDecideError, "pki.ocsp.future", at=forge.at - SECOND)
    asked.refused(der, CannotDecideError, "pki.ocsp.stale", at=forge.at + DAY)
    asked.refused(der, CannotDecideError, "pki.ocsp.stale", at=forge.at + 3650 * DAY)


def test_no_next_update(asked):
    asked.refused(asked.answer(end=None), CannotDecideError, "pki.ocsp.next-update")


# -- bugs of the caller ------------------------------------------------------------------------------------------------------------


def test_certificates_that_are_no_neighbours_in_the_chain(asked):
    der = asked.answer()
    for subject, issuer in ((asked.chain[0], asked.chain[2]), (asked.chain[2], asked.chain[1]), (asked.responder, asked.issuer)):
        with pytest.raises(ValueError, match="neighbours"):
            asked.check(der, subject=subject, issuer=issuer)
    with pytest.raises(ValueError, match="neighbours"):
        asked.check(der, anchors_chain=())


def test_naive_time(asked):
    with pytest.raises(ValueError, match="naive"):
        asked.check(asked.answer(), at=datetime(2026, 6, 1))  # noqa: DTZ001


# -- hostile bytes -------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def good(forge):
    asked = Asked(forge)
    return asked, asked.answer(begin=datetime(2026, 6, 1, tzinfo=UTC), extra=((x509.OCSPNonce(b"n" * 32), False),))


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damage_never_ends_in_another_error(good, data):
    asked, der = good
    damaged = bytearray(der)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    if damaged != der:
        with pytest.raises(AttestError):
            asked.check(bytes(damaged))


@given(st.binary(max_size=300))
def test_noise_is_malformed_or_no_answer(good, noise):
    with pytest.raises(AttestError) as caught:
        good[0].check(noise)
    assert caught.value.exit_code in (3, 6)
