"""A refusal names every condition that failed: the claim, what was found, what is expected, where it stands, and what to do."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from attest.decision import Action
from attest.errors import Outcome, Reason
from attest.policy.explain import Request

if TYPE_CHECKING:
    from conftest import Kit


def refused(kit: Kit, **claims: object) -> tuple[Reason, ...]:
    """Reasons against a board with these claims."""
    return kit.load(kit.files()).answer(kit.requests(board={**kit.board, **claims}), key="k")[0].reasons


def test_one_reason_in_full(kit: Kit) -> None:
    assert refused(kit, firmware=2 << 40 | 8 << 20, firmware_text="2.8.0") == (
        Reason(
            "policy.refused",
            Outcome.REFUSED,
            "claim firmware does not satisfy rule board",
            subject="board-0",
            where="report 0x14",
            found="2.8.0",
            expected="at least 2.9.0 (reference.json: min_firmware)",
            fix="update the firmware",
            rule="board",
        ),
    )


def test_every_failing_condition_is_told_and_no_other(kit: Kit) -> None:
    reasons = refused(kit, debug="on", level=4, advisories=frozenset({"A-1", "A-9"}), bios=1, bios_text="00.00.00.00.01")
    assert [(reason.found, reason.expected) for reason in reasons] == [
        ("on", "off"),
        ("4", "at least 5"),
        ("00.00.00.00.01", "at least 96.00.9F.00.01 (reference.json: min_bios)"),
        ("A-1, A-9", "nothing but A-1, A-2 (reference.json: tolerated)"),
    ]
    assert {reason.code for reason in reasons} == {"policy.refused"}
    assert {reason.fix for reason in reasons} == {"replace the board"}


def test_an_unknown_value_cannot_be_decided(kit: Kit) -> None:
    [reason] = refused(kit, colour="unknown")
    assert (reason.code, reason.outcome) == ("policy.unknown", Outcome.CANNOT_DECIDE)
    assert (reason.found, reason.expected, reason.where) == ("unknown", "one of red, green", "report 0x10 (vendor claim COLOUR)")


FORBID = '@id("%s") @description("%s") @owner("o") forbid(principal is Board, action == Action::"accept", resource) %s;'


def test_a_matching_forbid_is_named(kit: Kit) -> None:
    rules = kit.rules + FORBID % ("stolen", "stolen boards", 'when { principal.device_id == "b-1" && principal.level > 1 }')
    answer = kit.load(kit.files(rules)).answer(kit.requests(), key="k")[0]
    [reason] = answer.reasons
    assert (reason.code, reason.rule, reason.outcome) == ("policy.forbidden", "stolen", Outcome.REFUSED)
    assert reason.message == "rule stolen forbids this: stolen boards"
    assert reason.found == "device_id = b-1, level = 7"
    assert answer.rules == ("stolen",)


def test_unless_is_told_like_when(kit: Kit) -> None:
    head, tail = kit.rules.split(kit.rule_chip)
    rule = kit.rule_chip.replace("};", "}\nunless { principal.simulated || principal.level == 3 };")
    policy = kit.load(kit.files(head + rule + tail))
    [reason] = policy.answer(kit.requests(), key="k")[2].reasons
    assert (reason.found, reason.expected) == ("3", "anything but 3")
    [reason] = policy.answer(kit.requests(chip={**kit.chip, "simulated": True, "level": 4}), key="k")[2].reasons
    assert (reason.found, reason.expected) == ("true", "false")


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("3 > principal.level", "less than 3"),
        ("principal.level > 100 || principal.level < 2", "principal.level > 100 || principal.level < 2"),
        ('!(principal.image == "x") && !resource.images.contains(principal.image)', "none of " + "aa" * 24 + " (reference.json: images)"),
        ("principal.simulated", "true"),
        ("principal.level + 1 == 9", "principal.level + 1 == 9"),
        ("principal.level != 3", "anything but 3"),
        ("resource.min_level == 4", "resource.min_level == 4"),
    ],
)
def test_conditions_in_the_words_of_a_person(kit: Kit, condition: str, expected: str) -> None:
    head, tail = kit.rules.split(kit.rule_chip)
    rule = kit.rule_chip.replace("};", "&& " + (f"({condition})" if "||" in condition else condition) + "};")
    [reason] = kit.load(kit.files(head + rule + tail)).answer(kit.requests(), key="k")[2].reasons
    assert reason.expected == expected


def test_long_lists_are_cut(kit: Kit) -> None:
    images = [f"{number:048x}" for number in range(9)]
    data = kit.reference(images={"type": "set", "value": images, "why": "nine images, 2026-03"})
    [reason] = kit.load(kit.files(data=data)).answer(kit.requests(), key="k")[2].reasons
    assert reason.expected == f"one of {', '.join(images[:4])} and 5 more (reference.json: images)"


def test_no_rule_says_so(kit: Kit) -> None:
    rules = kit.rules.replace(
        'principal is Chip, action == Action::"accept", resource', 'principal is Chip, action == Action::"accept", resource == Key::"a"'
    )
    [reason] = kit.load(kit.files(rules)).answer(kit.requests(), key="b")[2].reasons
    assert (reason.code, reason.found, reason.expected) == ("policy.no-rule", "Chip", "a rule that permits it for key b")


def test_the_explanation_is_the_engine_and_not_a_second_opinion(kit: Kit) -> None:
    """Every condition that the explanation calls failed fails alone, and every other holds, over all single changes of a board."""
    policy = kit.load(kit.files())
    changes: list[dict[str, object]] = [
        {"debug": value} for value in ("off", "on", "unknown")
    ] + [{"level": value} for value in (0, 4, 5, 9, 10)] + [{"colour": value} for value in ("red", "unknown")]  # fmt: skip
    for change in changes:
        answer = policy.answer([Request(Action.ACCEPT, "b", "Board", {**kit.board, **change})], key="k")[0]
        assert answer.allowed is not bool(answer.reasons)
        assert len(answer.reasons) <= 1


def test_explaining_is_quick(kit: Kit) -> None:
    policy = kit.load(kit.files())
    bad = [Request(Action.ACCEPT, f"b{number}", "Board", {**kit.board, "debug": "on", "level": 1}) for number in range(9)]
    policy.answer(bad, key="k")
    times = []
    for _ in range(20):
        start = time.perf_counter()
        policy.answer(bad, key="k")
        times.append(time.perf_counter() - start)
    assert sorted(times)[10] < 0.020
