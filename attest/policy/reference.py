"""Reference data: the values that rules compare claims with, in a typed file beside them.

Rules change yearly and reference values weekly; a change of one is not a change of the other, and each has its own digest. Every
value says why it has its value. Unset never means unchecked: a value that is missing or empty is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from attest import limits
from attest.crypto import sha256
from attest.errors import MalformedError
from attest.policy.finding import REFERENCE, Finding, Position, did_you_mean
from attest.versions import VersionForm
from attest.wire import Fields, canonical_json, json_value

FORMAT: Final = "attest-reference/1"
AGE: Final = "max_evidence_age_seconds"
"""Name under which rules see the age bound of the file."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
_RESERVED: Final = frozenset({"true", "false", "if", "then", "else", "in", "is", "like", "has", AGE})
_LONG_HEX: Final = re.compile(r"[0-9a-fA-F]{32,}\Z")
MAX_AGE: Final = timedelta(days=1)


class ReferenceType(StrEnum):
    """Types of reference values; a version is written as people write it and compared as a number."""

    SET = "set"
    LONG = "long"
    TEXT = "text"
    VERSION = "version"


ReferenceContent = int | str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ReferenceValue:
    """One value. ``value`` is what rules compare with, ``human`` how a person writes it, ``why`` where it comes from.

    ``form`` is set exactly for a version.
    """

    name: str
    type: ReferenceType
    value: ReferenceContent
    human: str
    why: str
    form: VersionForm | None = None


@dataclass(frozen=True, slots=True)
class Reference:
    """The whole file. ``topology`` is kind name to number of devices; ``digest`` hex SHA-256 of its canonical form (RFC 8785)."""

    topology: Mapping[str, int]
    max_evidence_age: timedelta
    values: Mapping[str, ReferenceValue]
    digest: str


class _ProblemError(Exception):
    def __init__(self, code: str, message: str, *, found: str = "", meant: str = "") -> None:
        super().__init__(message)
        self.finding: Final = Finding(code, message, REFERENCE, found=found, meant=meant)


def read_reference(data: bytes, forms: Mapping[str, VersionForm]) -> tuple[Reference | None, tuple[Finding, ...]]:
    """Read ``reference.json``. The reference is None exactly when a finding is an error (P121 to P123).

    ``forms`` is the form of every claim that is a packed version: a version says of which claim it is, and is packed as that claim is.
    """
    try:
        fields = Fields.parse(data, REFERENCE, limit=limits.MAX_REFERENCE_BYTES)
        fields.choice("format", _is_format)
        topology = dict(_topology(fields.object("topology")))
        age = fields.integer(AGE, least=1, most=int(MAX_AGE.total_seconds()))
        names = fields.object("values")
        fields.done()
    except MalformedError as error:
        return None, tuple(_malformed(error))
    except _ProblemError as problem:
        return None, (problem.finding,)
    values: dict[str, ReferenceValue] = {}
    findings: list[Finding] = []
    for name in names.names():
        found: list[Finding] = []
        try:
            values[name] = _value(name, names.object(name), forms)
        except MalformedError as error:
            found += _malformed(error)
        except _ProblemError as problem:
            found.append(problem.finding)
        findings += [replace(finding, position=place_of(data, name)) for finding in found]
    if findings:
        return None, tuple(findings)
    digest = sha256(canonical_json(json_value(data, REFERENCE))).hex()
    return Reference(MappingProxyType(topology), timedelta(seconds=age), MappingProxyType(values), digest), ()


def place_of(data: bytes, name: str) -> Position:
    """Where a member of that name first stands in JSON text."""
    before, found, _ = data.decode("utf-8", "replace").partition(f'"{name}"')
    return Position(before.count("\n") + 1, len(before) - before.rfind("\n")) if found else Position()


def _is_format(text: str) -> str:
    if text != FORMAT:
        raise ValueError(text)
    return text


def _malformed(error: MalformedError) -> Iterator[Finding]:
    for reason in error.reasons:
        place = re.match(r"line (\d+) column (\d+)", reason.where)
        at = Position(int(place[1]), int(place[2])) if place else Position()
        meant = f"expected {reason.expected}" if reason.expected else ""
        yield Finding("P121", reason.message, REFERENCE, at, found=reason.found, meant=meant)


def _topology(fields: Fields) -> Iterator[tuple[str, int]]:
    if not fields.names():
        raise _ProblemError(
            "P121", "the topology is empty", meant="name every kind of device and how many there must be: nothing proves nothing"
        )
    for kind in fields.names():
        yield kind, fields.integer(kind, least=1, most=limits.MAX_DEVICES)


def _value(name: str, fields: Fields, forms: Mapping[str, VersionForm]) -> ReferenceValue:
    if not _NAME.match(name) or name in _RESERVED:
        raise _ProblemError(
            "P121", f"{name!r} cannot be the name of a reference value", meant="lower-case letters, digits and _, no Cedar keyword"
        )
    kind = fields.choice("type", ReferenceType)
    why = fields.text("why").strip()
    if len(why) < 8:
        raise _ProblemError("P121", f"{name}: why is too short", found=repr(why), meant="say where the value comes from and when")
    if fields.value("value") is None:
        raise _ProblemError(
            "P122", f"{name} has no value", meant="unset never means unchecked: give a value, or remove the requirement from the rules"
        )
    form = _form(name, fields, forms) if kind is ReferenceType.VERSION else None
    content, human = _content(name, kind, form, fields)
    empty = fields.optional("empty_because", fields.text)
    if not content and not isinstance(content, int) and len((empty or "").strip()) < 8:
        raise _ProblemError("P122", f"{name} is empty", meant='say why with "empty_because", or give a value')
    if empty is not None and (content or isinstance(content, int)):
        raise _ProblemError("P121", f"{name} is not empty but says why it is", meant='remove "empty_because"')
    fields.done()
    return ReferenceValue(name, kind, content, human, why, form)


def _form(name: str, fields: Fields, forms: Mapping[str, VersionForm]) -> VersionForm:
    claim = fields.text("of")
    if claim not in forms:
        raise _ProblemError(
            "P121", f"{name} is not the version of a claim", found=claim, meant=did_you_mean(claim, forms, label="claims that are versions")
        )
    return forms[claim]


def _content(name: str, kind: ReferenceType, form: VersionForm | None, fields: Fields) -> tuple[ReferenceContent, str]:
    if kind is ReferenceType.LONG:
        number = fields.integer("value", most=2**53 - 1)  # RFC 8785 ends there, and with it the digest
        return number, str(number)
    if kind is ReferenceType.TEXT:
        text = _matchable(name, fields.text("value"))
        return text, text or "(empty)"
    if form is not None:
        text = fields.text("value")
        packed = form.pack(text)
        if packed is None:
            raise _ProblemError("P121", f"{name} is not a version", found=repr(text), meant=f"written like {form.example}")
        return packed, text
    items = tuple(_matchable(name, item) for item in fields.texts("value"))
    if len(set(items)) != len(items):
        raise _ProblemError("P121", f"{name} names a value twice")
    if "" in items:
        raise _ProblemError("P123", f"{name} holds the empty text", meant="remove it: an empty claim means that the device could not say")
    return items, ", ".join(items) or "(nothing)"


def _matchable(name: str, text: str) -> str:
    if text != text.strip():
        raise _ProblemError("P123", f"{name} holds a value with blanks around it", found=repr(text))
    if _LONG_HEX.match(text) and text != text.lower():
        raise _ProblemError("P123", f"{name} holds hex in upper case", found=text, meant=f"claims are in lower case: {text.lower()}")
    return text
