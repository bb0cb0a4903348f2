"""The vocabulary of policies as a document: every claim of every kind, generated from the claim types.

``python -m attest.policy.vocabulary > docs/claims.md`` writes docs/claims.md; a test keeps it current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from attest.appraisal import WorkloadClaims
from attest.evidence import ClaimSet, Kind
from attest.kinds import KINDS
from attest.policy.schema import BOOL, LONG, STRING, STRINGS, WORKLOAD_TYPE, ClaimType, claim_types, vocabularies

_TYPES = {BOOL: "true or false", LONG: "number", STRING: "text", STRINGS: "set of texts"}


def claims_document(kinds: Sequence[Kind], workload: type[ClaimSet]) -> str:
    """Markdown: one table of claims per principal, one table of closed vocabularies."""
    return "\n".join(_lines(kinds, workload)) + "\n"


def _lines(kinds: Sequence[Kind], workload: type[ClaimSet]) -> Iterator[str]:
    yield "# Claims"
    yield ""
    yield "Generated from the claim types: `python -m attest.policy.vocabulary > docs/claims.md`. A rule reads a claim as"
    yield "`principal.NAME`. Every claim is always there: what a device cannot say is the value `unknown` or an empty text, never absence."
    sections: list[tuple[str, str, str, type[ClaimSet]]] = [
        (kind.title, kind.principal, f"kind `{kind.name}`, action `accept`", kind.claims_type) for kind in kinds
    ]
    sections.append(("The workload as a whole", WORKLOAD_TYPE, "action `release`", workload))
    for title, principal, about, claims in sections:
        yield ""
        yield f"## {title}: `{principal}`"
        yield ""
        yield f"One request per subject: {about}."
        yield ""
        yield "| Claim | Type | Meaning | Where in the evidence | Vendor's name |"
        yield "|---|---|---|---|---|"
        for claim in claim_types(claims).values():
            yield f"| `{claim.name}` | {_type(claim)} | {claim.info.meaning} | {claim.info.where} | {claim.info.vendor} |"
    yield ""
    yield "## Closed vocabularies"
    yield ""
    yield "| Vocabulary | Values |"
    yield "|---|---|"
    for name, members in vocabularies([claims for _, _, _, claims in sections]).items():
        yield f"| `{name}` | {', '.join(f'`{name}::{chr(34)}{member}{chr(34)}`' for member in members)} |"


def _type(claim: ClaimType) -> str:
    if claim.closed:
        return f"`{claim.type}`"
    return f"version, as `{claim.info.version}`" if claim.info.version else _TYPES[claim.type]


if __name__ == "__main__":
    sys.stdout.write(claims_document(KINDS, WorkloadClaims))
