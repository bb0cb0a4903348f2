"""Checking a policy: every error and warning at once, each with its place. Loading uses the same function, so they cannot differ."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from attest.crypto import sha256
from attest.evidence import ClaimSet
from attest.policy import engine
from attest.policy.finding import (
    MANIFEST,
    REFERENCE,
    RULES,
    Finding,
    FindingError,
    Position,
    Severity,
    did_you_mean,
    sort_key,
)
from attest.policy.lint import lint
from attest.policy.manifest import Manifest, read_manifest
from attest.policy.reference import Reference, place_of, read_reference
from attest.policy.rule import Rule, read_rule
from attest.policy.scan import Source, Statement, scan
from attest.policy.schema import KindOfDevice, Vocabulary, version_forms, vocabulary_of
from attest.wire import Json, canonical_json

FILES: Final = (MANIFEST, RULES, REFERENCE)
_CONSEQUENCES: Final = ("P204", "P206")  # "is not used" is what a misspelt name looks like from the other side
_EXACT: Final = 2**53 - 1  # RFC 8785 numbers end here


@dataclass(frozen=True, slots=True)
class Sound:
    """A policy without an error, read: what loading needs."""

    manifest: Manifest
    reference: Reference
    vocabulary: Vocabulary
    rules: tuple[Rule, ...]
    text: str
    rules_digest: str


@dataclass(frozen=True, slots=True)
class Examination:
    """The result of checking: all findings in order of place, and the policy when none of them is an error."""

    findings: tuple[Finding, ...]
    sound: Sound | None

    @property
    def errors(self) -> tuple[Finding, ...]:
        """Findings that keep the policy from being loaded."""
        return tuple(finding for finding in self.findings if finding.severity is Severity.ERROR)


def examine(files: Mapping[str, bytes], kinds: Sequence[KindOfDevice], workload: type[ClaimSet]) -> Examination:
    """Check the files of a policy against the claims of these kinds and of the workload."""
    findings = list(_names(files))
    if findings:
        return Examination(tuple(findings), None)
    manifest = read_manifest(files[MANIFEST])
    reference, problems = read_reference(files[REFERENCE], version_forms([kind.claims_type for kind in kinds]))
    findings += problems
    if isinstance(manifest, Finding):
        findings.append(manifest)
    if reference is not None:
        findings += _kinds(reference, kinds, files[REFERENCE])
    vocabulary = vocabulary_of(kinds, workload, reference) if reference is not None else None
    source: Source | None = None
    form: Mapping[str, Json] = {}
    rules: tuple[Rule, ...] = ()
    try:
        source = scan(files[RULES])
        form = _parse(source)
    except FindingError as error:
        findings.append(error.finding)
    else:
        rules, outside = _read(form, source)
        findings += outside
        if vocabulary is not None and not outside:
            findings += (_placed(finding, files[REFERENCE]) for finding in lint(rules, vocabulary))
            findings += _second_opinion(source, vocabulary, rules, findings)
    broken = any(finding.severity is Severity.ERROR for finding in findings)
    kept = [finding for finding in findings if not (broken and finding.code in _CONSEQUENCES)]
    found = tuple(sorted(dict.fromkeys(kept), key=sort_key))
    if broken or isinstance(manifest, Finding):
        return Examination(found, None)
    if source is None or reference is None or vocabulary is None:
        raise AssertionError("a policy without errors that was not read")
    return Examination(found, Sound(manifest, reference, vocabulary, rules, source.text, _digest(form)))


def _names(files: Mapping[str, bytes]) -> Iterator[Finding]:
    for name in FILES:
        if name not in files:
            yield Finding("P100", f"the policy has no {name}", name, meant=f"a policy is {', '.join(FILES)}")
    for name in sorted(set(files) - set(FILES)):
        yield Finding("P100", f"{name} is no part of a policy", name, meant=f"a policy is {', '.join(FILES)}")


def _kinds(reference: Reference, kinds: Sequence[KindOfDevice], data: bytes) -> Iterator[Finding]:
    known = [kind.name for kind in kinds]
    for name in reference.topology:
        if name not in known:
            meant = did_you_mean(name, known, label="kinds of evidence")
            yield Finding("P105", f"{name!r} is not a kind of evidence", REFERENCE, place_of(data, name), found=name, meant=meant)


def _placed(finding: Finding, reference: bytes) -> Finding:
    """A finding about a reference value, with its place in the file."""
    if finding.file != REFERENCE:
        return finding
    return Finding(finding.code, finding.message, REFERENCE, place_of(reference, finding.found), "", finding.found, finding.meant)


# -- parsing --------------------------------------------------------------------------------------------------------------


def _parse(source: Source) -> Mapping[str, Json]:
    """The engine's form of the rules. Raises :class:`FindingError` P107 at the word where the first broken rule breaks."""
    try:
        form = engine.parse(source.text)
    except engine.EngineError as error:
        for statement in source.statements:
            message = _refusal(statement.text)
            if message:
                place = _break(statement, message)
                raise FindingError(Finding("P107", message, RULES, place, meant=_hint(message))) from None
        raise FindingError(Finding("P107", str(error), RULES)) from None
    if not isinstance(form, dict):
        raise AssertionError("the engine's form is not an object")
    return form


