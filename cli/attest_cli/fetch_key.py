"""attest fetch-key: open a released key inside the TEE."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.errors import UsageError
from attest_cli.options import Json, content, print_json
from attest_cli.release import TOKEN, WRAPPED
from attest_cli.terminal import Page
from attest_cli.text import SIMULATED

if TYPE_CHECKING:
    from attest.release.wrap import Opener
    from attest_cli import release_documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

_CONFIRMATION_BYTES: Final = 8


@app.command("fetch-key")
def fetch_key(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Name of the key that was asked for.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What 'attest release' wrote: wrapped-key.json and token.jwt.")],
    recipient: Annotated[
        Path, typer.Option("--recipient", metavar="FILE", help="Private key of this node: a file, or the folder of a key in its TPM.")
    ],
    out: Annotated[Path | None, typer.Option("--out", metavar="FILE", help="Write the key itself into a new file of mode 0600.")] = None,
    json: Json = False,
) -> None:
    """Open a wrapped key with this node's private key.

    Prints a confirmation that is equal wherever the key is equal, and never the key. Only --out FILE writes it, 32 raw bytes.

    Examples:
      attest fetch-key demo lab/release --recipient lab/pki/recipient.key
      attest fetch-key demo lab/release --out lab/weights.key \\
        --recipient lab/pki/recipient.key
    """
    from attest.crypto import framed, sha256
    from attest.keyfile import create_secret
    from attest.release.wrap import WrappedKey, unwrap
    from attest.wire import Fields, utf8

    if not folder.is_dir():
        raise UsageError.of(f"there is no release at {folder}", expected="a folder that 'attest release' wrote")
    wrapped = WrappedKey.from_json(Fields.parse(content(folder / WRAPPED, "wrapped key"), WRAPPED))
    token = utf8(content(folder / TOKEN, "token"), TOKEN).strip()
    opened = unwrap(wrapped, _private(recipient), token=token, key=key)
    confirmation = sha256(framed("attest-key-confirmation/1", [opened.expose()]))[:_CONFIRMATION_BYTES].hex()
    if out is not None:
        create_secret(out, opened.expose())
    document: doc.FetchKeyDoc = {
        "schema": "attest-fetch-key/1",
        "key": wrapped.key,
        "version": wrapped.version,
        "confirmation": confirmation,
        "file": str(out) if out else "",
        "simulated": _simulated(token),
    }
    if json:
        print_json(document)
        return
    console = Page()
    if document["simulated"]:
        console.line((SIMULATED, "bold black on yellow"))
    console.line((f"{wrapped.key} version {wrapped.version}", "bold"), "  ", f"confirmation {confirmation}")
    if out is not None:
        console.line(f"  written to {out}")


def _private(recipient: Path) -> Opener:
    """The private half: in a file, or inside the TPM whose files 'attest tpm recipient' wrote."""
    from attest.release.recipient_key import RecipientPrivateKey

    if recipient.suffix == ".pub" and recipient.with_suffix("").is_file():
        raise UsageError.of(
            f"{recipient} is the public key", expected="the private key", fix=f"use --recipient {recipient.with_suffix('')}"
        )
    if not recipient.is_dir():
        return RecipientPrivateKey.load(recipient)
    from attest.node.tpm import Tpm, TpmRecipientKey

    return TpmRecipientKey(Tpm(), recipient)


def _simulated(token: str) -> bool:
    """What the token says. It was bound to the key by its digest when this opened, so nobody else wrote it than who released the key."""
    from attest.wire import Fields, base64url_bytes

    return Fields.parse(base64url_bytes(token.split(".")[1], "payload"), "release token").boolean("simulated")
