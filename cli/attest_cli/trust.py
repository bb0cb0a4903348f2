"""attest trust: what is trusted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import typer

from attest_cli.options import Json, Trust, print_json, trust_store
from attest_cli.terminal import Page

if TYPE_CHECKING:
    from attest_cli import documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.callback()
def trust() -> None:
    """The roots that evidence must chain to."""


@app.command("list")
def list_(trust: Trust = None, json: Json = False) -> None:
    """List the pinned roots, by the SHA-256 of their public keys.

    A root certificate may come from anywhere: it is believed only when its key is one of these.

    Examples:
      attest trust list
      attest trust list --trust lab/pki/trust.json --json
    """
    store = trust_store(trust)
    document: doc.TrustListDoc = {
        "schema": "attest-trust-list/1",
        "name": store.name,
        "origin": store.origin.value,
        "digest": store.digest,
        "anchors": [{"role": role.value, "name": anchor.name, "spki_sha256": anchor.spki_sha256} for role, anchor in store.anchors],
    }
    if json:
        print_json(document)
        return
    out = Page()
    if store.simulated:
        out.line(("SIMULATED: these roots belong to a simulator", "bold black on yellow"))
    out.line((f"{store.name} ({store.origin})  {store.digest}", "bold"))
    for anchor in document["anchors"]:
        out.line(f"  {anchor['role']:<16}{anchor['spki_sha256']}  {anchor['name']}")
    for enrolment in store.enrolments:
        out.line(f"  {'enrolled TPM':<16}{enrolment.ak_name}  {enrolment.label}")
