"""Everything that can be wrong with a simulated SGX quote, each with the check that must refuse it."""

from __future__ import annotations

from typing import Final

from attest.dcap.defects import DEFECTS as DCAP_DEFECTS
from attest.dcap.defects import Defect, set_body
from attest.dcap.quote import Tee

_SGX: Final = frozenset({Tee.SGX})

DEFECTS: Final = (
    *(defect for defect in DCAP_DEFECTS if Tee.SGX in defect.tees),
    Defect("not-initialised", "sgx.initialised", set_body(48, b"\x04"), _SGX),
    Defect("body-reserved", "dcap.reserved", set_body(96, b"\x01"), _SGX),
)
