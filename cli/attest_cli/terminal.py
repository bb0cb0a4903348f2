"""What goes to a person: safe text, errors and hints on stderr, progress.

The rules of every message: results on stdout, talk on stderr; an error is ``attest: error: ...`` in lower case without a full stop,
followed by ``attest: hint: ...`` lines with the next step. Text that comes from evidence is never printed as it is: control
characters, escape sequences and characters that change the direction of writing are shown as escapes.
"""

from __future__ import annotations

import os
import sys
import threading
import unicodedata
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from attest.errors import AttestError, Reason

if TYPE_CHECKING:
    from rich.console import Console

_PROGRESS_AFTER: Final = 0.7
"""Seconds of silence before a running command says what it does."""

_HIDDEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})


def safe(text: str) -> str:
    """``text`` on one line, with every control, format, private or unassigned character written as an escape (``\\x1b``)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _HIDDEN else char for char in text)


def _escape(char: str) -> str:
    code = ord(char)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


Piece = str | tuple[str, str]
"""Text, or text with its style."""


class Page:
    """Lines on stdout. Neither wraps nor reads markup: every line comes out as it was composed, and made safe.

    Styles cost loading rich, and are for terminals: into a pipe or a file goes plain text.
    """

    def __init__(self) -> None:
        self._console: Final = _console() if sys.stdout.isatty() else None

    def line(self, *pieces: Piece) -> None:
        """One line."""
        parts = [piece if isinstance(piece, tuple) else (piece, "") for piece in pieces]
        if self._console is None:
            sys.stdout.write("".join(safe(words) for words, _ in parts).rstrip() + "\n")
            return
        from rich.text import Text

        self._console.print(Text.assemble(*((safe(words), style) for words, style in parts)))

    def head(self, title: str) -> None:
        """A blank line and a heading."""
        self.line()
        self.line((title, "bold"))


def _console() -> Console:
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False, soft_wrap=True)


# -- errors ---------------------------------------------------------------------------------------------------------------


def say_error(message: str, hints: Iterable[str] = ()) -> None:
    """One error and its hints on stderr."""
    _talk("error", "1;31", message)
    for hint in hints:
        if hint:
            _talk("hint", "1;36", hint)


def say_warning(message: str) -> None:
    """Something that the caller should know, on stderr; never changes the exit code."""
    _talk("warning", "1;33", message)


def say(message: str) -> None:
    """Plain talk on stderr."""
    sys.stderr.write(f"attest: {safe(message)}\n")


def report(error: AttestError) -> None:
    """Every reason of a refusal, then each next step once."""
    fixes = list(dict.fromkeys(reason.fix for reason in error.reasons if reason.fix))
    for reason in error.reasons[:-1]:
        say_error(one_line(reason))
    say_error(one_line(error.reasons[-1]), fixes)


def one_line(reason: Reason) -> str:
    """ "gpu-3: check failed: debugging off at report 0x038: found on, expected off [floor.debug]"."""
    message = reason.message
    if message[1:2].islower():  # not "CRL", not "P-384"
        message = message[0].lower() + message[1:]
    text = f"{reason.subject}: {message}" if reason.subject else message
    if reason.where:
        text += f" at {reason.where}"
    details = [f"{word} {value}" for word, value in (("found", reason.found), ("expected", reason.expected)) if value]
    if details:
        text += ": " + ", ".join(details)
    return text if reason.code == "usage" else f"{text} [{reason.code}]"


def _talk(word: str, colour: str, message: str) -> None:
    label = f"attest: {word}:"
    if sys.stderr.isatty() and not os.environ.get("NO_COLOR"):
        label = f"\x1b[{colour}m{label}\x1b[0m"
    sys.stderr.write(f"{label} {safe(message)}\n")


def entries(number: int) -> str:
    """How many entries a ledger has, in words."""
    return f"{number} entry" if number == 1 else f"{number} entries"


# -- progress -------------------------------------------------------------------------------------------------------------


@contextmanager
def progress(what: str) -> Iterator[None]:
    """Say on stderr what takes so long, after a moment, and only to a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    watcher = threading.Thread(target=_spin, args=(what, done), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _spin(what: str, done: threading.Event) -> None:
    if done.wait(_PROGRESS_AFTER):
        return
    from rich.console import Console

    with Console(stderr=True).status(safe(what), spinner="line"):
        done.wait()
