"""attest collateral: what evidence is judged with, beside itself. Fetching is the only verb that opens a connection."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.errors import EXIT_CODES, Outcome, UsageError
from attest_cli.options import Json, Source, now, print_json
from attest_cli.terminal import Page, progress, say, say_error

if TYPE_CHECKING:
    from attest.bundle import Bundle
    from attest.errors import Reason
    from attest.evidence import CollateralItem, Wanted
    from attest_cli import documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.callback()
def collateral() -> None:
    """Certificates, revocation answers and reference values: kept in the bundle, so that no verdict depends on the network."""


@app.command()
def status(bundle: Source, json: Json = False) -> int:
    """Show what a bundle has, until when it is good, and what a fetch would add.

    Nothing is verified here: dates are what the pieces themselves say.
    A bundle whose collateral has other names may need none of what a fetch would add: what is really missing, attest verify says.

    Examples:
      attest collateral status fixtures/nvidia-gpu/h100-595.71.05
      attest collateral status lab/node --json
    """
    from attest.bundle import BundleOrigin
    from attest.collateral.fetch import missing
    from attest_cli.sources import load

    loaded = load(bundle, (), now())
    wanted = () if loaded.origin is BundleOrigin.SIMULATED else missing(loaded)  # what is simulated has no publisher
    return _report(_document(bundle, "", loaded, wanted, {}, ()), json=json)


@app.command()
def fetch(
    bundle: Source,
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="New folder for the completed bundle, or a file ending in .json.")],
    refresh: Annotated[bool, typer.Option("--refresh", help="Fetch revocation answers again, which go stale.")] = False,
    mirrors: Annotated[
        list[str] | None, typer.Option("--mirror", metavar="HOST=URL", help="Take this address in place of a host. Repeatable.")
    ] = None,
    json: Json = False,
) -> int:
    """Fetch what a bundle lacks from its publishers, and write the completed bundle. Exit 6 when a piece cannot be had.

    Only the hosts of the vendors are asked, over https, or the mirrors that you name.
    Nothing fetched is believed: it counts when it verifies.

    Examples:
      attest collateral fetch --out lab/complete \\
        fixtures/nvidia-gpu/h100-550.90.07
      attest collateral fetch lab/complete --out lab/fresh --refresh
    """
    from attest.bundle import BundleOrigin
    from attest.collateral.client import Client
    from attest.collateral.fetch import complete, missing
    from attest_cli.sources import load

    if out.exists():
        raise UsageError.of(f"{out} is there already", fix="a bundle is never overwritten: name a new one")
    client = Client(mirrors=_mirrors(mirrors or []))
    loaded = load(bundle, (), now())
    if loaded.origin is BundleOrigin.SIMULATED:
        raise UsageError.of(
            "simulated evidence has no publisher", found=str(bundle), fix="the simulator puts collateral into the bundle itself"
        )
    with progress("fetching collateral"):
        fetched = complete(loaded, client, now=now, refresh=refresh, progress=_tell)
    out.parent.mkdir(parents=True, exist_ok=True)
    fetched.bundle.save(out)
    why = {reason.subject: reason for reason in fetched.missing}
    return _report(_document(bundle, str(out), fetched.bundle, missing(fetched.bundle), why, fetched.added), json=json)


def _tell(piece: Wanted, number: int, count: int) -> None:
    say(f"{number} of {count}: {piece.type} {piece.name} from {piece.host}")


def _mirrors(texts: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        host, equals, url = text.partition("=")
        if not equals or not url.startswith(("https://", "http://")):
            raise UsageError.of("--mirror is not HOST=URL", found=text, fix="write it like ocsp.example=https://mirror.internal/ocsp")
        found[host] = url.rstrip("/")
    return found


def _document(
    source: Path, out: str, bundle: Bundle, wanted: tuple[Wanted, ...], why: dict[str, Reason], added: tuple[CollateralItem, ...]
) -> doc.CollateralStatusDoc:
    from attest.wire import format_time

    return {
        "schema": "attest-collateral/1",
        "exit_code": EXIT_CODES[Outcome.CANNOT_DECIDE] if why else 0,
        "source": str(source),
        "bundle": out,
        "digest": bundle.digest,
        "kept": [
            {
                "type": item.type.value,
                "name": item.name,
                "digest": item.digest,
                "size": len(item.data),
                "fetched_at": format_time(item.fetched_at),
                "until": _until(item),
                "added": item in added,
            }
            for item in bundle.collateral.items
        ],
        "fetchable": [
            {"type": piece.type.value, "name": piece.name, "host": piece.host, "why": why[piece.name].found if piece.name in why else ""}
            for piece in wanted
        ],
    }


def _until(item: CollateralItem) -> str:
    """Until when a piece says that it is good: nextUpdate, or the end of the first certificate to end. Empty for what does not say."""
    from cryptography import x509

    from attest import limits
    from attest.errors import AttestError
    from attest.evidence import CollateralType
    from attest.pki import load_amd_leaf
    from attest.pki.certificate import PARSE_ERRORS
    from attest.wire import format_time, pem_blocks

    end: datetime | None = None
    try:
        if item.type is CollateralType.CRL:
            end = x509.load_der_x509_crl(item.data).next_update_utc
        elif item.type is CollateralType.OCSP:
            end = x509.ocsp.load_der_ocsp_response(item.data).next_update_utc
        elif item.type is CollateralType.CERTIFICATES:
            blocks = pem_blocks(item.data, "CERTIFICATE", item.name, most=limits.MAX_CHAIN_LENGTH)
            end = min(load_amd_leaf(der).not_valid_after_utc for der in blocks)
    except (AttestError, *PARSE_ERRORS):  # also an OCSP answer that only says that it has none
        return ""
    return format_time(end) if end else ""


def _report(document: doc.CollateralStatusDoc, *, json: bool) -> int:
    if json:
        print_json(document)
    else:
        out, time = Page(), now().strftime("%Y-%m-%dT%H:%M:%SZ")
        out.line((document["bundle"] or document["source"], "bold"), ("  unverified: what the pieces themselves say", "dim"))
        for item in document["kept"]:
            over = bool(item["until"]) and item["until"] < time
            until = f"{'was good' if over else 'good'} until {item['until']}" if item["until"] else "no end stated"
            word = "fetched" if item["added"] else "kept"
            out.line((f"  {word:<11}", "green"), f"{item['type']:<13}{item['name']:<42}", (until, "yellow" if over else "dim"))
        for piece in document["fetchable"]:
            word, style = ("no answer", "bold red") if piece["why"] else ("fetchable", "yellow")
            why = f": {piece['why']}" if piece["why"] else ""
            out.line((f"  {word:<11}", style), f"{piece['type']:<13}{piece['name']:<42}", (f"from {piece['host']}{why}", "dim"))
    if document["exit_code"]:
        count = len(document["fetchable"])
        say_error(f"{count} {'piece' if count == 1 else 'pieces'} could not be had", ["verification says what their absence means"])
    elif document["fetchable"]:
        say("get them with: attest collateral fetch BUNDLE --out NEW")
    return document["exit_code"]
