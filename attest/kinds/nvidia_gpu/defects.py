"""Everything that can be wrong with a simulated GPU's evidence, each with the check that must refuse it.

A defect in signed bytes is signed again, so that it is the named check and not the signature that refuses. ``attest simulate
--defect`` offers them by name; the tests go through all of them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from attest.crypto import P384_ORDER, sha384
from attest.errors import UsageError
from attest.kinds.nvidia_gpu import defects_collateral as collateral
from attest.kinds.nvidia_gpu.certificates import DICE_COMPOSITE, DICE_TCB_INFO
from attest.kinds.nvidia_gpu.opaque import OpaqueType
from attest.kinds.nvidia_gpu.report import BLOCK_COUNT, DIGEST_BYTES, REQUEST_BYTES, SIGNATURE_BYTES
from attest.kinds.nvidia_gpu.simulate import Block, Recipe
from attest.kinds.nvidia_gpu.simulate_pki import FIRMWARE, Authority, SimulatedNvidia, dice_extension, new_key, reissue

Apply = Callable[[Recipe], object]


class Effect(StrEnum):
    """How a defect shows."""

    REFUSED = "refused"  # verification ends with an error of this code
    FAILED = "failed"  # verification ends with a result whose check of this id failed
    UNDECIDED = "undecided"  # verification ends with a result whose check of this id could not be done


@dataclass(frozen=True, slots=True)
class Defect:
    """One thing that is wrong: its name for the command line, the code that must come out, and the change that makes it."""

    name: str
    code: str
    effect: Effect
    apply: Apply


# -- report ---------------------------------------------------------------------------------------------------------------

_RECORD: Final = REQUEST_BYTES + 8
_NONCE: Final = _RECORD + BLOCK_COUNT * 55


def _request(offset: int, value: int) -> Apply:
    def apply(recipe: Recipe) -> None:
        recipe.request[offset] = value

    return apply


def _response(offset: int, value: int) -> Apply:
    def apply(recipe: Recipe) -> None:
        recipe.response[offset] = value

    return apply


def _block(position: int, **changes: int | bytes) -> Apply:
    def apply(recipe: Recipe) -> None:
        recipe.blocks[position] = dataclasses.replace(recipe.blocks[position], **changes)  # type: ignore[arg-type]

    return apply


def _last_block_missing(recipe: Recipe) -> None:
    recipe.blocks.pop()
    recipe.response[4] -= 1


def _one_block_more(recipe: Recipe) -> None:
    recipe.blocks.append(Block(BLOCK_COUNT + 1, bytes(DIGEST_BYTES)))
    recipe.response[4] += 1


def _opaque(kind: OpaqueType, data: bytes | None) -> Apply:
    """Another value for a field, or the field left out."""

    def apply(recipe: Recipe) -> None:
        kept = [(number, data if number == kind else old) for number, old in recipe.opaque]
        recipe.opaque = [(number, value) for number, value in kept if value is not None]

    return apply


def _opaque_repeated(recipe: Recipe) -> None:
    recipe.opaque.append(recipe.opaque[0])


def _opaque_overrun(recipe: Recipe) -> None:
    # A field whose size says one byte more than there is: the last field loses a byte.
    def cut(data: bytes) -> bytes:
        length = int.from_bytes(data[_NONCE + 32 : _NONCE + 34], "little") - 1
        end = len(data) - SIGNATURE_BYTES
        return data[: _NONCE + 32] + length.to_bytes(2, "little") + data[_NONCE + 34 : end - 1] + data[end:]

    recipe.finish.append(cut)


def _opaque_header_cut(recipe: Recipe) -> None:
    # Two bytes more of opaque data: less than a field's header.
    def lengthen(data: bytes) -> bytes:
        length = int.from_bytes(data[_NONCE + 32 : _NONCE + 34], "little") + 2
        end = len(data) - SIGNATURE_BYTES
        return data[: _NONCE + 32] + length.to_bytes(2, "little") + data[_NONCE + 34 : end] + bytes(2) + data[end:]

    recipe.finish.append(lengthen)


def _finish(change: Callable[[bytes], bytes]) -> Apply:
    return lambda recipe: recipe.finish.append(change)


def _flip(offset: int) -> Apply:
    """One bit of the signed report, counted from its end when negative."""
    return _finish(lambda data: data[: offset % len(data)] + bytes((data[offset] ^ 1,)) + data[offset % len(data) + 1 :])


def _signature(r: int | None = None, s: int | None = None) -> Apply:
    def change(data: bytes) -> bytes:
        parts = data[-SIGNATURE_BYTES:-48], data[-48:]
        numbers = [old if new is None else new.to_bytes(48, "big") for new, old in zip((r, s), parts, strict=True)]
        return data[:-SIGNATURE_BYTES] + b"".join(numbers)

    return _finish(change)


def _signed_by(member: str) -> Apply:
    def apply(recipe: Recipe) -> None:
        recipe.key = recipe.pki[member.format(gpu=recipe.gpu.gpu, other=_other(recipe))].key

    return apply


def _other(recipe: Recipe) -> int:
    return (recipe.gpu.gpu + 1) % recipe.pki.gpus


_REPORT: Final = (
    ("report-nonce-flipped", "nvidia-gpu.signature", _flip(35)),
    ("report-record-flipped", "nvidia-gpu.signature", _flip(_RECORD + 7)),
    ("report-responder-nonce-flipped", "nvidia-gpu.signature", _flip(_NONCE + 31)),
    (
        "report-opaque-flipped",
        "nvidia-gpu.signature",
        _finish(lambda data: data.replace(b"\x0d\0\x04\0\0\xc0\x01", b"\x0d\0\x04\0\0\xc0\x02")),
    ),
    ("report-signature-flipped", "nvidia-gpu.signature", _flip(-1)),
    ("report-r-zero", "nvidia-gpu.signature", _signature(r=0)),
    ("report-s-zero", "nvidia-gpu.signature", _signature(s=0)),
    ("report-r-order", "nvidia-gpu.signature", _signature(r=P384_ORDER)),
    ("report-s-order", "nvidia-gpu.signature", _signature(s=P384_ORDER)),
    ("report-signed-by-identity-key", "nvidia-gpu.signature", _signed_by("gpu-{gpu}-identity")),
    ("report-signed-by-other-gpu", "nvidia-gpu.signature", _signed_by("gpu-{other}-attestation")),
    ("report-truncated", "nvidia-gpu.report-size", _finish(lambda data: data[:-1])),
    ("report-trailing-byte", "nvidia-gpu.report-size", _finish(lambda data: data + b"\0")),
    ("report-opaque-length", "nvidia-gpu.report-size", _flip(_NONCE + 32)),
    ("report-empty", "nvidia-gpu.report-size", _finish(lambda _data: b"")),
    ("request-version-1.0", "nvidia-gpu.report-request", _request(0, 0x10)),
    ("request-version-1.2", "nvidia-gpu.report-request", _request(0, 0x12)),
    ("request-code", "nvidia-gpu.report-request", _request(1, 0xE1)),
    ("request-without-signature", "nvidia-gpu.report-request", _request(2, 0)),
    ("request-not-all", "nvidia-gpu.report-request", _request(3, 1)),
    ("request-slot", "nvidia-gpu.report-request", _request(36, 1)),
    ("response-version", "nvidia-gpu.report-response", _response(0, 0x12)),
    ("response-code", "nvidia-gpu.report-response", _response(1, 0x7F)),
    ("response-param1", "nvidia-gpu.report-response", _response(2, 1)),
    ("response-param2", "nvidia-gpu.report-response", _response(3, 1)),
    ("blocks-one-less-said", "nvidia-gpu.report-blocks", _response(4, BLOCK_COUNT - 1)),
    ("blocks-one-more-said", "nvidia-gpu.report-blocks", _response(4, BLOCK_COUNT + 1)),
    ("blocks-last-missing", "nvidia-gpu.report-blocks", _last_block_missing),
    ("blocks-one-more", "nvidia-gpu.report-blocks", _one_block_more),
    ("block-index-zero", "nvidia-gpu.report-blocks", _block(0, index=0)),
    ("block-index-repeated", "nvidia-gpu.report-blocks", _block(5, index=5)),
    ("block-specification", "nvidia-gpu.report-blocks", _block(3, specification=2)),
    ("block-size", "nvidia-gpu.report-blocks", _block(3, size=50)),
    ("block-type", "nvidia-gpu.report-blocks", _block(3, type=0x81)),
    ("block-value-size", "nvidia-gpu.report-blocks", _block(3, value_size=32)),
    ("opaque-repeated", "nvidia-gpu.report-opaque", _opaque_repeated),
    ("opaque-overrun", "nvidia-gpu.report-opaque", _opaque_overrun),
    ("opaque-header-cut", "nvidia-gpu.report-opaque", _opaque_header_cut),
    ("opaque-fwid-size", "nvidia-gpu.report-opaque", _opaque(OpaqueType.FWID, FIRMWARE[:47])),
    ("opaque-flag-size", "nvidia-gpu.report-opaque", _opaque(OpaqueType.FEATURE_FLAG, b"\0")),
    ("opaque-without-driver", "nvidia-gpu.report-opaque", _opaque(OpaqueType.DRIVER_VERSION, None)),
    ("opaque-without-vbios", "nvidia-gpu.report-opaque", _opaque(OpaqueType.VBIOS_VERSION, None)),
    ("opaque-driver-text", "nvidia-gpu.report-opaque", _opaque(OpaqueType.DRIVER_VERSION, b"580.95.05\0x")),
    ("opaque-driver-form", "nvidia-gpu.report-opaque", _opaque(OpaqueType.DRIVER_VERSION, b"580\0")),
    ("opaque-sku-text", "nvidia-gpu.report-opaque", _opaque(OpaqueType.CHIP_SKU, b"88\xff\0")),
    ("opaque-project-text", "nvidia-gpu.report-opaque", _opaque(OpaqueType.PROJECT, b"../x\0")),
    ("opaque-vbios-tail", "nvidia-gpu.report-opaque", _opaque(OpaqueType.VBIOS_VERSION, bytes.fromhex("00a5009601010000"))),
)

# -- chain ----------------------------------------------------------------------------------------------------------------


def _device(root: str = "device-root", **changes: Mapping[str, object]) -> Apply:
    def apply(recipe: Recipe) -> None:
        gpu = recipe.gpu.gpu
        names = [f"gpu-{gpu}-attestation", f"gpu-{gpu}-identity", "device-provisioner", "device-product", root]
        recipe.certificates = reissue(recipe.pki, names, changes)

    return apply


def _certificates(change: Callable[[Recipe], list[x509.Certificate]]) -> Apply:
    def apply(recipe: Recipe) -> None:
        recipe.certificates = change(recipe)

    return apply


def _leaf_valid(begin: int, end: int) -> Apply:
    """Another validity of the attestation key, in hours from now."""

    def apply(recipe: Recipe) -> None:
        times = {"not_before": recipe.at + timedelta(hours=begin), "not_after": recipe.at + timedelta(hours=end)}
        _device(attestation=times)(recipe)

    return apply


def _foreign(recipe: Recipe) -> SimulatedNvidia:
    """Another simulation with the same names and other keys: what an attacker can make."""
    return SimulatedNvidia.create(at=recipe.at, gpus=recipe.gpu.gpu + 1)


def _foreign_chain(recipe: Recipe) -> None:
    foreign = _foreign(recipe)
    recipe.certificates = foreign.device_chain(recipe.gpu.gpu)
    recipe.key = foreign[f"gpu-{recipe.gpu.gpu}-attestation"].key


def _leaf_not_issued(recipe: Recipe) -> None:
    gpu = recipe.gpu.gpu
    form = recipe.pki.own_form(f"gpu-{gpu}-attestation")
    recipe.certificates[0] = Authority(recipe.certificates[1], new_key()).issue(form)


def _leaf_p256(recipe: Recipe) -> None:
    recipe.key = ec.generate_private_key(ec.SECP256R1())
    _device(attestation={"key": recipe.key.public_key()})(recipe)


def _dice(*make: Callable[[ec.EllipticCurvePublicKey], x509.ExtensionType]) -> Apply:
    def apply(recipe: Recipe) -> None:
        identity = recipe.pki[f"gpu-{recipe.gpu.gpu}-identity"].key.public_key()
        _device(attestation={"extensions": tuple(one(identity) for one in make)})(recipe)

    return apply


def _tcb_info(_identity: ec.EllipticCurvePublicKey) -> x509.ExtensionType:
    return x509.UnrecognizedExtension(DICE_TCB_INFO, b"\x30\x00")


_SHA256: Final = x509.ObjectIdentifier("2.16.840.1.101.3.4.2.1")
_CHAIN: Final = (
    ("chain-of-other-gpu", "nvidia-gpu.signature", _certificates(lambda recipe: recipe.pki.device_chain(_other(recipe)))),
    ("chain-swapped", "pki.chain.link", _certificates(lambda recipe: [recipe.certificates[i] for i in (1, 0, 2, 3, 4)])),
    ("chain-short", "pki.chain.length", _certificates(lambda recipe: recipe.certificates[:4])),
    ("chain-without-identity", "pki.chain.length", _certificates(lambda recipe: [recipe.certificates[i] for i in (0, 2, 3, 4)])),
    ("chain-leaf-alone", "pki.chain.length", _certificates(lambda recipe: recipe.certificates[:1])),
    (
        "chain-root-appended",
        "pki.chain.length",
        _certificates(lambda recipe: [*recipe.certificates, _foreign(recipe)["device-root"].certificate]),
    ),
    ("chain-foreign", "pki.chain.anchor", _foreign_chain),
    (
        "chain-foreign-root",
        "pki.chain.anchor",
        _certificates(lambda recipe: [*recipe.certificates[:4], _foreign(recipe)["device-root"].certificate]),
    ),
    ("chain-under-rim-root", "pki.chain.anchor", _device("rim-root")),
    (
        "chain-blackwell",
        "nvidia-gpu.architecture",
        _device(identity={"name": "GB100 A01 GSP BROM"}, attestation={"name": "GB100 A01 GSP FMC LF"}),
    ),
    ("chain-switch", "nvidia-gpu.architecture", _device(identity={"name": "LS_10 A01 FSP BROM"})),
    ("chain-unnamed", "nvidia-gpu.architecture", _device(identity={"name": "Something else"})),
    ("chain-blackwell-leaf", "nvidia-gpu.chain-names", _device(attestation={"name": "GB100 A01 GSP FMC LF"})),
    ("chain-blackwell-provisioner", "nvidia-gpu.chain-names", _device(provisioner={"name": "NVIDIA GB100 Provisioner ICA 00000"})),
    ("chain-switch-provisioner", "nvidia-gpu.chain-names", _device(provisioner={"name": "NVIDIA LS_10 Provisioner ICA 1"})),
    ("chain-blackwell-product", "nvidia-gpu.chain-names", _device(product={"name": "NVIDIA GB100 Identity"})),
    ("chain-two-steppings", "nvidia-gpu.chain-names", _device(attestation={"name": "GH100 A02 GSP FMC LF"})),
    ("chain-identity-of-switch", "nvidia-gpu.chain-names", _device(identity={"serial_text": "50203EB31AD9ED0008"})),
    ("chain-without-serial", "nvidia-gpu.chain-names", _device(identity={"serial_text": ""})),
    ("chain-identity-not-ca", "pki.chain.constraints", _device(identity={"ca": False})),
    ("chain-leaf-ca", "pki.chain.constraints", _device(attestation={"ca": True})),
    ("chain-leaf-not-issued", "pki.chain.signature", _leaf_not_issued),
    ("chain-leaf-p256", "pki.chain.algorithm", _leaf_p256),
    ("chain-leaf-expired", "pki.chain.expired", _leaf_valid(-9, -1)),
    ("chain-leaf-not-yet-valid", "pki.chain.not-yet-valid", _leaf_valid(1, 9)),
    ("chain-text-between", "wire.pem", lambda recipe: recipe.pem.append(lambda pem: b"# comment\n" + pem)),
    ("fwid-missing-in-report", "nvidia-gpu.fwid", _opaque(OpaqueType.FWID, None)),
    ("fwid-other-in-report", "nvidia-gpu.fwid", _opaque(OpaqueType.FWID, sha384(b"other firmware"))),
    ("fwid-missing-in-certificate", "nvidia-gpu.fwid", _device(attestation={"extensions": ()})),
    ("fwid-other-in-certificate", "nvidia-gpu.fwid", _dice(lambda key: dice_extension(key, sha384(b"other firmware")))),
    ("fwid-of-other-chip", "nvidia-gpu.fwid", _dice(lambda _key: dice_extension(new_key().public_key(), FIRMWARE))),
    ("fwid-other-hash", "nvidia-gpu.fwid", _dice(lambda key: dice_extension(key, FIRMWARE, hash_oid=_SHA256))),
    ("fwid-not-der", "nvidia-gpu.fwid", _dice(lambda _key: x509.UnrecognizedExtension(DICE_COMPOSITE, b"\x30\x80" + FIRMWARE))),
    ("fwid-two-extensions", "nvidia-gpu.fwid", _dice(lambda key: dice_extension(key, FIRMWARE), _tcb_info)),
    ("fwid-tcb-info", "nvidia-gpu.fwid", _dice(_tcb_info)),
)


def _of(effect: Effect, *tables: tuple[tuple[str, str, Apply], ...]) -> Iterator[Defect]:
    for table in tables:
        for name, code, apply in table:
            yield Defect(name, code, effect, apply)


DEFECTS: Final = (
    *_of(Effect.REFUSED, _REPORT, _CHAIN, collateral.FORM, collateral.CHAIN, collateral.CONTENT, collateral.REFERENCE, collateral.OCSP),
    *_of(Effect.FAILED, collateral.MISMATCH),
    *_of(Effect.UNDECIDED, collateral.UNDECIDED, collateral.OCSP_UNDECIDED),
)


def defect_named(name: str) -> Defect:
    """The defect of that name. Raises UsageError."""
    for defect in DEFECTS:
        if defect.name == name:
            return defect
    raise UsageError.of("there is no such defect", found=name, expected=", ".join(defect.name for defect in DEFECTS))
