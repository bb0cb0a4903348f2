"""The registry of evidence kinds: one explicit tuple, because a verifier must not load code that nobody reviewed."""

from __future__ import annotations

from typing import Final

from attest.evidence import Kind
from attest.kinds.nvidia_gpu import NVIDIA_GPU
from attest.kinds.sev_snp import SEV_SNP
from attest.kinds.sgx import SGX
from attest.kinds.tdx import TDX
from attest.kinds.tpm import TPM

KINDS: Final[tuple[Kind, ...]] = (NVIDIA_GPU, SEV_SNP, TDX, SGX, TPM)


def kind_named(name: str) -> Kind | None:
    """The kind of that name, or None."""
    return next((kind for kind in KINDS if kind.name == name), None)
