"""attest doctor: what this machine has, and what is missing."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Final

import typer

from attest.errors import EXIT_CODES, Outcome
from attest_cli.options import Json, now, print_json
from attest_cli.terminal import Page

if TYPE_CHECKING:
    from attest_cli import documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

_REQUIREMENT: Final = re.compile(r"([A-Za-z0-9._-]+?)\s*([<>=][<>=0-9.,]*)")
_EARLIEST: Final = datetime(2026, 11, 1, tzinfo=UTC)
"""No machine that runs this version can honestly be before this."""
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)


@app.command()
def doctor(json: Json = False) -> int:
    """Look at Python, libraries, policies and the clock, and say what is missing.

    Examples:
      attest doctor
      attest doctor --json
    """
    items = [item for look in LOOKS for item in look()]
    code = EXIT_CODES[Outcome.CANNOT_DECIDE] if any(item["status"] == "problem" for item in items) else 0
    document: doc.DoctorDoc = {"schema": "attest-doctor/1", "exit_code": code, "items": items}
    if json:
        print_json(document)
        return code
    out = Page()
    for item in items:
        style = {"ok": "green", "note": "yellow", "problem": "bold red"}[item["status"]]
        out.line((f"{item['status']:<8}", style), f"{item['name']:<22} {item['found']}")
        if item["fix"]:
            out.line((f"{'':<8}{item['fix']}", "dim"))
    return code


def _ok(name: str, found: str) -> doc.DoctorItemDoc:
    return {"name": name, "status": "ok", "found": found, "fix": ""}


def _note(name: str, found: str, fix: str) -> doc.DoctorItemDoc:
    return {"name": name, "status": "note", "found": found, "fix": fix}


def _problem(name: str, found: str, fix: str) -> doc.DoctorItemDoc:
    return {"name": name, "status": "problem", "found": found, "fix": fix}


def _software() -> Iterator[doc.DoctorItemDoc]:
    yield _ok("attest", metadata.version("attest"))
    yield _ok("python", f"{platform.python_version()} ({platform.machine()})")
    for line in metadata.requires("attest") or ():
        requirement = _REQUIREMENT.match(line)
        if requirement is None or "extra ==" in line:
            continue
        name, wanted = requirement.groups()
        try:
            found = metadata.version(name)
        except metadata.PackageNotFoundError:
            yield _problem(name, "missing", f"pip install '{name}{wanted}'")
            continue
        if all(_satisfies(found, clause) for clause in wanted.split(",")):
            yield _ok(name, f"{found} (wants {wanted})")
        else:
            yield _problem(name, f"{found}, wants {wanted}", f"pip install '{name}{wanted}'")


def _satisfies(version: str, clause: str) -> bool:
    """Whether a version is in one half of a range; our own requirements have no other form than ``>=`` and ``<``."""
    numbers = [int(part) for part in re.findall(r"\d+", version)[:3]]
    bound = [int(part) for part in re.findall(r"\d+", clause)]
    return numbers >= bound if clause.startswith(">=") else numbers < bound


def _cryptography() -> Iterator[doc.DoctorItemDoc]:
    from cryptography.hazmat.backends.openssl import backend
    from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey

    yield _ok("openssl", backend.openssl_version_text())
    try:
        MLKEM768PrivateKey.generate()
        yield _ok("post-quantum", "ML-KEM-768 works")
    except Exception as error:  # noqa: BLE001
        yield _problem("post-quantum", f"ML-KEM-768 does not work: {type(error).__name__}", "use a build of cryptography that has it")


def _policies() -> Iterator[doc.DoctorItemDoc]:
    from attest.policy.shipped import shipped_names, shipped_policies

    names = shipped_names()
    if names:
        yield _ok("shipped policies", f"{', '.join(names)} in {shipped_policies()}")
    else:
        yield _problem("shipped policies", f"none in {shipped_policies()}", "install the package again, or name policy folders yourself")


def _kinds() -> Iterator[doc.DoctorItemDoc]:
    from attest.kinds import KINDS

    yield _ok("kinds of evidence", ", ".join(f"{kind.name} ({kind.title})" for kind in KINDS))


def _corpus() -> Iterator[doc.DoctorItemDoc]:
    folder = os.environ.get("ATTEST_CORPUS", "")
    if not folder:
        yield _note("corpus", "ATTEST_CORPUS is not set", "only needed to run the project's own tests on real evidence")
    elif Path(folder).is_dir():
        yield _ok("corpus", folder)
    else:
        yield _problem("corpus", f"ATTEST_CORPUS names {folder}, which is no folder", "unset it, or name the folder of real evidence")


def _clock() -> Iterator[doc.DoctorItemDoc]:
    time = now()
    text = time.strftime("%Y-%m-%dT%H:%M:%SZ")
    if not _EARLIEST <= time <= _LATEST:
        yield _problem("clock", text, "set the clock: validity of certificates and freshness of evidence rest on it")
    else:
        yield _ok("clock", f"{text} (not before this version was made; no more can be said without the network)")


LOOKS: Final[tuple[Callable[[], Iterator[doc.DoctorItemDoc]], ...]] = (_software, _cryptography, _kinds, _policies, _corpus, _clock)
