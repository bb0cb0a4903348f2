"""attest challenge: a fresh nonce for a session that wants a key."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest_cli.options import Broker, Json, now, print_json
from attest_cli.terminal import say

if TYPE_CHECKING:
    from attest_cli import release_documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)


@app.command()
def challenge(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Name of the key that is wanted.")], broker: Broker, json: Json = False
) -> None:
    """Issue a nonce. Evidence must be collected for it, and it is good for one release within minutes.

    Prints the nonce alone on stdout, so that it can go straight into a collector.

    Examples:
      attest challenge demo --broker lab/broker
      attest challenge demo --broker lab/broker --json
    """
    from attest import limits
    from attest.wire import format_time
    from attest_cli.brokers import Desk

    desk, at = Desk.open(broker), now()
    nonce = desk.broker.challenge(key, at=at)
    expires = format_time(at + limits.CHALLENGE_LIFE)
    document: doc.ChallengeDoc = {
        "schema": "attest-challenge/1",
        "broker": desk.broker.configuration.broker,
        "key": key,
        "nonce": nonce.hex(),
        "expires_at": expires,
    }
    if json:
        print_json(document)
    else:
        sys.stdout.write(nonce.hex() + "\n")
        say(f"collect the evidence for this nonce before {expires}")
