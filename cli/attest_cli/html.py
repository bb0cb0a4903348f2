"""One self-contained page for people who do not use a terminal. No scripts, nothing loaded, everything escaped.

Rendered from the document that ``--json`` prints.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NamedTuple

from jinja2 import Environment, PackageLoader, StrictUndefined

from attest_cli.terminal import safe
from attest_cli.text import SIMULATED, answered, claim_text, gathered, grouped, headline, software, span, tally

if TYPE_CHECKING:
    from attest_cli import documents as doc

_TONES: Final = {
    "permit": "good",
    "authentic": "plain",
    "malformed": "bad",
    "not-authentic": "bad",
    "refused": "bad",
    "cannot-decide": "unsure",
}


class Box(NamedTuple):
    """One device in the picture: its tone, one word, and what speaks against it."""

    device: doc.DeviceDoc
    tone: str
    word: str
    against: tuple[str, ...]


def boxes(verdict: doc.VerdictDoc) -> list[Box]:
    """The devices as the picture shows them: green without any reason against them, grey when something is missing, red otherwise."""
    found: list[Box] = []
    for device in verdict["devices"]:
        reasons = [reason for reason in verdict["reasons"] if reason["subject"] == device["subject"]]
        against = tuple(dict.fromkeys(reason["message"] for reason in reasons))
        if not device["authentic"]:
            found.append(Box(device, "bad", device["outcome"].replace("-", " "), against))
        elif not reasons:
            found.append(Box(device, "good", "authentic", ()))
        elif all(reason["outcome"] == "cannot-decide" for reason in reasons):
            found.append(Box(device, "unsure", "authentic, not all could be checked", against))
        else:
            found.append(Box(device, "bad", "authentic, refused", against))
    return found


def tone(verdict: doc.VerdictDoc) -> str:
    """Colour of the banner. Authenticity alone is no reason to show green: nothing is permitted."""
    return "plain" if verdict["policy"] is None and verdict["authentic"] else _TONES[verdict["verdict"]]


def verify_page(document: doc.VerifyDoc) -> str:
    """The page of ``attest verify --html``."""
    return _render("verify.html.j2", {"document": document})


def _render(template: str, values: Mapping[str, object]) -> str:
    environment = Environment(
        loader=PackageLoader("attest_cli"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        # Before escaping: characters that hide or reorder text are no better in a browser than in a terminal.
        finalize=lambda value: safe(value) if type(value) is str else value,
    )
    environment.globals.update(
        answered=answered,
        boxes=boxes,
        claim_text=claim_text,
        gathered=gathered,
        grouped=grouped,
        headline=headline,
        simulated=SIMULATED,
        software=software,
        span=span,
        tally=tally,
        tone=tone,
    )
    return environment.get_template(template).render(values) + "\n"
