"""attest token: look at a key-release token, or check it."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.errors import MalformedError, UsageError
from attest_cli.inspect import UNVERIFIED
from attest_cli.options import At, Json, content, moment, print_json
from attest_cli.terminal import Page
from attest_cli.text import SIMULATED

if TYPE_CHECKING:
    from attest.jose import IssuerKey
    from attest_cli import release_documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

File = Annotated[Path, typer.Argument(metavar="FILE", help="File with the token as text.")]
_LIMIT: Final = 64 << 10


@app.callback()
def token() -> None:
    """The permit that a broker releases on: one key, one recipient, one broker, some seconds."""


@app.command()
def inspect(file: File, json: Json = False) -> None:
    """Show what a token says, unverified.

    Examples:
      attest token inspect lab/release/token.jwt
    """
    from attest.crypto import sha256
    from attest.wire import base64url_bytes, json_value

    text = _text(file)
    parts = text.split(".")
    if len(parts) != 3:
        raise MalformedError.at(
            "release.token-form", "this is no token", found=f"{len(parts)} parts", expected="three parts with dots between"
        )
    claims = json_value(base64url_bytes(parts[1], "payload"), "payload", limit=_LIMIT)
    if not isinstance(claims, dict):
        raise MalformedError.at("release.token-form", "the payload of the token is no object")
    _print(
        {"schema": "attest-token/1", "verified": False, "digest": sha256(text.encode()).hex(), "claims": {**claims}},
        json=json,
    )


@app.command()
def verify(
    file: File,
    broker: Annotated[
        Path | None, typer.Option("--broker", metavar="DIR", envvar="ATTEST_BROKER", help="Broker that says whom it trusts.")
    ] = None,
    issuer_key: Annotated[Path | None, typer.Option("--issuer-key", metavar="FILE", help="Issuer's public key: JWK, or PEM.")] = None,
    issuer: Annotated[str | None, typer.Option("--issuer", metavar="NAME", help="Name of the issuer.")] = None,
    audience: Annotated[str | None, typer.Option("--audience", metavar="ID", help="Id of the broker that the token is for.")] = None,
    at: At = None,
    json: Json = False,
) -> None:
    """Check a token: signature, issuer, audience, times and every claim. Says nothing about whether it was used.

    Tokens live for seconds. To look at an old one, say when: --at TIME.

    Examples:
      attest token verify lab/release/token.jwt --broker lab/broker
    """
    from attest.release.token import verify_token
    from attest.wire import base64url_bytes, json_value

    if broker is not None and (issuer_key, issuer, audience) == (None, None, None):
        from attest_cli.brokers import Desk

        own = Desk.open(broker).broker.configuration
        key, name, for_whom = own.issuer_key, own.issuer, own.broker
    elif issuer_key is not None and issuer is not None and audience is not None:
        key, name, for_whom = public_key(issuer_key), issuer, audience
    else:
        raise UsageError.of(
            "nobody says whose token this must be", fix="give --broker DIR, or all of --issuer-key FILE --issuer NAME --audience ID"
        )
    text = _text(file)
    verified = verify_token(text, issuer_key=key, issuer=name, audience=for_whom, at=moment(at))
    payload = json_value(base64url_bytes(text.split(".")[1], "payload"), "payload", limit=_LIMIT)
    claims: dict[str, object] = {**payload} if isinstance(payload, dict) else {}
    _print({"schema": "attest-token/1", "verified": True, "digest": verified.digest, "claims": claims}, json=json)


def public_key(file: Path) -> IssuerKey:
    """Issuer's public key from a JWK or PEM file. Raises UsageError or MalformedError."""
    from attest.jose import IssuerKey
    from attest.wire import Fields

    data = content(file, "issuer's key", limit=_LIMIT)
    return IssuerKey.from_pem(data) if data.startswith(b"-----BEGIN ") else IssuerKey.from_jwk(Fields.parse(data, file.name))


def _text(file: Path) -> str:
    from attest.wire import utf8

    return utf8(content(file, "token", limit=_LIMIT), file.name).strip()


def _print(document: doc.TokenDoc, *, json: bool) -> None:
    if json:
        print_json(document)
        return
    from datetime import UTC, datetime

    out = Page()
    if document["verified"]:
        out.line(
            ("VERIFIED", "bold green"), "  ", "signature, issuer, audience, times and form; whether it was used, only its broker knows"
        )
    else:
        out.line((UNVERIFIED, "bold black on yellow"))
    if document["claims"].get("simulated") is not False:
        out.line((SIMULATED, "bold black on yellow"))
    out.line(f"  {'digest':<16} {document['digest']}")
    for name, value in document["claims"].items():
        text = dumps(value, sort_keys=True) if isinstance(value, dict) else str(value)
        if name in ("iat", "nbf", "exp") and isinstance(value, int) and 0 <= value < 253_402_300_800:
            text += f"  ({datetime.fromtimestamp(value, UTC):%Y-%m-%dT%H:%M:%SZ})"
        out.line(f"  {name:<16} {text}")
