"""attest checks: every check there is, what it means and where its rule comes from."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.errors import EXIT_CODES, Outcome, UsageError
from attest_cli.options import Json, print_json
from attest_cli.terminal import Page

if TYPE_CHECKING:
    from attest.checks import Check
    from attest_cli import documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

FAMILIES: Final = {
    "wire": "a strict reader refused the form of an input: truncated, trailing bytes, duplicate member, wrong encoding, too long",
    "bundle": "the bundle does not have the form of its format",
    "evidence": "evidence of an unknown kind, of several kinds at once, or with other parts than its kind has",
    "recipient": "the recipient key is no usable public key",
    "trust": "the trust store does not have the form of its format, or mixes simulation and production",
    "jose": "a key of a token's issuer is not a P-384 key in a form that is known",
    "simulate": "the keys of a simulation are not what it wrote",
}
"""Beginnings of codes that no single check stands for, all of malformed input: the message of the refusal says where and what."""

CODES: Final[dict[str, tuple[str, Outcome, str]]] = {
    "policy.refused": ("a condition of a rule does not hold", Outcome.REFUSED, "the refusal names claim, value and fix"),
    "policy.unknown": (
        "a rule asks for a claim that is not known",
        Outcome.CANNOT_DECIDE,
        "add what shows it, such as reference manifests",
    ),
    "policy.forbidden": ("a rule forbids it", Outcome.REFUSED, "the refusal names the rule and its fix"),
    "policy.no-rule": ("no rule speaks of this device or key", Outcome.REFUSED, "write a rule for it, or ask another policy"),
    "policy.error": ("a rule could not be evaluated, so none is relied on", Outcome.REFUSED, "mend the rule: attest policy check DIR"),
    "policy.malformed": ("claims do not fit the schema of the policy", Outcome.MALFORMED, "report it: claims and schema are ours"),
    "nvidia-gpu.json": ("evidence JSON is not a list of devices", Outcome.MALFORMED, "send what the vendor's tool wrote, unchanged"),
    "nvidia-gpu.json-arch": (
        "evidence JSON and certificates name one architecture",
        Outcome.MALFORMED,
        "collect again; do not put reports and certificates of different devices together",
    ),
    "broker.format": ("the broker's configuration does not have its form", Outcome.MALFORMED, "restore broker.json from a backup"),
    "broker.policy-files": (
        "files of the policy that a key is bound to",
        Outcome.CANNOT_DECIDE,
        "bind the key to a policy again: attest key approve NAME --policy NAME",
    ),
}
"""Codes of refusals that are not checks: meaning, outcome, next step."""


@app.command()
def checks(
    name: Annotated[str | None, typer.Argument(metavar="ID", help="One code, or the beginning of codes such as 'floor'.")] = None,
    json: Json = False,
) -> None:
    """List every check, or explain one code of a refusal.

    The id of a check is also the code of its refusal. A limitation is what no evidence can show: never checked, always printed.

    Examples:
      attest checks
      attest checks floor
      attest checks floor.debug
    """
    known = everything()
    if name is not None:
        known = [item for item in known if item["id"] == name] or [item for item in known if item["id"].startswith(name)] or _family(name)
    if not known:
        raise UsageError.of(f"there is no check {name!r}", fix=_nearest(name or ""))
    document: doc.ChecksDoc = {"schema": "attest-checks/1", "checks": known}
    if json:
        print_json(document)
    elif len(known) == 1:
        _explain(known[0])
    else:
        _list(known)


def all_checks() -> Iterator[Check]:
    """Every check that any module of the library defines: found by looking, so that none can be forgotten."""
    import attest
    from attest.checks import Check

    seen: set[str] = set()
    for module in pkgutil.walk_packages(attest.__path__, "attest."):
        for value in vars(import_module(module.name)).values():
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, Check) and item.id not in seen:
                    seen.add(item.id)
                    yield item


def everything() -> list[doc.CheckInfoDoc]:
    """Every code that a refusal can have, save those of FAMILIES: checks, refusals of policies, and faults of policies; by code."""
    from attest.policy.finding import CODES as FAULTS

    found = [_info(check.id, check.title, check.source, check.outcome, check.fix, limitation=check.limitation) for check in all_checks()]
    for code, (title, outcome, fix) in CODES.items():
        found.append(_info(code, title, "docs/policies.md" if code.startswith("policy") else "docs/architecture.md", outcome, fix))
    for code, title in FAULTS.items():
        warning = code.startswith("P2")
        fix = "a warning: the policy loads all the same" if warning else "attest policy check DIR names the place"
        found.append(_info(code, title, "docs/policies.md", Outcome.MALFORMED, fix))
    return sorted(found, key=lambda item: item["id"])


def _info(code: str, title: str, source: str, outcome: Outcome, fix: str, *, limitation: bool = False) -> doc.CheckInfoDoc:
    return {
        "id": code,
        "title": title,
        "source": source,
        "outcome": outcome.value,
        "exit_code": EXIT_CODES[outcome],
        "fix": fix,
        "limitation": limitation,
        "room": code.partition(".")[0] if "." in code else "faults of a policy",
    }


def _family(code: str) -> list[doc.CheckInfoDoc]:
    room = code.partition(".")[0]
    return [_info(code, FAMILIES[room], "the format's own definition", Outcome.MALFORMED, "")] if room in FAMILIES else []


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, [item["id"] for item in everything()], n=1, cutoff=0.5)
    return f"did you mean {close[0]}?" if close else "list all with: attest checks"


def _explain(check: doc.CheckInfoDoc) -> None:
    out = Page()
    out.line((check["id"], "bold"))
    meaning = (
        "nothing: no evidence can show it" if check["limitation"] else f"{check['outcome'].replace('-', ' ')} (exit {check['exit_code']})"
    )
    for label, text in (("checks", check["title"]), ("rule from", check["source"]), ("failure is", meaning), ("next step", check["fix"])):
        if text:
            out.line(f"  {label:<11} {text}")


def _list(known: list[doc.CheckInfoDoc]) -> None:
    out = Page()
    width = max(len(check["id"]) for check in known)
    room = ""
    for check in known:
        if check["room"] != room:
            room = check["room"]
            out.head(room)
        word = "limitation" if check["limitation"] else check["outcome"].replace("-", " ")
        out.line(f"  {check['id']:<{width}}  {word:<14} {check['title']}")
    out.line()
    out.line(f"{len(known)} codes")
