"""A TPM of a few lines: keys in Python that sign structures which a test can spoil first. Only tests trust what it makes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from attest.evidence import Evidence
from attest.kinds.tpm.algorithm import BANKS, SIZES, Algorithm
from attest.kinds.tpm.pcrs import encode_pcrs
from attest.kinds.tpm.report import Selection, encode_selections
from attest.trust import Enrolment, Origin, TrustStore

A = Algorithm
AK_BITS = 0x00050072  # as tpm2_createak makes it
KEY_BITS = 0x00020032  # fixedTPM, fixedParent, sensitiveDataOrigin, decrypt
HASHES = {A.SHA1: hashes.SHA1(), A.SHA256: hashes.SHA256(), A.SHA384: hashes.SHA384(), A.SHA512: hashes.SHA512()}


def sized(data: bytes) -> bytes:
    return len(data).to_bytes(2, "big") + data


def u16(*values: int) -> bytes:
    return b"".join(value.to_bytes(2, "big") for value in values)


@cache
def rsa_key(bits: int = 2048, number: int = 0, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)


@cache
def ec_key(curve: int = 3, number: int = 0) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key({3: ec.SECP256R1(), 4: ec.SECP384R1(), 5: ec.SECP521R1()}[curve])


Private = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey


@dataclass(frozen=True)
class Key:
    """A key as its public area says it is."""

    private: Private
    bits: int
    scheme: int
    scheme_hash: int
    name_algorithm: int = A.SHA256
    policy: bytes = b""
    area_change: Callable[[bytes], bytes] = lambda area: area

    @property
    def area(self) -> bytes:
        key = self.private.public_key()
        kind = A.RSA if isinstance(key, rsa.RSAPublicKey) else A.ECC
        scheme = u16(self.scheme) + (b"" if self.scheme in (A.NULL, A.RSAES) else u16(self.scheme_hash))
        head = u16(kind, self.name_algorithm) + self.bits.to_bytes(4, "big") + sized(self.policy) + u16(A.NULL) + scheme
        if isinstance(key, rsa.RSAPublicKey):
            numbers = key.public_numbers()
            exponent = 0 if numbers.e == 65537 else numbers.e
            tail = u16(key.key_size) + exponent.to_bytes(4, "big") + sized(numbers.n.to_bytes(key.key_size // 8, "big"))
        else:
            point = key.public_numbers()
            width = (key.key_size + 7) // 8
            curve = {256: 3, 384: 4, 521: 5}[key.key_size]
            tail = u16(curve, A.NULL) + sized(point.x.to_bytes(width, "big")) + sized(point.y.to_bytes(width, "big"))
        return self.area_change(head + tail)

    @property
    def public(self) -> bytes:
        return sized(self.area)

    @property
    def name(self) -> bytes:
        return u16(self.name_algorithm) + hashlib.new(BANKS[A(self.name_algorithm)].value, self.area).digest()

    def sign(self, data: bytes, scheme: int | None = None, digest: int | None = None) -> bytes:
        scheme, digest = scheme or self.scheme, digest or self.scheme_hash
        algorithm = HASHES[A(digest)]
        if isinstance(self.private, ec.EllipticCurvePrivateKey):
            r, s = utils.decode_dss_signature(self.private.sign(data, ec.ECDSA(algorithm)))
            return u16(scheme, digest) + sized(r.to_bytes(66, "big").lstrip(b"\0")) + sized(s.to_bytes(66, "big").lstrip(b"\0"))
        pad = padding.PSS(padding.MGF1(algorithm), algorithm.digest_size) if scheme == A.RSAPSS else padding.PKCS1v15()
        return u16(scheme, digest) + sized(self.private.sign(data, pad, algorithm))


def ak(**changes: object) -> Key:
    return replace(Key(rsa_key(), AK_BITS, A.RSASSA, A.SHA256), **changes)  # type: ignore[arg-type]


EK_NAME = u16(A.SHA256) + hashlib.sha256(b"endorsement key").digest()


def qualified(name: bytes, ek: bytes = EK_NAME) -> bytes:
    parent = u16(A.SHA256) + hashlib.sha256((0x4000000B).to_bytes(4, "big") + ek).digest()
    return name[:2] + hashlib.new(BANKS[A(int.from_bytes(name[:2], "big"))].value, parent + name).digest()


@dataclass
class Session:
    """One session's evidence, before it is signed. A test changes a member, or appends a change to ``finish``."""

    ak: Key = field(default_factory=ak)
    magic: int = 0xFF544347
    type: int = 0x8018
    signer: bytes | None = None
    nonce: bytes = bytes(range(32))
    clock: bytes = (1000).to_bytes(8, "big") + (2).to_bytes(4, "big") + bytes(4) + b"\1"
    values: dict[int, dict[int, bytes]] = field(
        default_factory=lambda: {A.SHA256: {pcr: hashlib.sha256(bytes([pcr])).digest() for pcr in (*range(11), 14)}}
    )
    selections: tuple[Selection, ...] | None = None
    listed: tuple[Selection, ...] | None = None
    listed_values: list[bytes] | None = None
    digest_algorithm: int | None = None
    recipient: Key | None = None
    certified_name: bytes | None = None
    certify_type: int = 0x8017
    certify_magic: int = 0xFF544347
    certifier: Key | None = None
    policy: tuple[Selection, ...] | None = None
    enrolled: bool = True
    ek_name: bytes = EK_NAME
    parts: dict[str, bytes | None] = field(default_factory=dict)
    finish: list[Callable[[dict[str, bytes]], None]] = field(default_factory=list)
    scheme: int | None = None
    digest: int | None = None

    def attest(self, magic: int, kind: int, extra: bytes, body: bytes) -> bytes:
        signer = self.signer if self.signer is not None else qualified(self.ak.name)
        return magic.to_bytes(4, "big") + u16(kind) + sized(signer) + sized(extra) + self.clock + (1).to_bytes(8, "big") + body

    def evidence(self) -> Evidence:
        selections = self.selections or tuple(Selection(bank, tuple(sorted(values))) for bank, values in self.values.items())
        values = [self.values[item.bank][pcr] for item in selections for pcr in item.pcrs if pcr in self.values.get(item.bank, {})]
        algorithm = self.digest_algorithm or self.ak.scheme_hash
        name = "sha1" if algorithm == A.SHA1 else BANKS[A(algorithm)].value
        body = encode_selections(selections) + sized(hashlib.new(name, b"".join(values)).digest())
        quote = self.attest(self.magic, self.type, self.nonce, body)
        parts: dict[str, bytes] = {
            "quote": quote,
            "signature": self.ak.sign(quote, self.scheme, self.digest),
            "ak": self.ak.public,
            "pcrs": encode_pcrs(self.listed or selections, self.listed_values if self.listed_values is not None else values),
        }
        if self.recipient is not None:
            body = sized(self.certified_name or self.recipient.name) + sized(qualified(self.recipient.name))
            certification = self.attest(self.certify_magic, self.certify_type, b"\0\xffU\xaa", body)
            parts |= {
                "recipient": self.recipient.public,
                "certification": certification,
                "certification-signature": (self.certifier or self.ak).sign(certification),
            }
        if self.policy is not None:
            parts["recipient-policy"] = encode_selections(self.policy)
        for part, data in self.parts.items():
            if data is None:
                del parts[part]
            else:
                parts[part] = data
        for change in self.finish:
            change(parts)
        return Evidence.of("tpm", "tpm-0", parts)

    def trust(self) -> TrustStore:
        enrolment = Enrolment("node-1", self.ak.name.hex(), self.ek_name.hex(), "ab" * 32)
        return TrustStore.of("test", Origin.SIMULATED, (), (enrolment,) if self.enrolled else ())


