"""Run the command blocks of a document, in order, in one shell, and hold every command to the exit code that the page states.

    python tests/documents.py docs/tutorial.md [--show] [--into FOLDER]

A command's exit code is 0 unless its line ends in ``# exit N``. With --show, headings, commands and output are printed as they come.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_BLOCK = re.compile(r"^(?P<heading>#+ [^\n]*)$|^```sh\n(?P<block>.*?)^```$", re.MULTILINE | re.DOTALL)
_EXIT = re.compile(r"\s*# exit (\d+)\s*$")
_HERE_DOCUMENT = re.compile(r"<<-?\s*'?(\w+)'?")


@dataclass(frozen=True)
class Step:
    """A command, the exit code that the page states, and the heading above it."""

    command: str
    expected: int
    heading: str


def steps(text: str) -> list[Step]:
    """The commands of a page. A line that ends in a backslash or opens a here-document goes on."""
    found: list[Step] = []
    heading = ""
    for match in _BLOCK.finditer(text):
        if match["heading"]:
            heading = match["heading"].lstrip("# ")
            continue
        lines = iter(match["block"].splitlines())
        for line in lines:
            command = [line]
            until = _HERE_DOCUMENT.search(line)
            if until:
                for more in lines:
                    command.append(more)
                    if more == until[1]:
                        break
            while command[-1].endswith("\\"):
                command.append(next(lines))
            stated = _EXIT.search(command[-1])
            joined = _EXIT.sub("", "\n".join(command))
            if joined.strip() and not joined.lstrip().startswith("#"):
                found.append(Step(joined, int(stated[1]) if stated else 0, heading))
    return found


def run(page: Path, folder: Path, *, show: bool) -> list[str]:
    """Run a page's commands in ``folder``; returns what did not exit as stated."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for name in ("fixtures", "policies", "docs", ".venv"):
        (folder / name).symlink_to(ROOT / name)
    environment = dict(os.environ, PATH=f"{Path(sys.executable).parent}:{os.environ['PATH']}", COLUMNS="120")
    wrong: list[str] = []
    with subprocess.Popen(
        ["bash"], cwd=folder, env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        heading = ""
        for number, step in enumerate(steps(page.read_text())):
            if show and step.heading != heading:
                heading = step.heading
                print(f"\n\033[1m{heading}\033[0m" if sys.stdout.isatty() else f"\n== {heading}", flush=True)
            if show:
                print(f"\n$ {step.command}", flush=True)
            mark = f"__done_{number}_"
            shell.stdin.write(f"{step.command}\necho {mark}$?\n")
            shell.stdin.flush()
            output: list[str] = []
            status = ""
            for line in shell.stdout:
                if mark in line:
                    before, _, status = line.strip().partition(mark)
                    output += [before] if before else []
                    break
                output.append(line.rstrip("\n"))
                if show:
                    print("  " + output[-1], flush=True)
            if status != str(step.expected):
                wrong.append(f"{page.name}: {step.command}: exit {status or 'none'}, stated {step.expected}\n" + "\n".join(output[-30:]))
        shell.stdin.close()
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("pages", nargs="+", type=Path)
    parser.add_argument("--show", action="store_true")
    parser.add_argument("--into", type=Path)
    arguments = parser.parse_args()
    started = time.monotonic()
    wrong: list[str] = []
    count = 0
    for page in arguments.pages:
        with tempfile.TemporaryDirectory() as temporary:
            wrong += run(page, arguments.into or Path(temporary) / "run", show=arguments.show)
        count += len(steps(page.read_text()))
    for problem in wrong:
        print(f"\nNOT AS STATED: {problem}")
    names = ", ".join(page.name for page in arguments.pages)
    print(f"\n{names}: {count} commands, {count - len(wrong)} as stated, {time.monotonic() - started:.1f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
