"""Host rule H1: read the text of rules before any parser does.

The engine's parser and everything that walks its result recurse, so size, brackets inside brackets, and the operators on the way down
one expression are bounded here. The scan also gives every word its place in the text, which the engine does not tell.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from attest import limits
from attest.errors import MalformedError
from attest.policy.finding import RULES, Finding, FindingError, Position
from attest.wire import utf8


class TokenKind(StrEnum):
    """Kinds of words in Cedar text."""

    NAME = "name"
    INTEGER = "integer"
    STRING = "string"
    MARK = "mark"


@dataclass(frozen=True, slots=True)
class Token:
    """One word of the text; ``start`` and ``end`` are character offsets."""

    kind: TokenKind
    text: str
    start: int
    end: int
    at: Position


@dataclass(frozen=True, slots=True)
class Statement:
    """The words of one rule, its semicolon included, and its text."""

    tokens: tuple[Token, ...]
    text: str

    @property
    def at(self) -> Position:
        """Where it begins."""
        return self.tokens[0].at


@dataclass(frozen=True, slots=True)
class Source:
    """Rules as text that is safe to parse, cut into statements."""

    text: str
    statements: tuple[Statement, ...]


# A comment ends at a line feed only: carriage returns are refused, because readers of this text disagree on them.
_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\r\n]+|//[^\n]*)
      | (?P<string>"(?:[^"\\]|\\.)*")
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<integer>[0-9]+)
      | (?P<mark>&&|\|\||==|!=|<=|>=|::|[-<>!+*/%=()\[\]{},;.@:?&|])""",
    re.VERBOSE,
)
_OPEN: Final = {"(": ")", "[": "]", "{": "}"}
_CLOSE: Final = frozenset(_OPEN.values())
_DEEPER: Final = frozenset({"&&", "||", "+", "-", "*", "/", "%", "!", "if"})
_FLAT: Final = frozenset({"==", "!=", "<", "<=", ">", ">=", "in", "like", "has", "is", "then", "else", ":"})


def _refuse(code: str, message: str, at: Position, *, found: str = "", meant: str = "") -> FindingError:
    return FindingError(Finding(code, message, RULES, at, found=found, meant=meant))


def scan(data: bytes) -> Source:
    """Bound and cut the text of ``rules.cedar``. Raises :class:`FindingError` (code P101, or P107 where the text cannot be Cedar)."""
    if len(data) > limits.MAX_POLICY_BYTES:
        raise _refuse(
            "P101", "rules are too long", Position(), found=f"{len(data)} bytes", meant=f"at most {limits.MAX_POLICY_BYTES} bytes"
        )
    try:
        text = utf8(data, RULES)
    except MalformedError as error:
        raise _refuse("P101", str(error), Position(), meant="save the file as UTF-8 without a byte order mark") from None
    _refuse_hidden(text)
    tokens = _bounded(_tokens(text))
    return Source(text, _statements(tokens, text))


def _refuse_hidden(text: str) -> None:
    """Refuse what a reviewer cannot see: control, format (bidirectional overrides, zero width), and private characters."""
    if text.isascii() and not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", text.replace("\r\n", "\n")):
        return
    line = column = 1
    for index, character in enumerate(text):
        if character == "\n":
            line, column = line + 1, 0
        elif character == "\r" and text[index + 1 : index + 2] == "\n":
            pass
        elif character != "\t" and unicodedata.category(character) in {"Cc", "Cf", "Co", "Cs", "Zl", "Zp"}:
            raise _refuse(
                "P101",
                "a character that readers cannot see",
                Position(line, column),
                found=f"U+{ord(character):04X}",
                meant="remove it: text that is reviewed must look like what it is",
            )
        column += 1


