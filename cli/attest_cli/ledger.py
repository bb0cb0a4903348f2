"""attest ledger: the transparency log of releases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.errors import UsageError
from attest_cli.options import Json, print_json
from attest_cli.terminal import Page, entries, progress, say

if TYPE_CHECKING:
    from attest_cli import release_documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

ENTRY_SUFFIX: Final = ".entry"


@app.callback()
def ledger() -> None:
    """The transparency log: RFC 6962 tree, C2SP tiles, signed checkpoints."""


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Empty or new folder. A broker has one already: BROKER/ledger.")],
    origin: Annotated[str, typer.Option("--origin", metavar="NAME", help="Name of the log, like a URL without its scheme.")],
    json: Json = False,
) -> None:
    """Make an empty log with a new signing key.

    Examples:
      attest ledger init lab/log --origin example.org/releases
    """
    from attest.ledger.store import Ledger

    made = Ledger.create(folder, origin=origin)
    checkpoint = made.checkpoint()
    document: doc.LedgerDoc = {
        "schema": "attest-ledger/1",
        "origin": made.origin,
        "vkey": made.vkey,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "public": str(made.public),
    }
    if json:
        print_json(document)
        return
    out = Page()
    out.line((f"{document['origin']}  {entries(document['size'])}  root {document['root']}", "bold"))
    out.line(f"  verifier key  {document['vkey']}")
    out.line(f"  to serve      {document['public']}")
    say("give the verifier key to auditors yourself: a log cannot vouch for its own key")


@app.command()
def fsck(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A log, its public folder, or a copy of that.")],
    vkey: Annotated[
        str | None,
        typer.Option("--vkey", metavar="KEY", help="Verifier key. Default: the log's own, which proves only that it is consistent."),
    ] = None,
    json: Json = False,
) -> None:
    """Check every entry, tile, root and signature of a log.

    Examples:
      attest ledger fsck lab/broker/ledger
      attest ledger fsck lab/log --json
    """
    from attest.ledger.fsck import fsck as check

    public = folder / "public" if (folder / "public").is_dir() else folder
    own = vkey is None
    with progress(f"checking {folder}"):
        report = check(public, vkey=vkey if vkey is not None else _own_key(folder))
    document: doc.FsckDoc = {
        "schema": "attest-ledger-fsck/1",
        "origin": report.checkpoint.origin,
        "size": report.checkpoint.size,
        "root": report.checkpoint.root.hex(),
        "tiles": report.tiles,
        "bundles": report.bundles,
        "superseded": report.superseded,
        "ahead": list(report.ahead),
    }
    if json:
        print_json(document)
    else:
        out = Page()
        out.line(("CONSISTENT", "bold green"), "  ", f"{document['origin']}  {entries(document['size'])}  root {document['root']}")
        out.line(f"  {document['tiles']} tiles, {document['bundles']} bundles of entries, {document['superseded']} superseded files")
        for path in document["ahead"]:
            out.line(f"  behind the checkpoint: {path} (an append that is under way or was cut off; the next open finishes it)")
    if own:
        say("checked against the log's own key: an auditor brings the key with --vkey")


@app.command()
def prove(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The log.")],
    index: Annotated[int, typer.Option("--index", metavar="N", min=0, help="Number of the entry, from 0.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the receipt; the entry goes beside it as FILE.entry.")],
    json: Json = False,
) -> None:
    """Write the proof that an entry is in the log, against the newest checkpoint (C2SP tlog-proof).

    Examples:
      attest ledger prove lab/broker/ledger --index 0 --out lab/first.tlog-proof
    """
    from attest.ledger.merkle import leaf_hash
    from attest.ledger.store import Ledger

    entry_file = out.with_name(out.name + ENTRY_SUFFIX)
    for path in (out, entry_file):
        if path.exists():
            raise UsageError.of(f"{path} is there already", fix="a proof never overwrites: name a new file")
    log = Ledger.open(folder)
    entry, receipt, checkpoint = log.entry(index), log.receipt(index), log.checkpoint()
    out.write_bytes(receipt.to_bytes())
    entry_file.write_bytes(entry)
    document: doc.ProofDoc = {
        "schema": "attest-ledger-proof/1",
        "origin": log.origin,
        "index": index,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "leaf": leaf_hash(entry).hex(),
        "entry": str(entry_file),
        "receipt": str(out),
    }
    if json:
        print_json(document)
        return
    console = Page()
    console.line((f"{log.origin}  entry {index} of {checkpoint.size}", "bold"))
    for label in ("leaf", "root", "entry", "receipt"):
        console.line(f"  {label:<8} {document[label]}")


def _own_key(folder: Path) -> str:
    from attest.ledger.store import Ledger

    if not (folder / "private").is_dir():
        raise UsageError.of(
            "a public copy of a log has no key of its own",
            found=str(folder),
            fix="give the log's verifier key: attest ledger fsck DIR --vkey KEY",
        )
    return Ledger.open(folder).vkey
