"""attest release: judge a session and, when everything says yes, release a key to it."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.errors import UsageError
from attest_cli.options import Broker, Explain, Json, Trust, now, print_json, trust_store
from attest_cli.terminal import Page, progress, say, say_error

if TYPE_CHECKING:
    from attest.release.broker import Release
    from attest.release.keystore.key import KeyInfo
    from attest.release.record import Record
    from attest.verifier import Judgement
    from attest_cli import release_documents as doc
    from attest_cli.brokers import Desk
    from attest_cli.documents import VerdictDoc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

RECORD: Final = "record.json"
TOKEN: Final = "token.jwt"  # noqa: S105
WRAPPED: Final = "wrapped-key.json"


@app.command()
def release(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Name of the key.")],
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="Evidence that was collected for a challenge of this broker.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Empty or new folder for token, wrapped key and record.")],
    broker: Broker,
    version: Annotated[int | None, typer.Option("--version", metavar="N", min=1, help="Version of the key. Default: the newest.")] = None,
    trust: Trust = None,
    explain: Explain = False,
    json: Json = False,
) -> int:
    """Judge a bundle by the policy of a key, and release the key when everything says yes.

    The entry is in the ledger before the key leaves, and the challenge is spent.
    DIR then holds what the node needs (wrapped-key.json, token.jwt) and what an auditor needs (record.json).

    Examples:
      attest simulate node --pki lab/pki --out lab/answer \\
        --nonce $(attest challenge demo --broker lab/broker)
      attest release demo lab/answer --out lab/second \\
        --broker lab/broker --trust lab/pki/trust.json
    """
    from attest.bundle import Bundle
    from attest.decision import Permit
    from attest_cli.brokers import Desk
    from attest_cli.judged import command, judgement_document

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError.of(f"{out} is not an empty folder", fix="a release never overwrites: name a new folder")
    store, at = trust_store(trust), now()
    desk = Desk.open(broker)
    info = desk.broker.keystore.info(key, version)
    policy = desk.policy(info)
    session = Bundle.load(bundle)
    with progress(f"judging {bundle}"):
        judgement = desk.judge(session, info, policy, trust=store, at=at)
    again = command(_again(bundle, desk, info, judgement, trust))
    verdict = judgement_document(judgement, source=str(bundle), use=info.use, key=key, again=again)
    released: Release | None = None
    if isinstance(judgement.decision, Permit):
        out.mkdir(parents=True, exist_ok=True)  # before the key is spent: a folder that cannot be written must not cost a challenge
        with progress("releasing"):
            released = desk.release(judgement.decision, judgement, info, policy, at=at)
    document = _document(verdict, released.record if released else None, key, out)
    if json:
        print_json(document)
    else:
        _print(document, explain=explain)
    if released is None:
        hints = [reason["fix"] for reason in verdict["reasons"] if reason["fix"]][:1]
        say_error(f"{key} is not released to {bundle} ({len(verdict['reasons'])} reasons)", hints)
    else:
        say(f"next, on the node: attest fetch-key {key} {out} --recipient FILE")
    return document["exit_code"]


def _again(bundle: Path, desk: Desk, key: KeyInfo, judgement: Judgement, trust: Path | None) -> list[str]:
    """The command that judges the same again, and releases nothing."""
    from attest.wire import format_time

    words = ["attest", "verify", str(bundle), "--policy", str(desk.policy_folder(key)), "--key", key.name]
    words += ["--nonce", judgement.bundle.nonce.hex()] if judgement.bundle.nonce else []
    words += ["--trust", str(trust)] if trust else []
    words += ["--test-only"] if key.use.value == "test-only" else []
    return [*words, "--at", format_time(judgement.at)]


def _document(verdict: VerdictDoc, record: Record | None, key: str, out: Path) -> doc.ReleaseDoc:
    document: doc.ReleaseDoc = {
        "schema": "attest-release/1",
        "exit_code": verdict["exit_code"],
        "released": record is not None,
        "verdict": verdict,
        "key": key,
        "version": 0,
        "custody": "",
        "token": "",
        "recipient": "",
        "ledger_origin": "",
        "ledger_index": -1,
        "record": "",
        "files": {},
    }
    if record is not None:
        contents = record.contents
        document |= {
            "version": contents.wrapped.version,
            "custody": contents.statement.custody.value,
            "token": contents.wrapped.token,
            "recipient": contents.wrapped.recipient,
            "ledger_origin": record.origin,
            "ledger_index": record.receipt.index if record.receipt else -1,
            "record": record.digest,
            "files": _write(record, out),
        }
    return document


def _write(record: Record, out: Path) -> dict[str, str]:
    """The files of a release. None of them is secret; the record names machines, so only its owner reads it."""
    (out / RECORD).touch(mode=0o600)
    (out / RECORD).write_bytes(record.to_bytes())
    (out / TOKEN).write_text(record.contents.token + "\n")
    (out / WRAPPED).write_text(json_.dumps(record.contents.wrapped.to_json(), indent=2) + "\n")
    return {"record": str(out / RECORD), "token": str(out / TOKEN), "wrapped_key": str(out / WRAPPED)}


def _print(document: doc.ReleaseDoc, *, explain: bool) -> None:
    from attest_cli.text import BAD, GOOD, print_verdict

    out = Page()
    print_verdict(out, document["verdict"], explain=explain)
    out.line()
    if not document["released"]:
        out.line(("NOT RELEASED", BAD))
        return
    out.line((f"RELEASED  {document['key']} version {document['version']}", GOOD))
    for label, text in (
        ("to recipient", document["recipient"]),
        ("token", document["token"]),
        ("ledger", f"{document['ledger_origin']} entry {document['ledger_index']}"),
        ("record", document["record"]),
        ("custody", document["custody"]),
        *((name.replace("_", " "), path) for name, path in document["files"].items()),
    ):
        out.line(f"  {label:<13} {text}")
