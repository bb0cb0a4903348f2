"""attest checks: every check there is, what it means and where its rule comes from."""

from __future__ import annotations

import difflib
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.errors import EXIT_CODES, UsageError
from attest_cli.options import Json, print_json
from attest_cli.terminal import Page

if TYPE_CHECKING:
    from attest.checks import Check
    from attest_cli import documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

FAMILIES: Final = {
    "wire": "a strict reader refused the form of an input: truncated, trailing bytes, duplicate member, wrong encoding, too long",
    "bundle": "the bundle does not have the form of its format (docs/architecture.md)",
    "evidence": "evidence is of an unknown kind, or lacks or has parts that its kind does not know",
    "recipient": "the recipient key is no usable public key",
    "trust": "the trust store does not have the form of its format, or mixes simulation and production",
}
"""Codes that no single check stands for: the message of the refusal says where and what."""


@app.command()
def checks(
    name: Annotated[str | None, typer.Argument(metavar="ID", help="One check, or the beginning of an id such as 'floor'.")] = None,
    json: Json = False,
) -> None:
    """List every check, or explain one.

    The id of a check is also the code of its refusal. A limitation is what no evidence can show: never checked, always printed.

    Examples:
      attest checks
      attest checks floor
      attest checks floor.debug
    """
    known = [_document(check) for check in sorted(all_checks(), key=lambda check: check.id)]
    if name in FAMILIES or (name and name.partition(".")[0] in FAMILIES and not any(item["id"] == name for item in known)):
        known = [_family(name or "")]
    elif name is not None:
        known = [item for item in known if item["id"] == name] or [item for item in known if item["id"].startswith(name)]
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


def _document(check: Check) -> doc.CheckInfoDoc:
    return {
        "id": check.id,
        "title": check.title,
        "source": check.source,
        "outcome": check.outcome.value,
        "exit_code": EXIT_CODES[check.outcome],
        "fix": check.fix,
        "limitation": check.limitation,
        "room": check.id.partition(".")[0],
    }


def _family(name: str) -> doc.CheckInfoDoc:
    from attest.errors import Outcome

    room = name.partition(".")[0]
    return {
        "id": name,
        "title": FAMILIES[room],
        "source": "the format's own definition",
        "outcome": "malformed",
        "exit_code": EXIT_CODES[Outcome.MALFORMED],
        "fix": "",
        "limitation": False,
        "room": room,
    }


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name, [check.id for check in all_checks()], n=1, cutoff=0.5)
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
    out.line(f"{len(known)} checks")
