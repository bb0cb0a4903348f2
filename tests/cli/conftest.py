"""The command run in this process, and one laboratory: the story of ``attest --help``, lived once for all tests."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest

from attest_cli.main import run

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Result:
    """What one command line gave."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> dict[str, Any]:
        """Standard output as the one JSON document that it must be."""
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


class Attest(Protocol):
    """``attest("verify lab/node", "--json", expect=5)``: words of the first argument are split as a shell does."""

    def __call__(self, line: str, *more: str, expect: int | None = None) -> Result: ...


def call(line: str, *more: str, expect: int | None = None) -> Result:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*shlex.split(line), *more])
    result = Result(code, out.getvalue(), err.getvalue())
    if expect is not None:
        assert code == expect, f"attest {line} {' '.join(more)}: exit {code}, expected {expect}\n{result.out}\n{result.err}"
    return result


@contextlib.contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Relative paths as a user types them."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


def load_tool(name: str) -> ModuleType:
    """A script of tools/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def document_cli() -> ModuleType:
    """The generator of docs/cli.md, docs/json.md and docs/schemas/."""
    return load_tool("document_cli")


@pytest.fixture
def attest(monkeypatch: pytest.MonkeyPatch) -> Attest:
    """The command, with nothing of the caller's environment."""
    for name in ("ATTEST_BROKER", "ATTEST_DEBUG", "ATTEST_CORPUS"):
        monkeypatch.delenv(name, raising=False)
    return call


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory, document_cli: ModuleType) -> tuple[Path, dict[str, Result]]:
    """A folder with fixtures/, policies/ and lab/ after the story of ``attest --help``, and what each of its commands gave."""
    folder = tmp_path_factory.mktemp("story")
    for name in ("fixtures", "policies"):
        (folder / name).symlink_to(ROOT / name)
    results: dict[str, Result] = {}
    with inside(folder):
        for line in document_cli.examples(document_cli.story()):
            results[line] = paste(line)
    return folder, results


@pytest.fixture
def lab(story: tuple[Path, dict[str, Result]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the story, as working directory. Shared: tests write only under names of their own."""
    monkeypatch.chdir(story[0])
    return story[0]


@pytest.fixture(name="paste")
def paste_fixture() -> Callable[[str], Result]:
    """Run a line of a help text as a shell would."""
    return paste


def paste(line: str) -> Result:
    """Run a line of a help text as a shell would: continued lines, and ``$(attest ...)`` replaced by what it prints."""
    line = line.replace("\\\n", " ")
    start = line.find("$(attest ")
    if start >= 0:
        end = line.index(")", start)
        inner = call(line[start + len("$(attest ") : end], expect=0)
        line = line[:start] + inner.out.strip() + line[end + 1 :]
    words = shlex.split(line)
    with pytest.MonkeyPatch.context() as patch:
        while "=" in words[0]:
            patch.setenv(*words.pop(0).split("=", 1))
        assert words[0] == "attest"
        return call(shlex.join(words[1:]))
