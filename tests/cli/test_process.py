"""The installed command as a process of its own: exit codes, the two streams, a closed pipe, and what its start loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-c", "from attest_cli.main import main; main()"]


def process(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ATTEST_")}
    return subprocess.run([*COMMAND, *words], capture_output=True, text=True, check=False, env=clean | environment)


def test_version_and_help() -> None:
    version = process("--version")
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.startswith("attest 0.")
    helped = process("--help", COLUMNS="100")
    assert helped.returncode == 0
    for word in ("attest simulate trust --pki lab/pki", "verify", "audit", "Exit codes"):
        assert word in helped.stdout
    assert "\x08" not in helped.stdout


def test_nothing_to_do_is_usage() -> None:
    assert process().returncode == 2


def test_streams_and_exit_codes(lab: Path) -> None:
    refused = process("verify", "lab/node", "--trust", "lab/pki/trust.json", "--json")
    assert refused.returncode == 5
    assert json.loads(refused.stdout)["exit_code"] == 5
    assert refused.stderr.startswith("attest: error: lab/node: ")
    assert "attest: hint: " in refused.stderr
    wrong = process("verify", "lab/none")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    forged = process("verify", "lab/node")
    assert forged.returncode == 4


def test_whoever_reads_may_go_away(lab: Path) -> None:
    """Into a closed pipe: no traceback, and never the exit code of a yes."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", encoding="utf-8") as closed:
        done = subprocess.run([*COMMAND, "checks"], stdout=closed, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 141
    assert done.stderr == ""


def test_the_environment_names_the_broker(lab: Path) -> None:
    listed = process("key", "list", ATTEST_BROKER="lab/broker")
    assert listed.returncode == 0
    assert "demo  version" in listed.stdout


def test_a_bug_shows_its_traceback_when_asked() -> None:
    script = "import attest_cli.options as o; o.now = lambda: 1 / 0; from attest_cli.main import main; main()"
    for environment, shown in (({}, False), ({"ATTEST_DEBUG": "1"}, True)):
        done = subprocess.run(
            [sys.executable, "-c", script, "verify", "x"], capture_output=True, text=True, check=False, env=os.environ | environment
        )
        assert done.returncode == 1
        assert "attest: error: internal error: ZeroDivisionError" in done.stderr
        assert ("Traceback" in done.stderr) is shown


@pytest.mark.parametrize(
    ("line", "never"),
    [
        ("--version", ("attest.bundle", "cryptography", "rich", "jinja2", "cedarpy", "lxml", "requests")),
        ("trust list", ("rich", "jinja2", "cedarpy", "lxml", "requests", "attest.kinds")),
        ("verify lab/node --trust lab/pki/trust.json", ("rich", "jinja2", "cedarpy", "requests", "attest.release", "attest.ledger")),
    ],
)
def test_a_verb_loads_what_it_needs_and_no_more(lab: Path, line: str, never: tuple[str, ...]) -> None:
    script = (
        "import sys, io, contextlib\nfrom attest_cli.main import run\n"
        "with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        f"    run({line.split()!r})\n"
        "print(' '.join(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) & set(never) == set()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completion(shell: str) -> None:
    script = process("--show-completion", shell, _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert script.returncode == 0
    assert "_ATTEST_COMPLETE" in script.stdout


def test_completion_knows_verbs_and_options() -> None:
    verbs = process(_ATTEST_COMPLETE="complete_bash", COMP_WORDS="attest ver", COMP_CWORD="1")
    assert verbs.stdout.split() == ["verify"]
    options = process(_ATTEST_COMPLETE="complete_bash", COMP_WORDS="attest verify --pol", COMP_CWORD="2")
    assert options.stdout.split() == ["--policy"]