def policy_digest(selections: tuple[Selection, ...], values: list[bytes], algorithm: int = A.SHA256) -> bytes:
    """TPM2_PolicyPCR, written here a second time."""
    name = BANKS[A(algorithm)].value
    inner = hashlib.new(name, b"".join(values)).digest()
    return hashlib.new(name, bytes(SIZES[A(algorithm)]) + bytes.fromhex("0000017f") + encode_selections(selections) + inner).digest()


def oaep_key(**changes: object) -> Key:
    return replace(Key(rsa_key(number=1), KEY_BITS, A.OAEP, A.SHA256), **changes)  # type: ignore[arg-type]


# -- event logs -----------------------------------------------------------------------------------------------------------


def u32(value: int) -> bytes:
    return value.to_bytes(4, "little")


@dataclass(frozen=True)
class Ev:
    """One event; its digest is that of its data, or of ``measured``."""

    pcr: int
    type: int
    data: bytes
    measured: bytes | None = None

    def digest(self, name: str) -> bytes:
        return hashlib.new(name, self.data if self.measured is None else self.measured).digest()


def log_of(events: list[Ev], banks: tuple[int, ...] = (A.SHA256,)) -> bytes:
    spec = b"Spec ID Event03\0" + bytes(4) + b"\0\2\0\2" + u32(len(banks))
    spec += b"".join(bank.to_bytes(2, "little") + SIZES[A(bank)].to_bytes(2, "little") for bank in banks) + b"\0"
    out = u32(0) + u32(3) + bytes(20) + u32(len(spec)) + spec
    for event in events:
        out += u32(event.pcr) + u32(event.type) + u32(len(banks))
        for bank in banks:
            out += bank.to_bytes(2, "little") + event.digest(BANKS[A(bank)].value)
        out += u32(len(event.data)) + event.data
    return out


