"""Reference values of NVIDIA firmware, and the comparison of a report's measurements with them.

A manifest (RIM) has one entry for each of the 64 measurements. Only *active* entries are compared, and a driver's and a VBIOS's
manifest are active at disjoint indices; an active entry may have several alternatives, of which the measurement must equal one. What
the indices stand for is known to NVIDIA alone.

No index is ever left out. NVIDIA's newer verifier skips index 35 while the video decoder is off; every driver manifest seen lists the
value of that state among its alternatives, so nothing is gained by skipping it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from attest.checks import Check
from attest.crypto import same
from attest.errors import Outcome
from attest.pki import VerifiedChain

_FETCH: Final = "fetch the manifest again: attest collateral fetch"
_SOURCE: Final = "TCG Reference Integrity Manifest Information Model 1.01; ISO/IEC 19770-2:2015 (SWID)"

RIM_XML: Final = Check(
    "nvidia-gpu.rim-xml",
    "form of every reference manifest",
    f"{_SOURCE}; XML Signature 1.1, without document type, comments and processing instructions",
    Outcome.MALFORMED,
    _FETCH,
)
RIM_SIGNATURE: Final = Check("nvidia-gpu.rim-signature", "signature of the reference manifest", "XML Signature 1.1 section 3.2", fix=_FETCH)
RIM_SCHEMA: Final = Check("nvidia-gpu.rim-schema", "content of the reference manifest", _SOURCE, Outcome.MALFORMED, _FETCH)
RIM_AMBIGUOUS: Final = Check(
    "nvidia-gpu.rim-ambiguous",
    "one issue of the reference manifest",
    "reissued manifests keep their name and change their values",
    Outcome.MALFORMED,
    "keep only the issue that you accept; the digest of the one that is used is a claim of the device",
)
RIM_CONFLICT: Final = Check(
    "nvidia-gpu.rim-conflict", "driver and VBIOS manifests do not claim the same measurement", _SOURCE, Outcome.NOT_AUTHENTIC, _FETCH
)

RIM_CHECKS: Final = (RIM_XML, RIM_SIGNATURE, RIM_SCHEMA, RIM_AMBIGUOUS)
"""Rules for one manifest. They have no line of their own in a device's list: their pass is the pass of "driver-rim" or "vbios-rim"."""

ENTRIES: Final = 64


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest whose signature and chain were verified; its validity at a given time and its revocation were not.

    version  driver or VBIOS version that it describes
    golden   active index to the alternatives (48 bytes each); every other index is not to be compared
    chain    of the signing key, verified at a time at which all of its certificates were valid
    digest   hex SHA-256 of the file: the same version is issued with different values, this tells which issue it is
    """

    version: str
    golden: Mapping[int, tuple[bytes, ...]]
    chain: VerifiedChain
    digest: str


@dataclass(frozen=True, slots=True)
class Mismatch:
    """One measurement that is none of the alternatives of its entry. ``runtime`` is empty when the report has no such index."""

    index: int
    golden: tuple[bytes, ...]
    runtime: bytes

    @property
    def found(self) -> str:
        """ "index 9: 7f3e…" with the full digest."""
        return f"index {self.index}: {self.runtime.hex() or 'missing'}"

    @property
    def expected(self) -> str:
        """ "index 9: 059b…" with all alternatives in full."""
        return f"index {self.index}: {' or '.join(value.hex() for value in self.golden)}"


def compare(measurements: Sequence[bytes], manifest: Manifest) -> tuple[Mismatch, ...]:
    """All active indices at which the report differs from the manifest, in ascending order; empty means all match."""
    found: list[Mismatch] = []
    for index in sorted(manifest.golden):
        alternatives = manifest.golden[index]
        runtime = measurements[index] if index < len(measurements) else b""
        if not any(same(runtime, value) for value in alternatives):
            found.append(Mismatch(index, alternatives, runtime))
    return tuple(found)


def require_disjoint(driver: Manifest, vbios: Manifest) -> None:
    """No index may be active in both manifests: one of them would then decide what the other is compared with."""
    both = sorted(set(driver.golden) & set(vbios.golden))
    RIM_CONFLICT.require(
        not both,
        found=f"indices {', '.join(map(str, both))} active in both manifests",
        expected="every index active in one manifest at most",
    )


# What users of these GPUs report about single indices (NVIDIA/nvtrust issues 90, 132, 150). NVIDIA does not publish their meaning.
_KNOWN: Final = {
    9: "index 9 is where manifests of one VBIOS version differ between their issues: another issue of the same manifest may match",
    52: "index 52 changes when confidential computing is switched on or off without restarting the host: restart the host",
}
_GENERAL: Final = (
    "check that driver and VBIOS are NVIDIA's own release builds and that devtools mode is off, then stop and start the virtual machine"
)


def advice(mismatches: Iterable[Mismatch]) -> str:
    """The next step for these mismatches, as far as it is known."""
    return "; ".join([*(_KNOWN[mismatch.index] for mismatch in mismatches if mismatch.index in _KNOWN), _GENERAL])