def _tokens(text: str) -> Iterator[Token]:
    line, line_start, offset = 1, 0, 0
    while offset < len(text):
        match = _TOKEN.match(text, offset)
        at = Position(line, offset - line_start + 1)
        if match is None:
            if text[offset] == '"':
                raise _refuse("P107", "a string is not closed", at, meant='add the missing "')
            raise _refuse("P107", "a character that Cedar does not use", at, found=text[offset])
        word = match[0]
        if match.lastgroup != "space":
            yield Token(TokenKind(match.lastgroup or ""), word, offset, match.end(), at)
        breaks = word.count("\n")
        if breaks:
            line += breaks
            line_start = offset + word.rindex("\n") + 1
        offset = match.end()


def _bounded(tokens: Iterator[Token]) -> tuple[Token, ...]:
    """All words, as long as bracket nesting and expression depth stay within bounds."""
    depth = _Depth()
    kept = []
    for token in tokens:
        depth.take(token)
        kept.append(token)
    if depth.opened:
        raise _refuse("P107", "a bracket is not closed", depth.opened[-1].at, found=depth.opened[-1].text)
    return tuple(kept)


class _Depth:
    """Upper bound of the depth of the expression at each word.

    That is one for every open bracket, plus at each level the operators since the last comma and the dots and indices behind the
    current operand.
    """

    def __init__(self) -> None:
        self.opened: Final[list[Token]] = []
        self._operators = [0]
        self._postfix = [0]
        self._outside = 0  # sum over all open levels but the innermost
        self._operand = False  # whether the last word ends an operand: a bracket behind it is an index or a call

    def take(self, token: Token) -> None:
        word = token.text if token.kind in (TokenKind.MARK, TokenKind.NAME) else ""
        if word in _OPEN:
            self._open(token)
        elif word in _CLOSE:
            self._close(token)
        elif word in (",", ";"):
            self._operators[-1] = self._postfix[-1] = 0
        elif word in _DEEPER:
            self._operators[-1] += 1
            self._postfix[-1] = 0
        elif word in _FLAT:
            self._postfix[-1] = 0
        elif word in (".", "::"):
            self._postfix[-1] += 1
        if self._outside + self._operators[-1] + self._postfix[-1] > limits.MAX_POLICY_DEPTH:
            raise _refuse(
                "P101",
                "an expression is too deep",
                token.at,
                meant=f"at most {limits.MAX_POLICY_DEPTH} operators and brackets on one way down: split the rule",
            )
        self._operand = token.kind in (TokenKind.NAME, TokenKind.STRING) or word in _CLOSE

    def _open(self, token: Token) -> None:
        self._postfix[-1] += self._operand
        self._outside += self._operators[-1] + self._postfix[-1] + 1
        self.opened.append(token)
        self._operators.append(0)
        self._postfix.append(0)
        if len(self.opened) > limits.MAX_POLICY_NESTING:
            raise _refuse("P101", "brackets are nested too deeply", token.at, meant=f"at most {limits.MAX_POLICY_NESTING}: split the rule")

    def _close(self, token: Token) -> None:
        if not self.opened or _OPEN[self.opened[-1].text] != token.text:
            message = "a bracket that nothing opened"
            if self.opened:
                open_at = self.opened[-1].at
                message = f"{token.text} does not close the {self.opened[-1].text} of line {open_at.line} column {open_at.column}"
            raise _refuse("P107", message, token.at, found=token.text)
        self.opened.pop()
        self._operators.pop()
        self._postfix.pop()
        self._outside -= self._operators[-1] + self._postfix[-1] + 1


def _statements(tokens: tuple[Token, ...], text: str) -> tuple[Statement, ...]:
    statements = []
    start = 0
    for index, token in enumerate(tokens):
        if token.text == ";" and token.kind is TokenKind.MARK:
            part = tokens[start : index + 1]
            statements.append(Statement(part, text[part[0].start : part[-1].end]))
            start = index + 1
    if start < len(tokens):
        last = tokens[-1]
        raise _refuse("P107", "the last rule does not end", last.at, found=last.text, meant="end every rule with ;")
    return tuple(statements)