def _refusal(text: str) -> str:
    try:
        engine.parse(text)
    except engine.EngineError as error:
        return str(error)
    return ""


_ENDED: Final = "unexpected end of input"
_NAMED: Final = re.compile(r"`([^`]+)`|'([^']+)'|: (\S+)$")


def _break(statement: Statement, message: str) -> Position:
    """Where a rule breaks: the last word of its shortest beginning that no continuation can mend."""
    tokens = statement.tokens
    if message.startswith("unexpected token"):
        start = tokens[0].start
        low, high = 0, len(tokens) - 1
        while low < high:
            middle = (low + high) // 2
            if _refusal(statement.text[: tokens[middle].end - start]).startswith(_ENDED):
                low = middle + 1
            else:
                high = middle
        return tokens[low].at
    named = _NAMED.search(message)
    word = next(filter(None, named.groups()), "") if named else ""
    return next((token.at for token in tokens if token.text == word), statement.at)


def _hint(message: str) -> str:
    if message.startswith("invalid variable"):
        return 'claims are principal.NAME, reference values resource.NAME, values of vocabularies Name::"value"'
    if "is not a valid method" in message:
        return "methods: contains, containsAll, containsAny, isEmpty"
    if "'='" in message:
        return "equality is =="
    if message.startswith("invalid policy effect"):
        return "a rule begins with permit or forbid"
    return ""


def _read(form: Mapping[str, Json], source: Source) -> tuple[tuple[Rule, ...], tuple[Finding, ...]]:
    """Rules in the order of the text, and what is outside the language subset."""
    rules: list[Rule] = []
    findings: list[Finding] = []
    static, templates = _members(form, "staticPolicies"), _members(form, "templates")
    if len(static) + len(templates) != len(source.statements) or form.get("templateLinks"):
        return (), (Finding("P107", "the engine reads another number of rules than stand here", RULES),)
    for index, statement in enumerate(source.statements):
        name = f"policy{index}"
        if name in templates:
            findings.append(Finding("P108", "templates cannot be used in a release policy", RULES, statement.at))
            continue
        try:
            rules.append(read_rule(static.get(name), statement))
        except FindingError as error:
            findings.append(error.finding)
    return tuple(rules), tuple(findings)


def _members(form: Mapping[str, Json], name: str) -> Mapping[str, Json]:
    value = form.get(name)
    return value if isinstance(value, dict) else {}


def _second_opinion(source: Source, vocabulary: Vocabulary, rules: Sequence[Rule], found: Sequence[Finding]) -> Iterator[Finding]:
    """What the engine's validator refuses and nothing here did; its messages have no place but the rule."""
    places = {finding.rule for finding in found if finding.severity is Severity.ERROR}
    for index, message in engine.validate(source.text, vocabulary.text):
        rule = rules[index] if index < len(rules) else None
        if rule is None or rule.id not in places:
            yield Finding("P115", message, RULES, rule.at if rule else Position(), rule.id if rule else "")


# -- identity -------------------------------------------------------------------------------------------------------------


def _digest(form: Mapping[str, Json]) -> str:
    """Hex SHA-256 over the rules by their ids, as parsed: neither layout nor comments nor order matter (RFC 8785)."""
    rules: dict[str, Json] = {}
    for body in _members(form, "staticPolicies").values():
        annotations = body.get("annotations") if isinstance(body, dict) else None
        name = annotations.get("id") if isinstance(annotations, dict) else None
        if not isinstance(name, str) or name in rules:
            raise AssertionError("a rule without an id of its own")
        rules[name] = _exact(body)
    return sha256(canonical_json({"format": "attest-rules/1", "rules": rules})).hex()


def _exact(value: Json) -> Json:
    """Numbers that RFC 8785 cannot write become text that says so."""
    if isinstance(value, dict):
        return {name: _exact(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_exact(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _EXACT:
        return {"long": str(value)}
    return value
