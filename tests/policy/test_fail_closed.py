"""Host rules H2 to H13, and the inputs that made other engines and other policies say yes: all refused, each for its reason."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import cedarpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attest.decision import Action, Answer
from attest.errors import MalformedError, Outcome
from attest.policy.bundle import Policy
from attest.policy.engine import Engine, EngineError, Question, Verdict, parse
from attest.policy.explain import Request
from attest.policy.projection import MisfitError

if TYPE_CHECKING:
    from conftest import Kit

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def policy(kit: Kit) -> Policy:
    return kit.load(kit.files())


def codes(answer: Answer) -> list[str]:
    return [reason.code for reason in answer.reasons]


def without(claims: Mapping[str, object], name: str) -> dict[str, object]:
    return {other: value for other, value in claims.items() if other != name}


def test_what_the_policy_is_for_is_permitted(policy: Policy, kit: Kit) -> None:
    answers = policy.answer(kit.requests(), key="k")
    assert [(answer.subject, answer.allowed, answer.rules, answer.reasons) for answer in answers] == [
        ("board-0", True, ("board",), ()),
        ("board-1", True, ("board",), ()),
        ("chip", True, ("chip",), ()),
        ("workload", True, ("release",), ()),
    ]


# -- every claim of an accepted request, deleted, renamed, retyped ----------------------------------------------------------------

WRONG = (None, "text", "", 0, -1, 2**63, -(2**63) - 1, 1.5, True, [], {}, (), frozenset({1}), frozenset(), b"x", object(), float("nan"))


def mutations(claims: Mapping[str, object]) -> list[tuple[str, dict[str, object]]]:
    """Every claim deleted, renamed, and replaced by values of every other type; and a claim too many."""
    found: list[tuple[str, dict[str, object]]] = [("surplus", {**claims, "surplus": 1}), ("nothing", {})]
    for name, value in claims.items():
        found.append((f"{name} deleted", without(claims, name)))
        found.append((f"{name} renamed", {**without(claims, name), f"{name}s": value}))
        found += [(f"{name} = {wrong!r}", {**claims, name: wrong}) for wrong in WRONG if type(wrong) is not type(value)]
        found.append((f"{name} out of the vocabulary", {**claims, name: value.upper() if isinstance(value, str) else object()}))
    return found


def test_no_claim_can_be_deleted_renamed_or_retyped(policy: Policy, kit: Kit) -> None:
    tried = 0
    for place, claims in ((0, kit.board), (2, kit.chip), (3, kit.workload)):
        for what, changed in mutations(claims):
            asked = kit.requests()
            asked[place] = Request(asked[place].action, asked[place].subject, asked[place].principal, changed)
            answers = policy.answer(asked, key="k")
            tried += 1
            if "vocabulary" in what and changed == claims | {k: v for k, v in changed.items() if isinstance(v, str)}:
                # upper-case text is legal for a text claim: refused only where a rule reads it or its vocabulary is closed
                name = what.split()[0]
                assert answers[place].allowed is False or name in ("device_id", "firmware_text", "bios_text"), what
            else:
                assert answers[place].allowed is False, what
                assert codes(answers[place]) == ["policy.malformed"], what
                assert answers[place].reasons[0].outcome is Outcome.MALFORMED
            assert all(answer.allowed for index, answer in enumerate(answers) if index != place), "one malformed request spoils no other"
    assert tried > 400


def test_values_of_the_right_type_that_the_engine_could_not_hold(policy: Policy, kit: Kit) -> None:
    """H12: numbers end at 64 bits; sets hold texts only."""
    for level in (2**63, -(2**63) - 1):
        assert codes(policy.answer(kit.requests(board={**kit.board, "level": level}), key="k")[0]) == ["policy.malformed"]
    for advisories in (frozenset({1}), frozenset({"A-1", 1}), frozenset({None})):
        answer = policy.answer(kit.requests(board={**kit.board, "advisories": advisories}), key="k")[0]
        assert codes(answer) == ["policy.malformed"]
        assert "Set<String>" in answer.reasons[0].found
    unread = policy.answer(kit.requests(workload={**kit.workload, "device_count": 2**63}), key="k")[3]
    assert codes(unread) == ["policy.malformed"], "also when no rule reads the claim"
    edge = policy.answer(kit.requests(chip={**kit.chip, "level": 2**63 - 1}), key="k")[2]
    assert edge.allowed is True


@settings(max_examples=150, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["debug", "level", "image", "device_id", "revocation", "simulated", "x"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text()
        | st.floats()
        | st.binary()
        | st.frozensets(st.text())
        | st.lists(st.integers()),
    )
)
def test_no_claims_crash_or_open_the_policy(kit: Kit, policy: Policy, claims: dict[str, object]) -> None:
    [answer] = policy.answer([Request(Action.ACCEPT, "chip", "Chip", claims)], key="k")
    assert answer.allowed is False
    assert answer.reasons


# -- section 3 of the comparison: inputs that were allowed elsewhere -----------------------------------------------------------------


def test_missing_claim_with_a_negative_rule(kit: Kit) -> None:
    """The rule only says what must not be; without the claim it does not match. The request is malformed before any rule is asked."""
    rules = kit.rules + '@id("no") @description("d") @owner("o") forbid(principal is Chip, action == Action::"accept", resource)'
    policy = kit.load(kit.files(rules + ' when { principal.debug == Debug::"on" };'))
    assert policy.answer(kit.requests(), key="k")[2].allowed
    assert codes(policy.answer(kit.requests(chip=without(kit.chip, "debug")), key="k")[2]) == ["policy.malformed"]
    assert codes(policy.answer(kit.requests(chip={**kit.chip, "debug": "on"}), key="k")[2]) == ["policy.refused", "policy.forbidden"]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ('principal.debug == Debug::"off"', 'principal.dbugg != Debug::"on"', "P102"),  # typo in a claim, negative rule
        ("principal.level >= resource.min_level", 'principal.level >= "3"', "P106"),  # static type error
        ("principal.level >= resource.min_level", "principal.level", "P106"),  # result that is not true or false
        ("principal.level >= resource.min_level", "(principal.levle == 1 || true)", "P102"),  # masked by ||
        ("principal.level >= resource.min_level", '(principal.debug == Colour::"red" && principal.levle == 1 || true)', "P102"),
        ("principal.level >= resource.min_level", "trusted(principal.level)", "P107"),  # unknown function
        ("principal.level >= resource.min_level", "principal.level.trusted()", "P107"),
        ("principal.level >= resource.min_level", "level >= 3", "P107"),  # unsafe variable
    ],
)
def test_mistakes_that_other_engines_evaluate_are_caught_at_load(kit: Kit, old: str, new: str, code: str) -> None:
    head, tail = kit.rules.split(kit.rule_chip)
    assert old in kit.rule_chip
    with pytest.raises(MalformedError) as refused:
        kit.load(kit.files(head + kit.rule_chip.replace(old, new) + tail))
    assert code in {reason.code for reason in refused.value.reasons}


def test_wrong_type_against_a_number(policy: Policy, kit: Kit) -> None:
    answer = policy.answer(kit.requests(chip={**kit.chip, "level": "9"}), key="k")[2]
    assert codes(answer) == ["policy.malformed"]
    assert "level" in answer.reasons[0].found


def test_empty_list_of_devices(policy: Policy, kit: Kit) -> None:
    """There is no "for all" that nothing could satisfy: the release counts, and a topology of nothing cannot be written."""
    [answer] = policy.answer(
        [Request(Action.RELEASE, "workload", "Workload", {**kit.workload, "gpu_count": 0, "device_count": 1})], key="k"
    )
    assert codes(answer) == ["policy.refused"]
    assert (answer.reasons[0].rule, answer.reasons[0].found, answer.reasons[0].expected) == ("release", "0", "2")
    for topology in ({}, {"board": 0}):
        assert "P121" in {finding.code for finding in kit.findings(kit.files(data={**kit.reference(), "topology": topology}))}


def test_all_nonces_null(policy: Policy, kit: Kit) -> None:
    assert codes(policy.answer(kit.requests(workload={**kit.workload, "nonce_issued": None}), key="k")[3]) == ["policy.malformed"]
    assert codes(policy.answer(kit.requests(workload={**kit.workload, "nonce_issued": False}), key="k")[3]) == ["policy.refused"]


OVERFLOW = "principal.level * 9223372036854775807 > 0"


def test_a_forbid_that_errs_does_not_open(kit: Kit) -> None:
    rules = kit.rules + '@id("no") @description("d") @owner("o") forbid(principal is Chip, action == Action::"accept", resource)'
    policy = kit.load(kit.files(rules + f" when {{ {OVERFLOW} }};"))
    answers = policy.answer(kit.requests(), key="k")
    assert [answer.allowed for answer in answers] == [True, True, False, True]
    assert codes(answers[2]) == ["policy.error"]
    assert "overflow" in answers[2].reasons[0].found


@pytest.mark.parametrize("condition", [f"!({OVERFLOW})", f"({OVERFLOW} || true)", OVERFLOW])
def test_an_error_in_a_permit_is_no_yes(kit: Kit, condition: str) -> None:
    head, tail = kit.rules.split(kit.rule_chip)
    rule = kit.rule_chip.replace("principal.level >= resource.min_level", condition)
    policy = kit.load(kit.files(head + rule + tail, data=kit.reference(min_level=None)))
    answer = policy.answer(kit.requests(), key="k")[2]
    assert answer.allowed is False
    assert codes(answer)[0] == "policy.error"


def test_duplicate_members_and_numbers_of_reference_data(kit: Kit) -> None:
    """H12: the strict reader refuses what the engine would take the last of, or round."""
    good = json.dumps(kit.reference())
    for bad in (
        good.replace('"value": 3', '"value": 3, "value": 1'),
        good.replace('"value": 3', '"value": 3.0'),
        good.replace("300", "3e2"),
    ):
        assert bad != good
        assert "P121" in {finding.code for finding in kit.findings({**kit.files(), "reference.json": bad.encode()})}
    big = good.replace('"value": 3', f'"value": {2**63}')
    assert "P121" in {finding.code for finding in kit.findings({**kit.files(), "reference.json": big.encode()})}


# -- H2: nothing is asked that was not validated ------------------------------------------------------------------------------------


SCHEMA = 'entity A { a: Bool, n: Long };\nentity Key;\naction "accept" appliesTo { principal: [A], resource: [Key], context: {} };\n'
GOOD = '@id("r") permit(principal is A, action == Action::"accept", resource) when { principal.a };'


@pytest.mark.parametrize("rules", [GOOD.replace(".a", ".b"), GOOD.replace(".a ", ".n "), GOOD.replace("accept", "excerpt"), "permit"])
def test_an_engine_needs_valid_rules(rules: str) -> None:
    with pytest.raises(EngineError):
        Engine(rules, SCHEMA, {})
    assert Engine(GOOD, SCHEMA, {}).ask([Question("accept", "A", {"a": True, "n": 1})], key="k")[0].allowed is True


def test_a_validator_that_says_yes_to_everything_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cedarpy, "validate_policies", lambda *_: SimpleNamespace(validation_passed=True, errors=[]))
    with pytest.raises(RuntimeError, match="too little stack"):
        Engine(GOOD, SCHEMA, {})


@pytest.mark.parametrize(
    ("passed", "errors"), [(False, []), (None, []), (1, []), (True, [SimpleNamespace(policy_id="policy0", error="x")])]
)
def test_a_validator_that_does_not_clearly_say_yes_refuses(monkeypatch: pytest.MonkeyPatch, passed: object, errors: list[object]) -> None:
    monkeypatch.setattr(cedarpy, "validate_policies", lambda *_: SimpleNamespace(validation_passed=passed, errors=errors))
    with pytest.raises(EngineError):
        Engine(GOOD, SCHEMA, {})


def test_too_little_stack_is_an_error_and_not_a_yes() -> None:
    child = f"""
