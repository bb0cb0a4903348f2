"""Where AMD's key distribution service has what a report needs (AMD 57230, KDS interface).

Paths on :data:`HOST`; nothing is fetched here.
"""

from __future__ import annotations

from typing import Final

from attest.kinds.sev_snp.product import ProductLine, Tcb
from attest.kinds.sev_snp.report import AmdSigningKey

HOST: Final = "kdsintf.amd.com"

# Component to query parameter, in the order of AMD's own examples.
_PARAMETERS: Final = {"fmc": "fmcSPL", "bootloader": "blSPL", "tee": "teeSPL", "snp": "snpSPL", "microcode": "ucodeSPL"}


def vcek_path(line: ProductLine, chip_id: bytes, reported: Tcb) -> str:
    """The VCEK (DER) of a chip for a TCB. The answer never changes, so it may be kept for ever; the service throttles by address."""
    has = line.layout.components
    query = "&".join(f"{text}={getattr(reported, name):02d}" for name, text in _PARAMETERS.items() if name in has)
    return f"/vcek/v1/{line.name}/{chip_id[: line.chip_id_size].hex()}?{query}"


def chain_path(line: ProductLine, kind: AmdSigningKey) -> str:
    """ASK or ASVK, then ARK (PEM)."""
    return f"/{kind.value}/v1/{line.name}/cert_chain"


def crl_path(line: ProductLine, kind: AmdSigningKey) -> str:
    """The CRL of the ARK (DER)."""
    return f"/{kind.value}/v1/{line.name}/crl"


def url(path: str) -> str:
    """The whole address, for people."""
    return f"https://{HOST}{path}"
