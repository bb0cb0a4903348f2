"""`make corpus`: every case of ATTEST_CORPUS against its expected verdict, kind by kind. Exit 1 when any differs."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.dcap import cases as dcap  # noqa: E402
from tests.kinds.nvidia_gpu import cases as nvidia_gpu  # noqa: E402
from tests.kinds.sev_snp import cases as sev_snp  # noqa: E402
from tests.kinds.tpm import cases as tpm  # noqa: E402

Judged = tuple[str, Mapping[str, object], Callable[[], Mapping[str, object]]]


def judged(corpus: Path) -> Iterator[tuple[str, str, Mapping[str, object], Callable[[], Mapping[str, object]]]]:
    """Kind, name, what must come out, and the call that says what does."""
    for gpu in nvidia_gpu.CASES:
        yield "nvidia-gpu", gpu.name, gpu.expected, lambda case=gpu: nvidia_gpu.outcome(case, corpus)  # type: ignore[misc]
    for manifest in nvidia_gpu.MANIFESTS:
        yield "nvidia-gpu", manifest.file, manifest.expected, lambda case=manifest: nvidia_gpu.outcome_of_manifest(case, corpus)  # type: ignore[misc]
    for guest in sev_snp.CASES:
        yield "sev-snp", guest.name, guest.expected, lambda case=guest: sev_snp.outcome(case, corpus)  # type: ignore[misc]
    for chain in sev_snp.CHAINS:
        yield "sev-snp", chain.name, chain.expected, lambda case=chain: sev_snp.outcome_of_chain(case, corpus)  # type: ignore[misc]
    for name, expected, call in dcap.cases(corpus):
        yield "dcap", name, expected, call
    for quote in tpm.CASES:
        yield "tpm", quote.name, quote.expected, lambda case=quote: tpm.outcome(case, corpus)  # type: ignore[misc]


def main() -> int:
    corpus = Path(os.environ.get("ATTEST_CORPUS", ROOT.parent / "shared" / "corpus"))
    if not corpus.is_dir():
        print(f"there is no corpus at {corpus}: set ATTEST_CORPUS to the folder of real evidence", file=sys.stderr)
        return 2
    started = time.monotonic()
    count = good = 0
    for kind, name, expected, call in judged(corpus):
        said = call()
        wrong = {key: (said.get(key), value) for key, value in expected.items() if said.get(key) != value}
        count += 1
        good += not wrong
        print(f"{'as expected' if not wrong else 'DIFFERENT  '}  {kind:12} {name}  {said.get('refused') or said.get('code') or 'accepted'}")
        for key, (found, value) in wrong.items():
            print(f"             {key}: found {found}, expected {value}")
    print(f"{count} cases, {good} as expected, {time.monotonic() - started:.1f} s")
    return 0 if good == count and count else 1


if __name__ == "__main__":
    sys.exit(main())
