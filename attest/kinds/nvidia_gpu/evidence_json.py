"""The evidence formats that this kind reads: NVIDIA's evidence JSON, the bare report, and the report as hex text.

The JSON is what ``nvattest collect-evidence`` writes and other verifiers exchange: a list with one object per device,

    {"arch": "HOPPER", "nonce": hex, "evidence": base64 report, "certificate": base64 PEM chain, ...}

Only report and chain are taken. Nonce, versions and identifiers beside them are copies that nobody signed; the signed ones are in the
report. An ``arch`` that is not that of the certificates is refused, because somebody put the wrong pieces together.
"""

from __future__ import annotations

import re
from typing import Final

from attest import limits
from attest.errors import MalformedError
from attest.evidence import Evidence
from attest.kinds.nvidia_gpu.certificates import chip_name
from attest.pki import load_certificates
from attest.wire import Fields, Json, base64_bytes, hex_bytes, json_value

KIND: Final = "nvidia-gpu"

_ARCHITECTURES: Final = {
    "HOPPER": ("GH100",),
    "BLACKWELL": ("GB100", "GB20X"),
    "LS10": ("LS_10",),
}
_START: Final = bytes((0x11, 0xE0))
_RESPONSE: Final = bytes((0x11, 0x60))
_RESPONSE_AT: Final = 37
_HEX: Final = re.compile(rb"\s*([0-9A-Fa-f]{200,65536})\s*\Z")


def recognise(data: bytes) -> tuple[Evidence, ...]:
    """Evidence in ``data``: several devices for JSON, one without certificates for a bare report, none when it is something else.

    Raises MalformedError for evidence JSON that is broken or contradicts itself.
    """
    if _is_report(data):
        return (Evidence.of(KIND, "gpu-0", {"report": data}),)
    text = _HEX.match(data) if len(data) <= 2 * limits.MAX_EVIDENCE_PART_BYTES else None
    if text is not None and len(text[1]) % 2 == 0:
        report = hex_bytes(text[1].decode("ascii"), "GPU report")
        return (Evidence.of(KIND, "gpu-0", {"report": report}),) if _is_report(report) else ()
    if _is_json(data):
        return _devices(data)
    return ()


def _is_report(data: bytes) -> bool:
    return data[:2] == _START and data[_RESPONSE_AT : _RESPONSE_AT + 2] == _RESPONSE


def _is_json(data: bytes) -> bool:
    return data.lstrip()[:1] == b"[" and all(member in data for member in (b'"arch"', b'"evidence"', b'"certificate"'))


def _devices(data: bytes) -> tuple[Evidence, ...]:
    value: Json = json_value(data, "evidence JSON")
    if not isinstance(value, list) or not 1 <= len(value) <= limits.MAX_DEVICES:
        raise MalformedError.at("nvidia-gpu.json", "evidence JSON is not a list of devices", expected=f"1 to {limits.MAX_DEVICES} objects")
    return tuple(_device(Fields(item, f"evidence JSON, device {index}"), index) for index, item in enumerate(value))


def _device(fields: Fields, index: int) -> Evidence:
    arch = fields.text("arch")
    report = base64_bytes(fields.text("evidence"), f"{fields.path}: evidence")
    chain = base64_bytes(fields.text("certificate"), f"{fields.path}: certificate")
    chip = chip_name(load_certificates(chain, f"{fields.path}: certificate", most=limits.MAX_CHAIN_LENGTH))
    if chip not in _ARCHITECTURES.get(arch, ()):
        raise MalformedError.at(
            "nvidia-gpu.json-arch",
            "evidence JSON names another architecture than the certificates",
            where=fields.path,
            found=f"arch {arch[:20]!r} with certificates of {chip or 'no known chip'}",
            expected=" or ".join(_ARCHITECTURES.get(arch, tuple(_ARCHITECTURES))),
            fix="collect the evidence again; do not put reports and certificates of different devices together",
        )
    return Evidence.of(KIND, f"gpu-{index}", {"report": report, "certificates": chain})
