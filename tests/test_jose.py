"""Compact JWS: one algorithm, one header, one spelling; every deviation alone, signed again where the signature covers it."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, utils
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from attest.checks import Check
from attest.crypto import P384_ORDER
from attest.errors import AttestError, MalformedError, Outcome
from attest.jose import IssuerKey, IssuerPrivateKey, verify_jws
from attest.keyfile import create_secret
from attest.wire import Fields, base64url

FORM = Check("test.form", "form", "nowhere", Outcome.MALFORMED)
SIGNATURE = Check("test.signature", "signature", "nowhere")
TYPE = "test+jwt"
PAYLOAD = b'{"a":1}'
EC_KEY = ec.generate_private_key(ec.SECP384R1())
KEY = IssuerPrivateKey(EC_KEY)
KID = KEY.public.thumbprint


def verify(text: str, *, key: IssuerKey = KEY.public, typ: str = TYPE, limit: int = 4096) -> bytes:
    return verify_jws(text, key=key, typ=typ, limit=limit, form=FORM, signature=SIGNATURE)


def made(header: object, payload: bytes = PAYLOAD, *, key: ec.EllipticCurvePrivateKey = EC_KEY) -> str:
    """A correctly signed token with any header."""
    text = header if isinstance(header, str) else json.dumps(header)
    covered = f"{base64url(text.encode())}.{base64url(payload)}"
    r, s = utils.decode_dss_signature(key.sign(covered.encode(), ec.ECDSA(hashes.SHA384())))
    return f"{covered}.{base64url(r.to_bytes(48, 'big') + s.to_bytes(48, 'big'))}"


HEADER = {"alg": "ES384", "kid": KID, "typ": TYPE}


def refused(text: str) -> str:
    with pytest.raises(AttestError) as error:
        verify(text)
    return error.value.code


def test_what_is_signed_verifies() -> None:
    assert verify(KEY.sign(PAYLOAD, typ=TYPE)) == PAYLOAD
    assert verify(made(HEADER)) == PAYLOAD  # so the deviations below differ from a good token by one thing only


@pytest.mark.parametrize(
    ("header", "code"),
    [
        (HEADER | {"alg": "none"}, FORM.id),
        (HEADER | {"alg": "ES256"}, FORM.id),
        (HEADER | {"alg": "es384"}, FORM.id),
        (HEADER | {"alg": None}, FORM.id),
        ({"kid": KID, "typ": TYPE}, FORM.id),
        (HEADER | {"typ": "JWT"}, FORM.id),
        (HEADER | {"typ": TYPE.upper()}, FORM.id),
        ({"alg": "ES384", "kid": KID}, FORM.id),
        ({"alg": "ES384", "typ": TYPE}, FORM.id),
        (HEADER | {"kid": 7}, FORM.id),
        (HEADER | {"kid": ""}, SIGNATURE.id),
        (HEADER | {"kid": "another"}, SIGNATURE.id),
        (HEADER | {"jku": "https://elsewhere.example/jwks"}, FORM.id),
        (HEADER | {"x5u": "https://elsewhere.example/x"}, FORM.id),
        (HEADER | {"jwk": KEY.public.to_jwk()}, FORM.id),
        (HEADER | {"x5c": []}, FORM.id),
        (HEADER | {"crit": ["exp"], "exp": 1}, FORM.id),
        (HEADER | {"crit": []}, FORM.id),
        (HEADER | {"b64": False, "crit": ["b64"]}, FORM.id),
        (HEADER | {"b64": True}, FORM.id),
        (HEADER | {"zip": "DEF"}, FORM.id),
        (HEADER | {"cty": "JWT"}, FORM.id),
        pytest.param(f'{{"alg":"none","alg":"ES384","kid":"{KID}","typ":"{TYPE}"}}', FORM.id, id="duplicate member"),
        pytest.param(f'{{"alg":"ES384","kid":"{KID}","typ":"{TYPE}"}} ' + "x", FORM.id, id="trailing text"),
        ("[]", FORM.id),
        ("null", FORM.id),
        ("{", FORM.id),
    ],
)
def test_header(header: object, code: str) -> None:
    assert refused(made(header)) == code


def test_public_key_as_hmac_secret() -> None:
    """The oldest trick: HS384 over the public key that the verifier holds."""
    header = base64url(json.dumps(HEADER | {"alg": "HS384"}).encode())
    covered = f"{header}.{base64url(PAYLOAD)}"
    mac = hmac.new(KEY.public.to_pem(), covered.encode(), hashlib.sha384).digest()
    assert refused(f"{covered}.{base64url(mac)}") == FORM.id


def test_no_signature() -> None:
    covered = made(HEADER).rpartition(".")[0]
    assert refused(f"{covered}.") == FORM.id
    assert refused(covered) == FORM.id


def _with_signature(change: Callable[[bytes], bytes]) -> str:
    covered, _, encoded = made(HEADER).rpartition(".")
    return f"{covered}.{base64url(change(base64.urlsafe_b64decode(encoded + '==')))}"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda s: s[:-1], FORM.id),
        (lambda s: s + b"\0", FORM.id),
        (lambda s: utils.encode_dss_signature(int.from_bytes(s[:48], "big"), int.from_bytes(s[48:], "big")), FORM.id),
        (lambda s: bytes(96), SIGNATURE.id),
        (lambda s: bytes(48) + s[48:], SIGNATURE.id),
        (lambda s: s[:48] + bytes(48), SIGNATURE.id),
        (lambda s: P384_ORDER.to_bytes(48, "big") + s[48:], SIGNATURE.id),
        (lambda s: s[:48] + P384_ORDER.to_bytes(48, "big"), SIGNATURE.id),
        (lambda s: s[48:] + s[:48], SIGNATURE.id),
        (lambda s: bytes([s[0] ^ 1]) + s[1:], SIGNATURE.id),
    ],
)
def test_signature(change: Callable[[bytes], bytes], code: str) -> None:
    assert refused(_with_signature(change)) == code


def test_another_key_of_the_same_name() -> None:
    assert refused(made(HEADER, key=ec.generate_private_key(ec.SECP384R1()))) == SIGNATURE.id


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t + "=",
        lambda t: t + "\n",
        lambda t: " " + t,
        lambda t: t + ".x",
        lambda t: t.replace(".", "..", 1),
        lambda t: t.replace(".", "=.", 1),
        lambda t: "é" + t,
        lambda t: t + "A" * 5000,
        lambda t: json.dumps({"payload": t}),
        lambda t: "",
    ],
)
def test_spelling(change: Callable[[str], str]) -> None:
    assert refused(change(made(HEADER))) == FORM.id


def test_size() -> None:
    text = made(HEADER)
    assert verify(text, limit=len(text)) == PAYLOAD
    with pytest.raises(AttestError) as error:
        verify(text, limit=len(text) - 1)
    assert error.value.code == FORM.id


def test_unused_bits_of_base64_are_zero() -> None:
    """Two spellings of one signature would be two tokens with one content."""
    covered, _, encoded = _with_signature(lambda s: s).rpartition(".")
    header, _, payload = covered.partition(".")
    last = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    assert len(payload) % 4 in (2, 3)
    other = payload[:-1] + last[last.index(payload[-1]) + 1]
    assert refused(f"{header}.{other}.{encoded}") == FORM.id


@given(st.data())
def test_every_flipped_character_is_refused(data: st.DataObject) -> None:
    text = KEY.sign(PAYLOAD, typ=TYPE)
    position = data.draw(st.integers(0, len(text) - 1))
    replacement = data.draw(st.sampled_from("ABab09-_.=").filter(lambda c: c != text[position]))
    with pytest.raises(AttestError):
        verify(text[:position] + replacement + text[position + 1 :])


# -- keys -----------------------------------------------------------------------------------------------------------------


def test_public_key_forms() -> None:
    public = KEY.public
    assert IssuerKey.from_jwk(Fields(public.to_jwk(), "jwk")) == public
    assert IssuerKey.from_pem(public.to_pem()) == public
    jwk = public.to_jwk()
    canonical = json.dumps({name: jwk[name] for name in ("crv", "kty", "x", "y")}, separators=(",", ":"))  # RFC 7638 section 3
    assert public.thumbprint == base64url(hashlib.sha256(canonical.encode()).digest())


@pytest.mark.parametrize(
    "change",
    [
        {"d": "AAAA"},
        {"crv": "P-256"},
        {"kty": "OKP"},
        {"x": base64url(bytes(48))},
        {"x": base64url(bytes(49))},
        {"y": ""},
        {"kid": "x"},
        {"x": 7},
    ],
)
def test_bad_public_keys(change: dict[str, str]) -> None:
    with pytest.raises(MalformedError):
        IssuerKey.from_jwk(Fields(KEY.public.to_jwk() | change, "jwk"))


@pytest.mark.parametrize("point", [b"", b"\x04" + bytes(96), b"\x02" + bytes(48), b"\x04" + bytes(95), b"\x04" + b"\xff" * 96])
def test_no_point(point: bytes) -> None:
    with pytest.raises(MalformedError) as error:
        IssuerKey(point)
    assert error.value.code == "jose.key"


def test_private_key_file(tmp_path: Path) -> None:
    KEY.save(tmp_path / "issuer.pem")
    assert IssuerPrivateKey.load(tmp_path / "issuer.pem").public == KEY.public
    assert (tmp_path / "issuer.pem").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "content",
    [
        b"not a key",
        KEY.public.to_pem(),
        ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        ed25519.Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
    ],
    ids=["text", "public key", "other curve", "other kind"],
)
def test_other_private_key_files(tmp_path: Path, content: bytes) -> None:
    create_secret(tmp_path / "issuer.pem", content)
    with pytest.raises(MalformedError) as error:
        IssuerPrivateKey.load(tmp_path / "issuer.pem")
    assert error.value.code == "jose.key"


def public_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"garbage",
        b"-----BEGIN X-----",
        public_pem(ec.generate_private_key(ec.SECP256R1())),
        public_pem(ed25519.Ed25519PrivateKey.generate()),
        b"-----BEGIN PUBLIC KEY-----\nMAswBQYDKgMEAwIAAQ==\n-----END PUBLIC KEY-----\n",  # algorithm 1.2.3.4
    ],
    ids=["empty", "text", "cut off", "other curve", "other kind", "unknown algorithm"],
)
def test_other_public_key_files(content: bytes) -> None:
    with pytest.raises(MalformedError):
        IssuerKey.from_pem(content)


def test_private_keys_do_not_show_or_travel() -> None:
    number = EC_KEY.private_numbers().private_value
    for text in (repr(KEY), str(KEY), f"{KEY!s}"):
        assert KID in text
        assert str(number) not in text
        assert f"{number:x}" not in text
    for work in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            work(KEY)
