"""Everything that can be wrong with a simulated TDX quote, each with the check that must refuse it."""

from __future__ import annotations

from typing import Final

from attest.dcap.defects import DEFECTS as DCAP_DEFECTS
from attest.dcap.defects import Defect, set_body
from attest.dcap.quote import Tee

_TDX: Final = frozenset({Tee.TDX})

# A specification record and nothing after it: registers that were never extended.
_EMPTY_LOG: Final[bytes] = bytes.fromhex("0100000003000000" + "00" * 20 + "21000000") + (
    b"Spec ID Event03\0" + bytes.fromhex("0000000000020002010000000c00300000")
)

DEFECTS: Final = (
    *(defect for defect in DCAP_DEFECTS if Tee.TDX in defect.tees),
    Defect("attributes-reserved", "tdx.attributes", set_body(120, b"\x02"), _TDX),
    Defect("xfam-reserved", "tdx.xfam", set_body(128, b"\xe5"), _TDX),
    Defect("event-log-of-another-boot", "tdx.event-log", lambda recipe: recipe.parts.update({"event-log": _EMPTY_LOG}), _TDX),
    Defect("event-log-form", "tdx.event-log-form", lambda recipe: recipe.parts.update({"event-log": bytes(64)}), _TDX),
    Defect("runtime-data-of-another-guest", "tdx.runtime-data", lambda recipe: recipe.parts.update({"runtime-data": b"{}"}), _TDX),
)
