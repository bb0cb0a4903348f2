"""attest policy: policies that ship, and checking and formatting your own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.errors import EXIT_CODES, MalformedError, Outcome
from attest_cli.options import Json, print_json
from attest_cli.policies import policy_folder
from attest_cli.terminal import Page, say

if TYPE_CHECKING:
    from attest.policy.finding import Finding
    from attest_cli import documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

Name = Annotated[str, typer.Argument(metavar="DIR", help="Policy folder, or the name of one that ships.")]


@app.callback()
def policy() -> None:
    """Release policies: Cedar rules with reference data."""


@app.command("list")
def list_(json: Json = False) -> None:
    """List the policies that ship.

    Examples:
      attest policy list
    """
    from attest.policy.bundle import Policy
    from attest.policy.shipped import shipped_names, shipped_policy

    policies = [(shipped_policy(name), Policy.load(shipped_policy(name))) for name in shipped_names()]
    document: doc.PolicyListDoc = {
        "schema": "attest-policy-list/1",
        "policies": [
            {
                "name": item.identity.name,
                "serial": item.identity.serial,
                "description": item.description,
                "owner": item.owner,
                "topology": dict(item.topology),
                "max_evidence_age": int(item.max_evidence_age.total_seconds()),
                "digest": item.identity.digest,
                "folder": str(folder),
            }
            for folder, item in policies
        ],
    }
    if json:
        print_json(document)
        return
    out = Page()
    for entry in document["policies"]:
        devices = ", ".join(f"{count} {kind}" for kind, count in entry["topology"].items())
        out.line((f"{entry['name']}  serial {entry['serial']}", "bold"), "  ", devices)
        out.line(f"  {entry['description']}")
        out.line((f"  {entry['folder']}", "dim"))


@app.command()
def check(name: Name, json: Json = False) -> int:
    """Find everything that is wrong with a policy, each with its place. Exit 3 when it does not load.

    Examples:
      attest policy check h100x8-snp
      attest policy check policies/h100x8-snp --json
    """
    from attest.policy.bundle import Policy, check_policy, read_files
    from attest.policy.finding import Severity

    folder = policy_folder(name)
    files = read_files(folder)
    findings = check_policy(files)
    loaded = None if any(item.severity is Severity.ERROR for item in findings) else Policy.from_files(files)
    code = 0 if loaded else EXIT_CODES[Outcome.MALFORMED]
    document: doc.PolicyCheckDoc = {
        "schema": "attest-policy-check/1",
        "exit_code": code,
        "policy": loaded.identity.name if loaded else "",
        "serial": loaded.identity.serial if loaded else 0,
        "rules": loaded.identity.rules_digest if loaded else "",
        "reference": loaded.identity.reference_digest if loaded else "",
        "findings": [_finding(item) for item in findings],
    }
    if json:
        print_json(document)
        return code
    out = Page()
    for item in document["findings"]:
        place = f"{item['file']}:{item['line']}:{item['column']}" if item["line"] else item["file"]
        out.line(
            (item["severity"], "bold red" if item["severity"] == "error" else "yellow"),
            "  ",
            f"{item['code']}  {place}  {item['message']}. {item['meant']}".rstrip(". "),
        )
    errors = sum(item["severity"] == "error" for item in document["findings"])
    warnings = len(findings) - errors
    if loaded:
        out.line((f"{loaded.identity.name} serial {loaded.identity.serial}: sound, {warnings} warnings", "bold green"))
        out.line(f"  rules      {document['rules']}")
        out.line(f"  reference  {document['reference']}")
    else:
        out.line((f"{folder}: {errors} errors, {warnings} warnings; it does not load", "bold red"))
    return code


@app.command("format")
def format_(
    name: Annotated[Path, typer.Argument(metavar="DIR", help="Policy folder.")],
    write: Annotated[bool, typer.Option("--write", help="Write rules.cedar back, instead of printing it.")] = False,
) -> None:
    """Lay out the rules of a policy. Comments stay, and so does the digest of the rules.

    Examples:
      attest policy format policies/h100x8-snp
    """
    from attest.policy.bundle import read_files
    from attest.policy.engine import EngineError, formatted
    from attest.policy.finding import RULES, FindingError
    from attest.policy.scan import scan
    from attest.wire import utf8

    folder = policy_folder(str(name))
    data = read_files(folder)[RULES]
    try:
        scan(data)  # bounds the text before the engine's parser, which recurses, sees it
        text = formatted(utf8(data, RULES))
    except FindingError as error:
        raise MalformedError(error.finding.reason()) from None
    except EngineError as error:
        raise MalformedError.at(
            "P107", str(error), where=str(folder / RULES), fix=f"find the place with: attest policy check {name}"
        ) from None
    out = Page()
    if write:
        (folder / RULES).write_text(text, encoding="utf-8")
        say(f"wrote {folder / RULES}")
    else:
        for line in text.splitlines():
            out.line(line)


def _finding(finding: Finding) -> doc.FindingDoc:
    return {
        "code": finding.code,
        "severity": finding.severity.value,
        "message": finding.message,
        "file": finding.file,
        "line": finding.position.line,
        "column": finding.position.column,
        "rule": finding.rule,
        "found": finding.found,
        "meant": finding.meant,
    }
