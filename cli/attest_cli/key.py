"""attest key: the keys of a broker. They are made inside the keystore, and none of these verbs can show one."""

from __future__ import annotations

import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.appraisal import KeyUse
from attest_cli.options import Broker, Json, now, print_json
from attest_cli.terminal import Page, say

if TYPE_CHECKING:
    from attest.release.keystore.key import KeyInfo
    from attest_cli import release_documents as doc
    from attest_cli.brokers import Desk

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the key.")]
Version = Annotated[int | None, typer.Option("--version", metavar="N", min=1, help="Version of the key. Default: the newest.")]
PolicyName = Annotated[str, typer.Option("--policy", metavar="DIR", help="Policy folder, or the name of one that ships.")]


@app.callback()
def key() -> None:
    """Keys of a broker: which there are, who may get them, and whether they are released at all."""


@app.command()
def create(
    name: Name,
    policy: PolicyName,
    broker: Broker,
    use: Annotated[
        KeyUse, typer.Option("--use", help="A test-only key may go to simulated and debuggable TEEs, and is marked everywhere.")
    ] = KeyUse.PRODUCTION,
    json: Json = False,
) -> None:
    """Make a key of 32 random bytes, bound to one policy. Makes the broker's folder too, when there is none.

    The key is made inside the keystore. It leaves only wrapped to a node that the policy permits.

    Examples:
      attest key create weights --policy h100x8-snp --broker lab/broker
      attest key create play --policy h100x8-snp \\
        --use test-only --broker lab/broker
    """
    from attest_cli.brokers import Desk
    from attest_cli.policies import load_policy

    loaded = load_policy(policy)
    desk = Desk.open_or_create(broker)
    info = desk.broker.keystore.add(name, use=use, policy=desk.keep(loaded), at=now())
    _print(desk, [info], json=json)
    say(f"next: attest challenge {name} --broker {broker}")


@app.command("list")
def list_(broker: Broker, json: Json = False) -> None:
    """List the newest version of every key.

    Examples:
      attest key list --broker lab/broker
      ATTEST_BROKER=lab/broker attest key list --json
    """
    desk = _open(broker)
    _print(desk, [desk.broker.keystore.info(name) for name in desk.broker.keystore.names()], json=json)


@app.command()
def show(name: Name, broker: Broker, json: Json = False) -> None:
    """Show every version of a key.

    Examples:
      attest key show demo --broker lab/broker
    """
    desk = _open(broker)
    _print(desk, list(desk.broker.keystore.versions(name)), json=json)


@app.command()
def rotate(name: Name, broker: Broker, json: Json = False) -> None:
    """Make the next version of a key. Earlier versions stay; disable them when nothing needs them any more.

    Examples:
      attest key rotate demo --broker lab/broker
    """
    desk = _open(broker)
    _print(desk, [desk.broker.keystore.rotate(name, at=now())], json=json)


@app.command()
def disable(name: Name, broker: Broker, version: Version = None, json: Json = False) -> None:
    """Release a version of a key to nobody from now on.

    Examples:
      attest key disable demo --version 1 --broker lab/broker
    """
    _switch(name, broker, version, on=False, json=json)


@app.command()
def enable(name: Name, broker: Broker, version: Version = None, json: Json = False) -> None:
    """Release a disabled version of a key again.

    Examples:
      attest key enable demo --version 1 --broker lab/broker
    """
    _switch(name, broker, version, on=True, json=json)


@app.command()
def approve(name: Name, policy: PolicyName, broker: Broker, json: Json = False) -> None:
    """Bind all versions of a key to another policy, or to a newer issue of its policy.

    Examples:
      attest key approve demo --policy h100x8-snp --broker lab/broker
    """
    from attest_cli.policies import load_policy

    loaded = load_policy(policy)
    desk = _open(broker)
    _print(desk, list(desk.broker.keystore.approve(name, policy=desk.keep(loaded))), json=json)


@app.command()
def issuer(
    broker: Broker,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Also write the issuer's key, a public JWK, into a new file.")
    ] = None,
    json: Json = False,
) -> None:
    """Show what an auditor must be given: the issuer's public key and the ledger's verifier key. Neither is secret.

    Examples:
      attest key issuer --broker lab/broker
      attest key issuer --broker lab/broker --out lab/issuer.jwk
    """
    from attest.errors import UsageError

    desk = _open(broker)
    own, log = desk.broker.configuration, desk.broker.ledger
    if out is not None:
        if out.exists():
            raise UsageError.of(f"{out} is there already", fix="a key is never overwritten: name a new file")
        out.write_text(json_.dumps(own.issuer_key.to_jwk()) + "\n")
    document: doc.IssuerDoc = {
        "schema": "attest-issuer/1",
        "broker": own.broker,
        "issuer": own.issuer,
        "kid": own.issuer_key.thumbprint,
        "jwk": {name: str(value) for name, value in own.issuer_key.to_jwk().items()},
        "ledger_origin": log.origin,
        "vkey": log.vkey,
        "file": str(out) if out else "",
    }
    if json:
        print_json(document)
        return
    page = Page()
    page.line((document["issuer"], "bold"))
    for label, text in (
        ("broker", document["broker"]),
        ("kid", document["kid"]),
        ("jwk", json_.dumps(document["jwk"])),
        ("ledger", document["ledger_origin"]),
        ("vkey", document["vkey"]),
        ("written", document["file"]),
    ):
        if text:
            page.line(f"  {label:<8} {text}")


def _open(broker: Path) -> Desk:
    from attest_cli.brokers import Desk

    return Desk.open(broker)


def _switch(name: str, broker: Path, version: int | None, *, on: bool, json: bool) -> None:
    from attest.release.keystore.key import KeyState

    desk = _open(broker)
    keystore = desk.broker.keystore
    info = keystore.info(name, version)
    _print(desk, [keystore.set_state(name, info.version, KeyState.ENABLED if on else KeyState.DISABLED)], json=json)


def _document(desk: Desk, info: KeyInfo) -> doc.KeyVersionDoc:
    from attest.wire import format_time

    policy, serial = desk.policy_name(info)
    return {
        "name": info.name,
        "version": info.version,
        "state": info.state.value,
        "use": info.use.value,
        "policy": info.policy,
        "policy_name": policy,
        "policy_serial": serial,
        "created_at": format_time(info.created_at),
        "custody": info.custody.value,
    }


def _print(desk: Desk, infos: list[KeyInfo], *, json: bool) -> None:
    document: doc.KeysDoc = {
        "schema": "attest-keys/1",
        "broker": desk.broker.configuration.broker,
        "keys": [_document(desk, info) for info in infos],
    }
    if json:
        print_json(document)
        return
    out = Page()
    if not infos:
        out.line("no keys")
    for key in document["keys"]:
        style = "yellow" if key["use"] == "test-only" else ""
        out.line((f"{key['name']}  version {key['version']}  {key['state']}", "bold"), "  ", (key["use"], style))
        named = f"{key['policy_name']} serial {key['policy_serial']}" if key["policy_name"] else "files not at hand"
        out.line((f"  policy {key['policy'][:16]} ({named})  created {key['created_at']}  custody {key['custody']}", "dim"))
