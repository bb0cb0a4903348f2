"""`make flips`: every bit flip, every truncation and 64 extensions of every part of the accepted fixtures. All must be refused, typed.

What may be accepted is named: the same statement in another spelling (a chain's text without its last line end).
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from attest.bundle import Bundle  # noqa: E402
from attest.errors import AttestError  # noqa: E402
from attest.evidence import Evidence  # noqa: E402
from attest.kinds import kind_named  # noqa: E402
from attest.trust import TrustStore  # noqa: E402
from attest.wire import parse_time  # noqa: E402
from tests.mutations import flips, resized  # noqa: E402

# Fixture, and a time at which it is authentic.
ACCEPTED = {
    "nvidia-gpu/h100-550.90.07": "2026-09-19T12:00:00Z",
    "nvidia-gpu/h100-595.71.05": "2026-09-19T12:00:00Z",
    "sev-snp/azure-milan-v3": "2026-09-19T12:00:00Z",
}
SLOWEST = 1.0  # seconds that any single refusal may take


def judge(bundle: Bundle, evidence: Evidence, at: str) -> str:
    """The code of the refusal; "" when accepted. Anything but an AttestError is not caught: it is a bug."""
    kind = kind_named(evidence.kind)
    assert kind is not None
    try:
        kind.verify(evidence, trust=TrustStore.production(), collateral=bundle.collateral, at=parse_time(at, "time"))
    except AttestError as error:
        return error.code
    return ""


def main() -> int:
    started = time.monotonic()
    count = 0
    slowest = 0.0
    codes: Counter[str] = Counter()
    accepted: list[str] = []
    for name, at in ACCEPTED.items():
        bundle = Bundle.load(ROOT / "fixtures" / name)
        for evidence in bundle.evidence:
            assert judge(bundle, evidence, at) == "", f"{name} is not accepted as it is"
            for part, data in evidence.parts.items():
                is_text = data.startswith(b"-----BEGIN")
                before = count
                for changes in (flips(data, every_bit=not is_text), resized(data)):
                    for where, changed in changes:
                        begin = time.monotonic()
                        code = judge(bundle, Evidence.of(evidence.kind, evidence.label, {**evidence.parts, part: changed}), at)
                        slowest = max(slowest, time.monotonic() - begin)
                        count += 1
                        codes[code] += 1
                        if not code and not (is_text and changed.split() == data.split()):
                            accepted.append(f"{name} {part}: {where}")
                print(f"{name} {part}: {count - before} changes", flush=True)
    for line in accepted:
        print(f"ACCEPTED: {line}")
    respelled = codes.pop("", 0) - len(accepted)
    print(f"refused by: {', '.join(f'{code} {number}' for code, number in codes.most_common())}")
    print(
        f"{count} changes, {count - respelled - len(accepted)} refused, {respelled} only spelled otherwise, "
        f"{len(accepted)} wrongly accepted, slowest {slowest * 1e3:.0f} ms, {time.monotonic() - started:.0f} s"
    )
    return 1 if accepted or slowest > SLOWEST or not count else 0


if __name__ == "__main__":
    sys.exit(main())
