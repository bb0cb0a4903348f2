"""attest inspect: show what a report or bundle says, without believing any of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from attest.errors import AttestError
from attest_cli.options import Companions, Json, Source, now, print_json, worse
from attest_cli.terminal import Page, say_error

if TYPE_CHECKING:
    from attest.bundle import Bundle
    from attest.evidence import Evidence
    from attest_cli import documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

UNVERIFIED: Final = "UNVERIFIED: what the file says about itself; no signature was checked, and anybody can write it"


@app.command()
def inspect(
    file: Source,
    companions: Companions = None,
    json: Json = False,
) -> int:
    """Show the fields of a report or bundle, unverified.

    Nothing is checked beyond the format, and nothing that this prints is a claim. To judge it: attest verify.

    Examples:
      attest inspect fixtures/sev-snp/azure-milan-v3
      attest inspect fixtures/nvidia-gpu/h100-595.71.05 --json
    """
    from attest_cli.judged import bundle_document
    from attest_cli.sources import load

    bundle = load(file, companions or (), now())
    bare = bundle.recorded_at is None and not file.is_dir() and bundle.nonce is None
    document: doc.InspectDoc = {
        "schema": "attest-inspect/1",
        "verified": False,
        "source": str(file),
        "bundle": None if bare else bundle_document(bundle),
        "devices": [_device(evidence) for evidence in bundle.evidence],
        "collateral": _collateral(bundle),
    }
    if json:
        print_json(document)
    else:
        _print(document)
    unreadable = [device for device in document["devices"] if device["reasons"]]
    for device in unreadable:
        say_error(f"{device['subject']}: {device['reasons'][0]['message']}", [device["reasons"][0]["fix"]])
    return worse([3] * bool(unreadable))


def _device(evidence: Evidence) -> doc.InspectedDoc:
    from attest.kinds import kind_named
    from attest_cli.judged import reason_document

    kind = kind_named(evidence.kind)
    fields: dict[str, str] = {}
    reasons: list[doc.ReasonDoc] = []
    try:
        if kind is not None:
            fields = dict(kind.inspect(evidence))
    except AttestError as error:
        reasons = [reason_document(reason) for reason in error.about(evidence.label).reasons]
    return {
        "subject": evidence.label,
        "kind": evidence.kind,
        "title": kind.title if kind else "unknown kind of evidence",
        "evidence": evidence.digest,
        "parts": {name: len(data) for name, data in evidence.parts.items()},
        "fields": fields,
        "reasons": reasons,
    }


def _collateral(bundle: Bundle) -> list[doc.CollateralDoc]:
    from attest.wire import format_time

    return [
        {
            "type": item.type.value,
            "name": item.name,
            "digest": item.digest,
            "size": len(item.data),
            "fetched_at": format_time(item.fetched_at),
        }
        for item in bundle.collateral.items
    ]


def _print(document: doc.InspectDoc) -> None:
    out = Page()
    out.line((UNVERIFIED, "bold black on yellow"))
    out.line((document["source"], "bold"))
    bundle = document["bundle"]
    if bundle:
        recipient = bundle["recipient"]
        for label, value in (
            ("digest", bundle["digest"]),
            ("origin", bundle["origin"]),
            ("recorded", bundle["recorded_at"] or "nobody said when"),
            ("binding", bundle["binding"]),
            ("nonce", bundle["nonce"] or "none"),
            ("recipient", f"{recipient['kem']} {recipient['thumbprint']}" if recipient else "none"),
            ("note", bundle["note"]),
        ):
            if value:
                out.line(f"  {label:<10}{value}")
    for device in document["devices"]:
        parts = ", ".join(f"{name} {size} bytes" for name, size in device["parts"].items())
        out.head(f"{device['subject']}  {device['title']}  ({parts})")
        out.line(f"  {'evidence':<26}{device['evidence']}")
        for name, value in device["fields"].items():
            out.line(f"  {name:<26}{value}")
        for reason in device["reasons"]:
            out.line((f"  not readable: {reason['message']} {reason['where']} {reason['found']}", "bold red"))
    if document["collateral"]:
        out.head("collateral")
        for item in document["collateral"]:
            out.line(f"  {item['type']:<13}{item['name']:<40}{item['size']:>7} bytes  {item['digest'][:16]}  fetched {item['fetched_at']}")
    out.line()
    out.line((UNVERIFIED, "bold black on yellow"))