def pcrs_of(events: list[Ev], bank: int = A.SHA256, locality: int = 0) -> dict[int, bytes]:
    name = BANKS[A(bank)].value
    values = {pcr: bytes(SIZES[A(bank)]) for pcr in range(15)}
    values[0] = values[0][:-1] + bytes([locality])
    for event in events:
        if event.type != 3:
            values[event.pcr] = hashlib.new(name, values[event.pcr] + event.digest(name)).digest()
    return values


GLOBAL = bytes.fromhex("61dfe48bca93d211aa0d00e098032b8c")
DATABASE = bytes.fromhex("cbb219d73a3d9645a3bcdad00e67656f")
SHIM = bytes.fromhex("50ab5d6046e00043abb63dd810dd8b23")


def variable(name: str, content: bytes, guid: bytes = GLOBAL) -> bytes:
    return guid + len(name).to_bytes(8, "little") + len(content).to_bytes(8, "little") + name.encode("utf-16-le") + content


def signature_list(count: int) -> bytes:
    body = b"".join(b"o" * 16 + hashlib.sha256(bytes([index])).digest() for index in range(count))
    return b"\x26\x16\xc4\xc1\x4c\x50\x92\x40\xac\xa9\x41\xf9\x36\x93\x43\x28" + u32(28 + len(body)) + u32(0) + u32(48) + body


ZERO = bytes(4)


def boot_events(*, secure: bytes = b"\1", command: str = "root=/dev/vda1 ro") -> list[Ev]:
    """A boot as OVMF, shim, GRUB and Linux measure it."""
    config, authority, separator, action, app = 0x80000001, 0x800000E0, 4, 0x80000007, 0x80000003
    return [
        Ev(0, 3, b"StartupLocality\0\3"),
        Ev(0, 8, "fw 1".encode("utf-16-le")),
        Ev(0, 0x80000008, bytes(16), b"firmware volume"),
        Ev(7, config, variable("SecureBoot", secure)),
        Ev(7, config, variable("PK", b"pk")),
        Ev(7, config, variable("KEK", b"kek")),
        Ev(7, config, variable("db", b"db", DATABASE)),
        Ev(7, config, variable("dbx", signature_list(3), DATABASE)),
        Ev(2, 0x80000004, bytes(32), b"option ROM"),
        *(Ev(pcr, separator, ZERO) for pcr in range(8)),
        Ev(4, action, b"Calling EFI Application from Boot Option"),
        Ev(7, authority, variable("db", b"o" * 16 + b"certificate", DATABASE)),
        Ev(4, app, bytes(32), b"shim"),
        Ev(4, app, bytes(32), b"kernel"),
        Ev(8, 0xD, b"grub_cmd: set root=hd0\0", b"set root=hd0"),
        Ev(8, 0xD, b"kernel_cmdline: " + command.encode() + b"\0", command.encode()),
        Ev(9, 0xD, b"/vmlinuz\0", b"kernel file"),
        Ev(14, 0xD, b"MokList\0", b"mok"),
        Ev(5, action, b"Exit Boot Services Invocation"),
    ]


def booted(events: list[Ev], **changes: object) -> Session:
    """A session whose PCRs are those of ``events``."""
    session = Session(values={A.SHA256: pcrs_of(events, locality=3)})
    session.parts["event-log"] = log_of(events)
    return replace(session, **changes)  # type: ignore[arg-type]
