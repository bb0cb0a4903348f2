"""attest audit: check releases again, offline, years later, from what was recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal, NamedTuple

import typer

from attest.errors import AttestError, UsageError
from attest_cli.options import Json, Trust, content, print_json, trust_store
from attest_cli.terminal import Page, entries, progress, say, say_error

if TYPE_CHECKING:
    from attest.audit import AuditReport, LedgerReport
    from attest.jose import IssuerKey
    from attest.trust import TrustStore
    from attest_cli import release_documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

LedgerKey = Annotated[str | None, typer.Option("--vkey", metavar="KEY", help="Verifier key of the ledger, from its operator.")]
IssuerFile = Annotated[Path | None, typer.Option("--issuer-key", metavar="FILE", help="Public key of the token's issuer: JWK, or PEM.")]
Copy = Annotated[
    Path,
    typer.Option("--broker", metavar="DIR", envvar="ATTEST_BROKER", help="A broker's folder, or a copy of its ledger/public and records."),
]
Explain = Annotated[bool, typer.Option("--explain", help="Show every link of every release.")]

_STYLES: Final = {"proved": "green", "broken": "bold red", "not-checked": "yellow"}
_THE_BROKER: Final = "the broker at hand, whose own key this is: nobody pinned it"
_RECORD_LIMIT: Final = 32 << 20


class Pins(NamedTuple):
    """What the auditor brings beside the trust store, and where each comes from."""

    vkey: str | None
    issuer: IssuerKey | None
    vkey_from: Literal["pinned", "broker", "none"]
    issuer_from: Literal["pinned", "broker", "none"]


@app.callback()
def audit() -> None:
    """Check releases again from the record, the roots and two keys. No network, and no word of the broker is believed unchecked."""


@app.command()
def record(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Record of a release: record.json.")],
    vkey: LedgerKey = None,
    issuer_key: IssuerFile = None,
    broker: Annotated[
        Path | None,
        typer.Option(
            "--broker", metavar="DIR", envvar="ATTEST_BROKER", help="Take both keys from a broker at hand: its own word, not a pin."
        ),
    ] = None,
    trust: Trust = None,
    json: Json = False,
) -> int:
    """Re-derive a release from its record, link by link. Exit 0 only when every link is proved.

    An auditor brings three things of his own: the hardware roots, the ledger's key and the issuer's key.

    Examples:
      attest audit record lab/release/record.json \\
        --broker lab/broker --trust lab/pki/trust.json
      attest audit record lab/release/record.json --json \\
        --trust lab/pki/trust.json
    """
    from attest_cli.judged import trust_document

    store, pins = trust_store(trust), _pins(vkey, issuer_key, broker)
    with progress(f"auditing {file}"):
        report = _audited(file, store, pins)
    document: doc.AuditRecordDoc = {
        "schema": "attest-audit-record/1",
        "exit_code": report.exit_code,
        "source": str(file),
        "trust": trust_document(store),
        "ledger_key": pins.vkey_from,
        "issuer_key": pins.issuer_from,
        "release": _release(report, pins),
    }
    if json:
        print_json(document)
    else:
        out = Page()
        _headline(out, document["release"], str(file))
        _links(out, document["release"])
        _risks(out, document["release"]["risks"])
    _remark(pins)
    if report.reasons:
        fixes = [reason.fix for reason in report.reasons if reason.fix][:1]
        say_error(f"{file}: not every link is proved ({len(report.reasons)} of {len(report.links)} are not)", fixes)
    return report.exit_code


def _audited(file: Path, store: TrustStore, pins: Pins) -> AuditReport:
    from attest.audit import audit_record

    if file.is_dir():
        raise UsageError.of(f"{file} is a folder", expected="the record of a release", fix=f"name the record: {file / 'record.json'}")
    data = content(file, "record", limit=_RECORD_LIMIT)
    try:
        return audit_record(data, trust=store, ledger_vkey=pins.vkey, issuer_key=pins.issuer)
    except AttestError as error:
        raise error.about(str(file)) from None


@app.command()
def ledger(
    broker: Copy,
    vkey: LedgerKey = None,
    issuer_key: IssuerFile = None,
    trust: Trust = None,
    explain: Explain = False,
    json: Json = False,
) -> int:
    """Audit every release of a ledger, and look for entries without record, records without entry, and second uses.

    Examples:
      attest audit ledger --broker lab/broker --trust lab/pki/trust.json
    """
    return _history(broker, "", vkey, issuer_key, trust, explain=explain, json=json)


@app.command()
def key(
    name: Annotated[str, typer.Argument(metavar="KEY", help="Name of the key.")],
    broker: Copy,
    vkey: LedgerKey = None,
    issuer_key: IssuerFile = None,
    trust: Trust = None,
    explain: Explain = False,
    json: Json = False,
) -> int:
    """Audit the history of one key: who got it, when, and on what evidence.

    Examples:
      attest audit key demo --broker lab/broker --trust lab/pki/trust.json
    """
    return _history(broker, name, vkey, issuer_key, trust, explain=explain, json=json)


def _history(folder: Path, name: str, vkey: str | None, issuer_key: Path | None, trust: Path | None, *, explain: bool, json: bool) -> int:
    from attest.audit import audit_key, audit_ledger

    public, records = _folders(folder)
    own = folder if (folder / "broker.json").is_file() else None
    store, pins = trust_store(trust), _pins(vkey, issuer_key, own)
    if pins.vkey is None:
        raise UsageError.of("a copy of a ledger has no key of its own", found=str(folder), fix="give the ledger's verifier key: --vkey KEY")
    with progress(f"auditing {folder}"):
        if name:
            report = audit_key(public, records, name, trust=store, vkey=pins.vkey, issuer_key=pins.issuer)
        else:
            report = audit_ledger(public, records, trust=store, vkey=pins.vkey, issuer_key=pins.issuer)
    document = _ledger_document(report, store, pins, name, str(folder))
    if json:
        print_json(document)
    else:
        _print_history(document, explain=explain)
    _remark(pins)
    if report.exit_code:
        bad = sum(1 for item in document["releases"] if item["release"] is None or not item["release"]["proved"])
        say_error(f"{folder}: {bad} of {len(report.releases)} releases are not proved, {len(report.findings)} findings about the ledger")
    return report.exit_code


def _folders(folder: Path) -> tuple[Path, Path]:
    for public in (folder / "ledger" / "public", folder / "public"):
        if public.is_dir() and (folder / "records").is_dir():
            return public, folder / "records"
    raise UsageError.of(
        f"{folder} is no broker's folder and no copy of one",
        expected="ledger/public (or public) and records",
        fix="name the broker's folder",
    )


def _pins(vkey: str | None, issuer_key: Path | None, broker: Path | None) -> Pins:
    """What the auditor brought; what he did not bring is taken from a broker at hand, if there is one."""
    from attest_cli.token import public_key

    pinned = public_key(issuer_key) if issuer_key is not None else None
    if broker is None or (vkey is not None and pinned is not None):
        return Pins(vkey, pinned, "pinned" if vkey else "none", "pinned" if pinned else "none")
    from attest.release.broker import Broker

    own = Broker.open(broker)
    return Pins(
        vkey if vkey is not None else own.ledger.vkey,
        pinned if pinned is not None else own.configuration.issuer_key,
        "pinned" if vkey is not None else "broker",
        "pinned" if pinned is not None else "broker",
    )


def _remark(pins: Pins) -> None:
    if "broker" in (pins.vkey_from, pins.issuer_from):
        say("keys were taken from the broker itself: an auditor brings them with --vkey and --issuer-key")


# -- documents ------------------------------------------------------------------------------------------------------------


def _release(report: AuditReport, pins: Pins) -> doc.AuditedDoc:
    from attest.audit.checks import ISSUER_KEY, LEDGER_KEY
    from attest.wire import format_time
    from attest_cli.judged import reason_document

    unpinned = {check.id for check, source in ((ISSUER_KEY, pins.issuer_from), (LEDGER_KEY, pins.vkey_from)) if source == "broker"}
    return {
        "exit_code": report.exit_code,
        "proved": report.proved,
        "record": report.record,
        "jti": report.jti,
        "key": report.key,
        "version": report.version,
        "recipient": report.recipient,
        "broker": report.broker,
        "released_at": format_time(report.released_at),
        "simulated": report.simulated,
        "links": [
            {
                "id": link.check.id,
                "title": link.check.title,
                "status": link.status.value,
                "rests_on": _THE_BROKER if link.check.id in unpinned else link.rests_on,
                "detail": link.detail,
                "reason": reason_document(link.reason) if link.reason else None,
            }
            for link in report.links
        ],
        "risks": [{"id": risk.id, "text": risk.text} for risk in report.risks],
    }


def _ledger_document(report: LedgerReport, store: TrustStore, pins: Pins, name: str, source: str) -> doc.AuditLedgerDoc:
    from attest.wire import format_time
    from attest_cli.judged import reason_document, trust_document

    return {
        "schema": "attest-audit-ledger/1",
        "exit_code": report.exit_code,
        "source": source,
        "key": name,
        "trust": trust_document(store),
        "ledger_key": pins.vkey_from,
        "issuer_key": pins.issuer_from,
        "origin": report.checkpoint.origin,
        "size": report.checkpoint.size,
        "root": report.checkpoint.root.hex(),
        "releases": [
            {
                "index": item.index,
                "digest": item.digest,
                "jti": item.jti,
                "nonce": item.nonce,
                "key": item.key,
                "released_at": format_time(item.released_at),
                "release": _release(item.report, pins) if item.report else None,
            }
            for item in report.releases
        ],
        "findings": [reason_document(reason) for reason in report.findings],
    }


# -- text -----------------------------------------------------------------------------------------------------------------


def _headline(out: Page, release: doc.AuditedDoc, source: str) -> None:
    from attest_cli.text import SIMULATED

    if release["simulated"]:
        out.line((SIMULATED, "bold black on yellow"))
    proved = sum(link["status"] == "proved" for link in release["links"])
    broken = any(link["status"] == "broken" for link in release["links"])
    word, style = ("PROVED", "bold green") if release["proved"] else ("BROKEN", "bold red") if broken else ("NOT PROVED", "bold yellow")
    out.line((word, style), "  ", f"{source}  {proved} of {len(release['links'])} links proved")
    for label, text in (
        ("key", f"{release['key']} version {release['version']}"),
        ("recipient", release["recipient"]),
        ("broker", release["broker"]),
        ("released", f"{release['released_at']} (the broker's word)"),
        ("record", release["record"]),
    ):
        out.line(f"  {label:<10} {text}")


def _links(out: Page, release: doc.AuditedDoc) -> None:
    out.head("Links")
    for link in release["links"]:
        out.line((f"  {link['status'].replace('-', ' '):<12}", _STYLES[link["status"]]), f"{link['title']}  ", (f"[{link['id']}]", "dim"))
        for label, text in (("found", link["detail"]), ("rests on", link["rests_on"])):
            if text:
                out.line((f"{'':<14}{label:<9} {text}", "dim"))
        reason = link["reason"]
        if reason:
            for label, text in (
                ("where", reason["where"]),
                ("found", reason["found"]),
                ("expected", reason["expected"]),
                ("fix", reason["fix"]),
            ):
                if text:
                    out.line(f"{'':<14}{label:<9} {text}")


def _risks(out: Page, risks: list[doc.RiskDoc]) -> None:
    out.head("What a proved record still does not show")
    for risk in risks:
        out.line(f"  {risk['text']}", "  ", (f"[{risk['id']}]", "dim"))


def _print_history(document: doc.AuditLedgerDoc, *, explain: bool) -> None:
    out = Page()
    what = f"history of {document['key']}" if document["key"] else "every release"
    out.line((f"{document['origin']}  {entries(document['size'])}  {what}", "bold"))
    out.line((f"  root {document['root']}", "dim"))
    for item in document["releases"]:
        release = item["release"]
        word = "no record" if release is None else "proved" if release["proved"] else "not proved"
        out.line(
            (f"  {word:<12}", "green" if word == "proved" else "bold red"),
            f"entry {item['index']}  {item['released_at']}  {item['key']}  {item['digest'][:16]}",
        )
        if release and (explain or not release["proved"]):
            _links(out, release)
    for reason in document["findings"]:
        out.line(
            ("  finding     ", "bold red"),
            f"{reason['subject']}: {reason['message']}: found {reason['found']}, expected {reason['expected']}  [{reason['code']}]",
        )
    if any(item["release"] and item["release"]["simulated"] for item in document["releases"]):
        from attest_cli.text import SIMULATED

        out.line((SIMULATED, "bold black on yellow"))
    risks = {risk["id"]: risk for item in document["releases"] if item["release"] for risk in item["release"]["risks"]}
    if risks:
        _risks(out, list(risks.values()))
