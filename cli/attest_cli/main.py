"""The `attest` command: one module per verb, loaded when the verb is used; errors and exit codes for all of them.

Exit codes: 0 yes or done, 1 a bug of ours, 2 usage, 3 malformed input, 4 not authentic, 5 refused, 6 cannot decide.
"""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import Abort, TyperException

from attest.errors import AttestError
from attest_cli.terminal import report, say_error

if TYPE_CHECKING:
    from typer._click import Command, Context


class Verb(NamedTuple):
    """One verb: the module that has its ``app``, and the heading under which ``attest --help`` lists it."""

    module: str
    panel: str


_JUDGE: Final = "Judge evidence"
_RELEASE: Final = "Release keys"
_NODE: Final = "On the node"
_AUDIT: Final = "Audit"
_HOUSE: Final = "Look things up"

VERBS: Final[dict[str, Verb]] = {
    "verify": Verb("attest_cli.verify", _JUDGE),
    "inspect": Verb("attest_cli.inspect", _JUDGE),
    "simulate": Verb("attest_cli.simulate", _JUDGE),
    "collateral": Verb("attest_cli.collateral", _JUDGE),
    "policy": Verb("attest_cli.policy", _JUDGE),
    "key": Verb("attest_cli.key", _RELEASE),
    "challenge": Verb("attest_cli.challenge", _RELEASE),
    "release": Verb("attest_cli.release", _RELEASE),
    "token": Verb("attest_cli.token", _RELEASE),
    "recipient": Verb("attest_cli.recipient", _NODE),
    "tpm": Verb("attest_cli.tpm", _NODE),
    "fetch-key": Verb("attest_cli.fetch_key", _NODE),
    "audit": Verb("attest_cli.audit", _AUDIT),
    "ledger": Verb("attest_cli.ledger", _AUDIT),
    "checks": Verb("attest_cli.checks", _HOUSE),
    "trust": Verb("attest_cli.trust", _HOUSE),
    "doctor": Verb("attest_cli.doctor", _HOUSE),
}


class Verbs(TyperGroup):
    """The verbs, each imported when it is asked for: `attest verify` must not pay for `attest release`."""

    def list_commands(self, ctx: Context) -> list[str]:  # noqa: ARG002
        return list(VERBS)

    def get_command(self, ctx: Context, cmd_name: str) -> Command | None:  # noqa: ARG002
        if cmd_name not in VERBS:
            return None
        if cmd_name not in self.commands:
            verb = VERBS[cmd_name]
            command = typer.main.get_command(import_module(verb.module).app)
            command.name = cmd_name
            if isinstance(command, TyperCommand | TyperGroup):
                command.rich_help_panel = verb.panel
            self.commands[cmd_name] = command
        return self.commands[cmd_name]


app: Final = typer.Typer(
    cls=Verbs,
    name="attest",
    rich_markup_mode="rich",
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"attest {version('attest')}\n")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def start(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="ATTEST_DEBUG", help="Show the Python traceback of an error. For reporting a bug.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)] = False,  # noqa: ARG001
) -> None:
    """Give a key only to hardware that proved itself, and leave a proof that anybody can check again.

    Judge recorded evidence of real hardware:

      attest verify fixtures/nvidia-gpu/h100-595.71.05

    Go the whole way with a simulated node, a policy and a broker of your own (all in lab/, which you can throw away):

      attest simulate trust --pki lab/pki
      attest key create demo --policy h100x8-snp \\
        --use test-only --broker lab/broker
      attest simulate node --pki lab/pki --out lab/node \\
        --nonce $(attest challenge demo --broker lab/broker)
      attest release demo lab/node --out lab/release \\
        --broker lab/broker --trust lab/pki/trust.json
      attest fetch-key demo lab/release --recipient lab/pki/recipient.key
      attest audit record lab/release/record.json \\
        --broker lab/broker --trust lab/pki/trust.json

    Exit codes: 0 yes or done, 1 a bug of ours, 2 usage, 3 malformed, 4 not authentic, 5 refused, 6 cannot decide.
    Results go to stdout, talk to stderr. Every verb that has --json prints one document, described in docs/json.md.
    """
    context.obj = {"debug": debug}
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit(2)


def run(arguments: Sequence[str]) -> int:
    """One command line. Returns the exit code; prints every error itself."""
    debug = os.environ.get("ATTEST_DEBUG", "0") not in ("", "0") or "--debug" in arguments[:1]
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name="attest", standalone_mode=False)
        sys.stdout.flush()
    except AttestError as refused:
        _traceback(debug)
        report(refused)
        return refused.exit_code
    except TyperException as wrong:
        return _usage(wrong)
    except Abort:
        say_error("stopped")
        return 130
    except BrokenPipeError:
        return _gone()
    except SystemExit as leaving:
        if isinstance(leaving.__context__, BrokenPipeError):  # typer turns it into its own exit code 1
            return _gone()
        raise
    except OSError as error:
        _traceback(debug)
        say_error(
            f"{error.strerror or type(error).__name__}: {error.filename or 'input or output'}".lower(),
            ["check the path and its permissions"],
        )
        return 2
    except Exception as bug:  # noqa: BLE001
        _traceback(debug)
        say_error(
            f"internal error: {_place(bug)}",
            ["this is a bug of attest, and no verdict: run again as 'attest --debug ...' and report what it prints"],
        )
        return 1
    return code if isinstance(code, int) else 0


def _gone() -> int:
    """Whoever read our output has gone: say nothing more, and let the interpreter's flush at exit find a place to write to."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.__stdout__.fileno() if sys.__stdout__ else 1)
    return 141


def _usage(wrong: TyperException) -> int:
    context = getattr(wrong, "ctx", None)
    message = wrong.format_message().rstrip(".").replace("Value error, ", "")
    message, _, meant = message.partition(". Did you mean ")
    hints = [f"did you mean {meant.rstrip('?')}?"] if meant else []
    if message.startswith("No such command"):
        close = difflib.get_close_matches(message.split("'")[1], VERBS) if context is not None and context.parent is None else []
        hints += [f"did you mean {' or '.join(repr(name) for name in close)}?"] if close else []
    hints.append(f"see {context.command_path if context is not None else 'attest'} --help")
    say_error(message[:1].lower() + message[1:], hints)
    return wrong.exit_code


def _place(bug: BaseException) -> str:
    """Kind and place of an unexpected exception. Its text stays out: nobody checked what it may hold."""
    trace = bug.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return type(bug).__name__
    return f"{type(bug).__name__} in {os.path.basename(trace.tb_frame.f_code.co_filename)} line {trace.tb_lineno}"


def _traceback(debug: bool) -> None:
    if debug:
        import traceback

        traceback.print_exc()


def main() -> NoReturn:
    """Entry point of the installed command."""
    sys.exit(run(sys.argv[1:]))