import threading
from attest.policy.engine import Engine
def run():
    try:
        Engine({GOOD!r}, {SCHEMA!r}, {{}})
        print("made")
    except RuntimeError as error:
        print("refused")
threading.stack_size(256 << 10)
thread = threading.Thread(target=run)
thread.start()
thread.join()
"""
    done = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, timeout=60, cwd=ROOT, check=False)
    assert done.stdout.strip() == "refused", done.stderr


# -- H3, H4, H5: what counts as a yes ------------------------------------------------------------------------------------------------


def test_every_question_is_asked_with_the_schema(policy: Policy, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    original = cedarpy.is_authorized_batch

    def watched(requests: object, policies: object, entities: object, schema: object = None) -> object:
        seen.append(schema)
        return original(requests, policies, entities, schema)

    monkeypatch.setattr(cedarpy, "is_authorized_batch", watched)
    policy.answer(kit.requests(board={**kit.board, "level": 1}), key="k")
    assert len(seen) == 2, "the decision and its explanation"
    assert all(isinstance(schema, cedarpy.Schema) for schema in seen)


@pytest.mark.parametrize(
    "attributes",
    [
        {"a": True},
        {"a": "true", "n": 1},
        {"a": True, "n": 2**63},
        {"a": True, "n": 1, "x": 1},
        {"a": True, "n": None},
        {"a": True, "n": b"1"},
        {},
    ],
)
def test_the_engine_itself_refuses_what_does_not_fit_the_schema(attributes: dict[str, object]) -> None:
    engine = Engine(GOOD, SCHEMA, {})
    good = Question("accept", "A", {"a": True, "n": 1})
    verdicts = engine.ask([good, Question("accept", "A", attributes), good], key="k")
    assert [verdict.allowed for verdict in verdicts] == [True, False, True]
    assert verdicts[1].malformed


class _Result:
    """A result as the binding would give it, for what the binding never gave so far."""

    def __init__(self, decision: object, correlation: str | None, errors: list[str]) -> None:
        self.decision = decision
        self.correlation_id = correlation
        self.diagnostics = SimpleNamespace(errors=errors, reasons=["policy0"], id_annotations_by_reason={"policy0": "r"})


class _Agreeable:
    """Equal to everything and true."""

    __hash__ = None

    def __eq__(self, _other: object) -> bool:
        return True

    def __bool__(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("decision", "correlation", "errors"),
    [
        (cedarpy.Decision.Allow, "0", ["a rule erred"]),
        (cedarpy.Decision.Allow, "1", []),
        (cedarpy.Decision.Allow, None, []),
        (cedarpy.Decision.NoDecision, "0", []),
        (cedarpy.Decision.Deny, "0", []),
        ("Allow", "0", []),
        (True, "0", []),
        (_Agreeable(), "0", []),
        (None, "0", []),
    ],
)
def test_only_an_exact_and_clean_allow_is_a_yes(
    decision: object, correlation: str | None, errors: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(GOOD, SCHEMA, {})
    monkeypatch.setattr(cedarpy, "is_authorized_batch", lambda *_: [_Result(decision, correlation, errors)])
    [verdict] = engine.ask([Question("accept", "A", {"a": True, "n": 1})], key="k")
    assert verdict.allowed is False
    monkeypatch.setattr(cedarpy, "is_authorized_batch", lambda *_: [_Result(cedarpy.Decision.Allow, "0", [])])
    assert engine.ask([Question("accept", "A", {"a": True, "n": 1})], key="k")[0] == Verdict(allowed=True, rules=("r",))


def test_a_lost_answer_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(GOOD, SCHEMA, {})
    monkeypatch.setattr(cedarpy, "is_authorized_batch", lambda *_: [])
    with pytest.raises(AssertionError, match="lost"):
        engine.ask([Question("accept", "A", {"a": True, "n": 1})], key="k")


def test_an_engine_that_fails_permits_nothing(policy: Policy, kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> object:
        raise ValueError("broken")

    monkeypatch.setattr(cedarpy, "is_authorized_batch", broken)
    with pytest.raises(ValueError, match="broken"):
        policy.answer(kit.requests(), key="k")


def test_a_device_of_a_kind_outside_the_topology_is_refused(policy: Policy, kit: Kit) -> None:
    asked = [*kit.requests()[:3], Request(Action.ACCEPT, "odd", "tdx", {}), kit.requests()[3]]
    answers = policy.answer(asked, key="k")
    assert [(answer.subject, answer.allowed) for answer in answers] == [
        ("board-0", True), ("board-1", True), ("chip", True), ("odd", False), ("workload", True),
    ]  # fmt: skip
    assert codes(answers[3]) == ["policy.no-rule"]


def test_a_device_is_never_asked_for_the_release_nor_the_workload_accepted(policy: Policy, kit: Kit) -> None:
    for request in (Request(Action.RELEASE, "x", "Board", kit.board), Request(Action.ACCEPT, "x", "Workload", kit.workload)):
        [answer] = policy.answer([request], key="k")
        assert codes(answer) == ["policy.no-rule"]


def test_a_rule_for_one_key_permits_no_other(kit: Kit) -> None:
    rules = kit.rules.replace('Action::"release", resource)', 'Action::"release", resource == Key::"weights")')
    policy = kit.load(kit.files(rules))
    assert policy.answer(kit.requests(), key="weights")[3].allowed is True
    for other in ("weight", "Weights", 'weights" || true || "', "", "weights\x00", "weights\n"):
        refused = policy.answer(kit.requests(), key=other)[3]
        assert codes(refused) == ["policy.no-rule"], other


# -- H7, H8, H13 ----------------------------------------------------------------------------------------------------------------------


def test_the_schema_has_every_claim_and_none_is_optional(policy: Policy, kit: Kit) -> None:
    assert "?" not in policy.schema
    for kind in kit.kinds:
        for name in kind.claims_type.__dataclass_fields__:
            assert f"  {name}: " in policy.schema
    assert 'entity Debug enum ["off", "on", "unknown"];' in policy.schema


def test_closed_vocabularies_are_closed_in_evidence_too(policy: Policy, kit: Kit) -> None:
    for value in ("OFF", "of", "", "off ", "disabled"):
        assert codes(policy.answer(kit.requests(chip={**kit.chip, "debug": value}), key="k")[2]) == ["policy.malformed"]


@pytest.mark.parametrize(("age", "allowed"), [(-1, False), (0, True), (300, True), (301, False)])
def test_evidence_from_the_future_is_refused(policy: Policy, kit: Kit, age: int, allowed: bool) -> None:
    assert policy.answer(kit.requests(workload={**kit.workload, "evidence_age": age}), key="k")[3].allowed is allowed


def test_misfits_are_told_by_name(policy: Policy) -> None:
    with pytest.raises(MisfitError, match="claim debug is missing"):
        policy._projection.attributes("Chip", {})


def test_rules_read_from_the_engine_are_those_of_the_text(kit: Kit) -> None:
    form = parse(kit.rules)
    assert isinstance(form, dict)
    assert [body["annotations"]["id"] for body in form["staticPolicies"].values()] == ["board", "chip", "release"]  # type: ignore[index,union-attr,call-overload]
