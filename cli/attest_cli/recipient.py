"""attest recipient: the key pair of a node. Its private half is made inside the TEE and stays there."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.recipient import Kem, Recipient
from attest_cli.options import Json, content, print_json
from attest_cli.terminal import Page, say

if TYPE_CHECKING:
    from attest_cli import release_documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.callback()
def recipient() -> None:
    """The key pair that a released key is wrapped to. Run this inside the TEE."""


@app.command()
def create(
    out: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="New file for the private key, mode 0600. The public key goes to FILE.pub.")
    ],
    kem: Annotated[Kem, typer.Option("--kem", help="Key encapsulation; mlkem768_x25519 is the post-quantum hybrid.")] = Kem.X25519,
    json: Json = False,
) -> None:
    """Make a key pair. Never overwrites, and never prints the private key.

    Examples:
      attest recipient create --out lab/recipient.key
      attest recipient create --out lab/hybrid.key --kem mlkem768_x25519 --json
    """
    from attest.keyfile import EXISTS
    from attest.release.recipient_key import RecipientPrivateKey

    public = out.with_name(out.name + ".pub")
    EXISTS.require(not public.exists(), found="a file", expected="none", where=str(public))
    private = RecipientPrivateKey.generate(kem)
    out.parent.mkdir(parents=True, exist_ok=True)
    private.save(out)
    public.write_text(json_.dumps(private.recipient.to_jwk()) + "\n")
    _print(_document(private.recipient, private_key=str(out), public_key=str(public)), json=json)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Private key file, or the public one beside it.")], json: Json = False
) -> None:
    """Show the public half of a key pair.

    Examples:
      attest recipient show lab/recipient.key
      attest recipient show lab/recipient.key.pub --json
    """
    from attest.release.recipient_key import RecipientPrivateKey

    if content(file, "recipient key", limit=64 << 10).lstrip()[:1] == b"{":
        _print(_document(public_recipient(file), public_key=str(file)), json=json)
    else:
        _print(_document(RecipientPrivateKey.load(file).recipient, private_key=str(file)), json=json)


def public_recipient(file: Path) -> Recipient:
    """The recipient in a public key file. Raises UsageError or MalformedError."""
    from attest.wire import Fields

    return Recipient.from_jwk(Fields.parse(content(file, "public recipient key", limit=64 << 10), file.name))


def _document(recipient: Recipient, *, private_key: str = "", public_key: str = "") -> doc.RecipientKeyDoc:
    return {
        "schema": "attest-recipient/1",
        "kem": recipient.kem.value,
        "thumbprint": recipient.thumbprint,
        "jwk": {name: str(value) for name, value in recipient.to_jwk().items()},
        "private_key": private_key,
        "public_key": public_key,
    }


def _print(document: doc.RecipientKeyDoc, *, json: bool) -> None:
    if json:
        print_json(document)
        return
    out = Page()
    out.line((f"{document['kem']} {document['thumbprint']}", "bold"))
    for label in ("private_key", "public_key"):
        if document[label]:
            out.line(f"  {label.replace('_', ' '):<12} {document[label]}")
    if document["private_key"] and document["public_key"]:
        say("next: collect evidence that binds this key (docs/binding.md)")
