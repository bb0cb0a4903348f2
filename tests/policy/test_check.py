"""Every finding has a policy that breaks exactly that rule, and is found at its place."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from attest.errors import MalformedError
from attest.policy import engine
from attest.policy.finding import CODES, Severity
from attest.wire import Json

if TYPE_CHECKING:
    from conftest import Kit


def test_the_usual_policy_has_no_finding(kit: Kit) -> None:
    assert kit.findings(kit.files()) == ()


# code, words of the message or hint, old text, new text, (line, column) of the place
SECOND = """resource%s) when { %s };
@id("x") @description("x") @owner("x")
permit(principal is Board, action == Action::"accept", resource)
when"""

IN_RULES = [
    ("P102", "Did you mean 'debug'?", "principal.debug ==", "principal.debgu ==", (8, 13)),
    ("P102", "Did you mean 'colour'? That is what COLOUR is", "contains(principal.colour", "contains(principal.COLOUR", (10, 55)),
    ("P102", "does not exist for Chip", "principal.image", "principal.colour", (22, 38)),
    ("P102", "no context", "principal.level <= 9", "context.level <= 9", (11, 35)),
    ("P103", "Did you mean 'off'? values: off, on, unknown", 'Debug::"off"', 'Debug::"OFF"', (8, 29)),
    ("P103", "Did you mean 'good'?", 'Revocation::"good"', 'Revocation::"god"', (9, 39)),
    ("P104", "Did you mean 'min_bios'?", "resource.min_bios", "resource.min_boos", (13, 30)),
    ("P105", "Did you mean 'Colour'", 'Colour::"red"', 'Color::"red"', (10, 11)),
    ("P105", "Did you mean 'Board'?", "principal is Board", "principal is Baord", (6, 21)),
    ("P105", "Did you mean 'accept'?", 'Board, action == Action::"accept"', 'Board, action == Action::"acept"', (6, 46)),
    ("P105", "never asked for release", 'Board, action == Action::"accept"', 'Board, action == Action::"release"', (6, 21)),
    ("P105", "name its one action", 'Board, action == Action::"accept"', "Board, action", (1, 1)),
    ("P105", "resource of a rule is a key", '"accept", resource)', '"accept", resource is Board)', (1, 1)),
    ("P106", "a value of Debug with a value of Colour", 'principal.debug == Debug::"off"', 'principal.debug == Colour::"red"', (8, 13)),
    ("P106", 'write Debug::"off"', 'Debug::"off"', '"off"', (8, 13)),
    ("P106", "not a number", "principal.level >= 5", 'principal.level >= "5"', (11, 13)),
    ("P106", "not true or false", "principal.level >= 5", "principal.level", (11, 13)),
    ("P106", "version like 550.90.07", "principal.firmware >= resource.min_firmware", "principal.firmware >= resource.min_level", (12, 34)),
    ("P106", "96.00.9F.00.01", "principal.firmware >= resource.min_firmware", "principal.firmware >= resource.min_bios", (12, 34)),
    ("P106", "a set of", '[Colour::"red", Colour::"green"]', '[Colour::"red", Shape::"round"]', (10, 26)),
    ("P106", "not a set", "resource.tolerated.containsAll", "resource.min_level.containsAll", (14, 12)),
    ("P106", "empty set", '[Colour::"red", Colour::"green"]', "[]", (1, 1)),
    ("P107", "unexpected token", "principal.level >= 5 &&", "principal.level >= &&", (11, 22)),
    ("P107", "equality is ==", 'principal.debug == Debug::"off"', 'principal.debug = Debug::"off"', (8, 19)),
    ("P107", "principal.NAME", "principal.level >= 5", "level >= 5", (11, 3)),
    ("P107", "methods: contains", ".containsAll(", ".subsetOf(", (14, 22)),
    ("P107", "begins with permit or forbid", "permit(principal is Board", "allow(principal is Board", (6, 1)),
    ("P107", "} does not close the ( of line 10 column 44", "contains(principal.colour)", "contains(principal.colour", (15, 1)),
    ("P107", "nothing opened", "{", "", None),
    ("P107", "is not closed", "}", "", None),
    ("P107", "does not use", 'Debug::"off"', "Debug::'off'", (8, 29)),
    ("P108", "entity hierarchy", "principal.level >= 5", 'principal in Chip::"c"', (11, 13)),
    ("P108", "entity hierarchy", "principal is Board,", 'principal is Board in Chip::"x",', (6, 27)),
    ("P108", "templates", "permit(principal is Board,", "permit(principal == ?principal,", (1, 1)),
    ("P108", "tags", "principal.level >= 5", 'principal.hasTag("x")', (11, 13)),
    ("P108", "optional attributes", "principal.level >= 5", "principal has level", (11, 13)),
    ("P108", "patterns", "principal.level >= 5", 'principal.device_id like "b*"', (11, 23)),
    ("P108", "name the type in the head", "principal.level >= 5", "principal is Board", (6, 18)),
    ("P108", "records", "principal.level >= 5", "[{a: 1}].contains({a: 1})", (1, 1)),
    ("P108", "attributes of attributes", "principal.level >= 5", "{a: 1}.a == 1", (1, 1)),
    ("P108", "if, then, else", "principal.level >= 5", "(if principal.simulated then false else true)", (1, 1)),
    ("P108", "extension functions", "principal.level >= 5", 'ip("10.0.0.1").isIpv4()', (11, 18)),
    ("P108", "principal without an attribute", "principal.level >= 5", "principal == resource", (1, 1)),
    ("P109", "no @id", '@id("board")\n', "", (1, 1)),
    ("P109", "no @description", '@description("A board that may be used")\n', "", (1, 1)),
    ("P109", "no @owner", '@owner("security")\n@fix(', "@fix(", (1, 1)),
    ("P110", "too", '@id("chip")', '@id("board")', (16, 1)),
    ("P111", "Did you mean 'fix_firmware'?", "@fix_firmware", "@fix_firmwear", (1, 1)),
    ("P111", "unknown annotation", '@fix("replace the board")', '@shadow("x")', (1, 1)),
    ("P112", "device_id", "principal is Board,", 'principal == Board::"board-0",', (1, 1)),
    ("P113", "cannot be 2 and 1", "principal.cpu_count == 1", "principal.gpu_count == 1", None),
    ("P113", "always false", "principal.level >= 5", "false", (1, 1)),
    ("P114", "twice", "principal.level <= 9", "principal.level >= 5", (11, 37)),
    ("P201", "without looking", "resource)\nwhen", SECOND % (' == Key::"k"', "true"), (1, 1)),
    ("P202", "board, x", "resource)\nwhen", SECOND % ("", "principal.level > 9"), None),
    ("P203", "upper bound only", "principal.evidence_age >= 0 &&", "", None),
    ("P205", "also accepts 'unknown'", 'principal.debug == Debug::"off"', 'principal.debug != Debug::"on"', (8, 13)),
    ("P205", "also accepts 'unknown'", 'principal.debug == Debug::"off"', '!(principal.debug == Debug::"on")', (8, 15)),
    ("P205", "also accepts 'unknown'", '[Colour::"red", Colour::"green"].con', '![Colour::"unknown"].con', (10, 13)),
    ("P206", "without looking at revocation", 'principal.revocation == Revocation::"good" &&\n  [', "[", (1, 1)),
    ("P207", "says nothing to a reader", "principal.firmware >= resource.min_firmware", "principal.firmware >= 2199033999363", (12, 13)),
]  # fmt: skip


@pytest.mark.parametrize(("code", "words", "old", "new", "place"), IN_RULES, ids=[f"{c[0]}-{i}" for i, c in enumerate(IN_RULES)])
def test_finding_in_rules(kit: Kit, code: str, words: str, old: str, new: str, place: tuple[int, int] | None) -> None:
    assert old in kit.rules
    found = kit.findings(kit.files(kit.rules.replace(old, new, 1)))
    about = [finding for finding in found if finding.code == code and words in f"{finding.message} {finding.meant}"]
    assert about, [str(finding) for finding in found]
    if place is not None:
        assert (about[0].position.line, about[0].position.column) == place, about[0].where
    if about[0].severity is Severity.ERROR:
        with pytest.raises(MalformedError) as refused:
            kit.load(kit.files(kit.rules.replace(old, new, 1)))
        assert code in {reason.code for reason in refused.value.reasons}
        assert refused.value.exit_code == 3


# code, words, what is put into reference.json in place of the usual value
WHY = "because it is so"

IN_REFERENCE = [
    ("P121", "'why'", {"min_level": {"type": "long", "value": 3}}),
    ("P121", "too short", {"min_level": {"type": "long", "value": 3, "why": "  because"}}),
    ("P121", "unknown value", {"min_level": {"type": "number", "value": 3, "why": WHY}}),
    ("P121", "not an integer", {"min_level": {"type": "long", "value": "3", "why": WHY}}),
    ("P121", "out of range", {"min_level": {"type": "long", "value": 2**53, "why": WHY}}),
    ("P121", "unknown members", {"min_level": {"type": "long", "value": 3, "why": WHY, "wyh": ""}}),
    ("P121", "not an object", {"min_level": 3}),
    ("P121", "'of'", {"min_firmware": {"type": "version", "value": "2.9.0", "why": WHY}}),
    ("P121", "Did you mean 'firmware'?", {"min_firmware": {"type": "version", "of": "firmwear", "value": "2.9.0", "why": WHY}}),
    ("P121", "like 550.90.07", {"min_firmware": {"type": "version", "of": "firmware", "value": "96.00.9F.00.01", "why": WHY}}),
    ("P121", "like 96.00.9F.00.01", {"min_bios": {"type": "version", "of": "bios", "value": "96.00.9f.00.01", "why": WHY}}),
    ("P121", "names a value twice", {"tolerated": {"type": "set", "value": ["A", "A"], "why": WHY}}),
    ("P121", "not a string", {"tolerated": {"type": "set", "value": ["A", 1], "why": WHY}}),
    ("P121", "cannot be the name", {"Min": {"type": "long", "value": 3, "why": WHY}}),
    ("P121", "cannot be the name", {"has": {"type": "long", "value": 3, "why": WHY}}),
    ("P121", "cannot be the name", {"max_evidence_age_seconds": {"type": "long", "value": 3, "why": WHY}}),
    ("P121", "not empty but says why", {"tolerated": {"type": "set", "value": ["A"], "why": WHY, "empty_because": "nothing is"}}),
    ("P122", "is empty", {"tolerated": {"type": "set", "value": [], "why": WHY}}),
    ("P122", "is empty", {"tolerated": {"type": "set", "value": [], "why": WHY, "empty_because": " "}}),
    ("P122", "has no value", {"min_level": {"type": "long", "value": None, "why": WHY}}),
    ("P123", "empty text", {"tolerated": {"type": "set", "value": [""], "why": WHY}}),
    ("P123", "in lower case", {"images": {"type": "set", "value": ["AA" * 24], "why": WHY}}),
    ("P123", "blanks", {"tolerated": {"type": "set", "value": ["A-1 "], "why": WHY}}),
    ("P204", "no rule uses", {"other": {"type": "text", "value": "x", "why": WHY}}),
    ("P104", "reference values: images", {"min_bios": None}),
]  # fmt: skip


@pytest.mark.parametrize(("code", "words", "values"), IN_REFERENCE, ids=[f"{c[0]}-{i}" for i, c in enumerate(IN_REFERENCE)])
def test_finding_in_reference_data(kit: Kit, code: str, words: str, values: dict[str, Json]) -> None:
    found = kit.findings(kit.files(data=kit.reference(**values)))
    assert any(finding.code == code and words in f"{finding.message} {finding.meant}" for finding in found), [str(f) for f in found]
    assert {finding.severity for finding in found if finding.code == code} == {Severity.WARNING if code == "P204" else Severity.ERROR}


def test_a_finding_about_a_reference_value_has_its_line(kit: Kit) -> None:
    files = kit.files()
    text = json.dumps(kit.reference(min_level={"type": "long", "value": None, "why": WHY}), indent=1)
    found = kit.findings({**files, "reference.json": text.encode()})
    line = next(number for number, content in enumerate(text.splitlines(), 1) if "min_level" in content)
    assert [(finding.code, finding.position.line) for finding in found] == [("P122", line)]


@pytest.mark.parametrize(
    ("member", "value", "code"),
    [
        ("topology", {}, "P121"),
        ("topology", {"board": 0, "chip": 1}, "P121"),
        ("topology", {"board": 65, "chip": 1}, "P121"),
        ("topology", {"bord": 2, "chip": 1}, "P105"),
        ("max_evidence_age_seconds", 0, "P121"),
        ("max_evidence_age_seconds", 86_401, "P121"),
        ("format", "attest-reference/2", "P121"),
        ("surplus", 1, "P121"),
    ],
)
def test_finding_in_the_frame_of_reference_data(kit: Kit, member: str, value: Json, code: str) -> None:
    assert code in {finding.code for finding in kit.findings(kit.files(data={**kit.reference(), member: value}))}


def test_a_kind_of_the_topology_that_does_not_exist_is_told_in_its_file(kit: Kit) -> None:
    found = kit.findings(kit.files(data={**kit.reference(), "topology": {"board": 2, "chip": 1, "chp": 1}}))
    [finding] = [finding for finding in found if finding.file == "reference.json"]
    assert (finding.code, finding.found) == ("P105", "chp")
    assert "Did you mean 'chip'?" in finding.meant


def test_an_engine_that_reads_other_rules_than_stand_here_is_not_believed(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = engine.parse
    for changed in (kit.rule_board + kit.rule_chip, kit.rules + kit.rule_chip):
        monkeypatch.setattr(engine, "parse", lambda _text, other=changed: whole(other))
        assert [finding.code for finding in kit.findings(kit.files())] == ["P107"]


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"format": "attest-reference/1", "format": "x"}', b"\xff", b'{"format": 1.5}', b" " * (256 * 1024 + 1)]
)
def test_reference_data_that_is_not_json(kit: Kit, data: bytes) -> None:
    assert {finding.code for finding in kit.findings({**kit.files(), "reference.json": data})} == {"P121"}


@pytest.mark.parametrize(
    "change",
    [
        {"serial": 0},
        {"serial": "1"},
        {"name": "A b"},
        {"name": ""},
        {"owner": " "},
        {"description": ""},
        {"format": "attest-policy/2"},
        {"x": 1},
    ],
)
def test_finding_in_the_manifest(kit: Kit, change: dict[str, Json]) -> None:
    manifest: dict[str, Json] = {"format": "attest-policy/1", "name": "boards", "serial": 1, "description": "d", "owner": "o"}
    assert {finding.code for finding in kit.findings(kit.files(manifest={**manifest, **change}))} == {"P120"}
    assert kit.findings(kit.files(manifest=manifest)) == ()


def test_a_policy_is_exactly_its_three_files(kit: Kit) -> None:
    files = kit.files()
    for name in files:
        rest = {other: data for other, data in files.items() if other != name}
        assert [(finding.code, finding.file) for finding in kit.findings(rest)] == [("P100", name)]
    assert [finding.code for finding in kit.findings({**files, "more.cedar": b""})] == ["P100"]


def test_a_kind_that_no_rule_accepts_and_a_release_that_no_rule_permits(kit: Kit) -> None:
    for rules, words in [
        (kit.rule_board + kit.rule_release, "no rule permits Chip to accept"),
        (kit.rule_board + kit.rule_chip, "no rule permits Workload to release"),
        ("", "no rule permits Board to accept"),
    ]:
        found = kit.findings(kit.files(rules))
        assert any(finding.code == "P116" and words in finding.message for finding in found)
    forbids = kit.rules.replace("permit(principal is Chip", "forbid(principal is Chip")
    assert "P116" in {finding.code for finding in kit.findings(kit.files(forbids))}


def test_a_typo_in_a_claim_is_told_once(kit: Kit) -> None:
    """Not also as an annotation for a claim that no condition reads, nor as a reference value or claim that no rule looks at."""
    found = kit.findings(kit.files(kit.rules.replace("principal.firmware >=", "principal.firmwear >=")))
    assert [finding.code for finding in found] == ["P102"]


def test_all_errors_are_told_at_once_in_order_of_place(kit: Kit) -> None:
    rules = kit.rules.replace("principal.debug", "principal.debgu", 1).replace("min_bios", "min_boos").replace('@id("chip")\n', "")
    found = [finding for finding in kit.findings(kit.files(rules)) if finding.file == "rules.cedar"]
    assert [finding.code for finding in found] == ["P102", "P104", "P109"]
    assert [finding.position for finding in found] == sorted(finding.position for finding in found)


def test_what_the_engine_alone_refuses_is_told_too(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "validate", lambda text, schema: ((1, "the validator's words"),))
    [finding] = kit.findings(kit.files())
    assert (finding.code, finding.message, finding.rule) == ("P115", "the validator's words", "chip")


def test_every_code_has_a_test() -> None:
    told = {case[0] for case in IN_RULES} | {case[0] for case in IN_REFERENCE}
    assert set(CODES) - told == {"P100", "P101", "P115", "P116", "P120"}, "these have tests of their own above and in test_scan.py"


def test_a_warning_does_not_keep_a_policy_from_loading(kit: Kit) -> None:
    rules = kit.rules.replace("principal.evidence_age >= 0 &&", "")
    assert [warning.code for warning in kit.load(kit.files(rules)).warnings] == ["P203"]
