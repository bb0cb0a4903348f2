"""A judgement for people at a terminal: the verdict first, then what it rests on, then what nobody looked at.

Rendered from the document that ``--json`` prints. Everything in it goes through :func:`safe`, because labels, notes and details may
hold what an attacker wrote.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from attest_cli.terminal import Page

if TYPE_CHECKING:
    from attest_cli import documents as doc

GOOD: Final = "bold green"
BAD: Final = "bold red"
UNSURE: Final = "bold yellow"
DIM: Final = "dim"

VERDICTS: Final[dict[doc.Verdict, tuple[str, str]]] = {
    "permit": ("PERMIT", GOOD),
    "authentic": ("AUTHENTIC", GOOD),
    "malformed": ("MALFORMED", BAD),
    "not-authentic": ("NOT AUTHENTIC", BAD),
    "refused": ("REFUSED", BAD),
    "cannot-decide": ("CANNOT DECIDE", UNSURE),
}
_STATUS: Final[dict[doc.CheckStatus, tuple[str, str]]] = {
    "failed": ("failed", BAD),
    "not-checked": ("not checked", "yellow"),
    "not-reached": ("not reached", DIM),
    "passed": ("passed", "green"),
}
SIMULATED: Final = "SIMULATED: made by the simulator, says nothing about any hardware"
NO_PERMISSION: Final = "this is no permission: no policy was asked (attest verify ... --policy NAME --key NAME)"
_WIDTH: Final = 100
"""Columns after which a list of checks goes on in the next line."""
_SOFTWARE: Final = ("_version", "_measurements", "measurement", "_tcb", "_rim")


@dataclass(frozen=True, slots=True)
class Grouped:
    """One reason for several subjects."""

    reason: doc.ReasonDoc
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer of the policy to a question about several subjects."""

    action: str
    allowed: bool
    rules: tuple[str, ...]
    subjects: tuple[str, ...]


def headline(verdict: doc.VerdictDoc) -> tuple[str, str, str]:
    """Word, style and meaning of a verdict. Without a policy the question was authenticity, and the word answers that."""
    asked = verdict["policy"] is not None
    if not asked and verdict["authentic"]:
        return "AUTHENTIC", GOOD, NO_PERMISSION
    word, style = VERDICTS[verdict["verdict"]]
    meaning = {
        "permit": "every device and the workload satisfied the floor and the policy",
        "malformed": "the input cannot be read",
        "not-authentic": "a signature, chain or revocation check failed",
        "refused": f"authentic, but {_who_says_no(verdict)}",
        "cannot-decide": "something that is needed to decide is missing or stale",
    }[verdict["verdict"]]
    if verdict["verdict"] == "refused" and not verdict["authentic"]:
        meaning = "a device was refused"
    return word, style, meaning


def _who_says_no(verdict: doc.VerdictDoc) -> str:
    codes = {reason["code"].partition(".")[0] for reason in verdict["reasons"] if reason["outcome"] == "refused"}
    if codes == {"policy"}:
        return "the policy says no"
    if codes == {"floor"}:
        return "the floor, which no policy lowers, says no"
    return "the floor, which no policy lowers, and the policy say no" if codes == {"floor", "policy"} else "the floor or the policy says no"


def grouped(reasons: Iterable[doc.ReasonDoc]) -> list[Grouped]:
    """Reasons that differ in the subject only, together, in order of first appearance."""
    found: dict[tuple[str, ...], tuple[doc.ReasonDoc, list[str]]] = {}
    for reason in reasons:
        key = tuple(str(value) for name, value in reason.items() if name != "subject")
        subjects = found.setdefault(key, (reason, []))[1]
        if reason["subject"] and reason["subject"] not in subjects:
            subjects.append(reason["subject"])
    return [Grouped(reason, tuple(subjects)) for reason, subjects in found.values()]


def print_verdict(page: Page, verdict: doc.VerdictDoc, *, explain: bool) -> None:
    """All about one bundle."""
    _banner(page, verdict)
    _reasons(page, verdict)
    for title, scope in (("CPU", "workload"), ("TPM", "boot"), ("GPU", "device"), ("Unknown devices", "unknown")):
        devices = [device for device in verdict["devices"] if device["scope"] == scope]
        if devices:
            _devices(page, title, devices, explain=explain)
    _software(page, verdict["devices"])
    _floor(page, verdict, explain=explain)
    _policy(page, verdict)
    _open(page, "Not checked, for want of material", verdict["not_checked"])
    _open(page, "No evidence can show", verdict["unprovable"])
    page.line()
    page.line(("again  ", DIM), verdict["again"])


def _banner(page: Page, verdict: doc.VerdictDoc) -> None:
    word, style, meaning = headline(verdict)
    if verdict["simulated"]:
        page.line((SIMULATED, "bold black on yellow"))
    page.line((word, style), "  ", verdict["source"])
    page.line("  ", meaning)
    trust, bundle = verdict["trust"], verdict["bundle"]
    page.line(
        ("  judged at ", DIM),
        verdict["at"],
        (" under ", DIM),
        f"{trust['name']} {trust['digest'][:16]}",
        (f" for a {verdict['use']} key", DIM),
    )
    if bundle:
        recorded = bundle["recorded_at"] or "at an unknown time"
        page.line(("  bundle ", DIM), bundle["digest"][:16], (" recorded ", DIM), recorded)
        if bundle["note"]:
            page.line(("  note ", DIM), bundle["note"])
    if verdict["decision"]:
        page.line(("  decision ", DIM), verdict["decision"])


# -- devices --------------------------------------------------------------------------------------------------------------


def _devices(page: Page, title: str, devices: Sequence[doc.DeviceDoc], *, explain: bool) -> None:
    page.head(title)
    if explain:
        for device in devices:
            _device_line(page, [device])
            _explained(page, device)
        return
    groups: dict[tuple[str, ...], list[doc.DeviceDoc]] = {}
    for device in devices:
        alike = (device["title"], device["outcome"], *(check["status"] for check in device["checks"]))
        groups.setdefault(alike, []).append(device)
    for group in groups.values():
        _device_line(page, group)
        _lists(page, group[0]["checks"])
        for device in group:
            _stated(page, device)


_STATED: Final = frozenset({"dcap.tcb-level"})
"""Checks that pass in degrees: what they found is told even where nothing is explained."""


def _stated(page: Page, device: doc.DeviceDoc) -> None:
    for check in device["checks"]:
        if check["id"] in _STATED and check["status"] == "passed":
            for number, line in enumerate(textwrap.wrap(check["detail"], _WIDTH, break_on_hyphens=False)):
                page.line("      ", f"{check['id'].partition('.')[2] if number == 0 else '':<11}", "  ", line)


def _device_line(page: Page, devices: Sequence[doc.DeviceDoc]) -> None:
    first = devices[0]
    word, style = ("authentic", GOOD) if first["authentic"] else VERDICTS[first["outcome"]]
    page.line(
        f"  {span([device['subject'] for device in devices])}  {first['title']}  ",
        (word.lower(), style),
        "  ",
        (tally(first["checks"]), DIM),
    )


def _lists(page: Page, checks: Sequence[doc.CheckDoc]) -> None:
    """The checks by what became of them, each by the last part of its id; what no evidence can show is listed elsewhere."""
    for status, (label, style) in _STATUS.items():
        names = [check["id"].partition(".")[2] for check in checks if check["status"] == status and not _unprovable(check)]
        for number, line in enumerate(textwrap.wrap(", ".join(names), _WIDTH, break_on_hyphens=False)):
            page.line("      ", (f"{label if number == 0 else '':<11}", style), "  ", (line, DIM))


def span(subjects: Sequence[str]) -> str:
    """Names in one line; a run of three or more numbered devices as "gpu-0 to gpu-7"."""
    runs: list[list[str]] = []
    for subject in subjects:
        if runs and _follows(runs[-1][-1], subject):
            runs[-1].append(subject)
        else:
            runs.append([subject])
    return ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)


def _follows(one: str, other: str) -> bool:
    (first, _, number), (second, _, next_) = one.rpartition("-"), other.rpartition("-")
    return bool(first) and first == second and number.isdecimal() and next_.isdecimal() and int(next_) == int(number) + 1


def tally(checks: Iterable[doc.CheckDoc]) -> str:
    """ "21 checks passed, 1 failed, 2 not checked": limitations left out, they are listed on their own."""
    counts: dict[doc.CheckStatus, int] = {}
    for check in checks:
        if not _unprovable(check):
            counts[check["status"]] = counts.get(check["status"], 0) + 1
    parts = [f"{counts[status]} {_STATUS[status][0]}" for status in _STATUS if status in counts]
    return ", ".join(parts) or "no checks"


def _unprovable(check: doc.CheckDoc) -> bool:
    return check["limitation"] and check["status"] != "passed"


def _explained(page: Page, device: doc.DeviceDoc) -> None:
    _each(page, device["checks"])
    for name, value in device["claims"].items():
        page.line("      ", ("claim        ", DIM), f"{name:<34}  {claim_text(value)}")
    for label, text in (
        ("evidence", device["evidence"]),
        ("statement", device["statement"]),
        ("freshness", device["freshness"]),
        ("valid until", device["valid_until"]),
        *((f"chain {index}", fingerprint) for index, fingerprint in enumerate(device["chain"])),
    ):
        if text:
            page.line("      ", (f"{label:<11}  ", DIM), text)


def _each(page: Page, checks: Sequence[doc.CheckDoc]) -> None:
    for check in checks:
        label, style = _STATUS[check["status"]]
        page.line("      ", (f"{label:<11}", style), f"  {check['id']:<34}  {check['title']}")
        if check["detail"]:
            page.line(" " * 19, (check["detail"], DIM))


def claim_text(value: doc.ClaimValue) -> str:
    """A claim as a person reads it; an empty one says so."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return str(value) if value != "" else "(empty)"


def software(device: doc.DeviceDoc) -> list[tuple[str, str]]:
    """Name and value of the claims that say what runs on a device, for the short form of the output."""
    return [
        (name, claim_text(value))
        for name, value in device["claims"].items()
        if name.endswith(_SOFTWARE) and isinstance(value, str) and value
    ]


def _software(page: Page, devices: Sequence[doc.DeviceDoc]) -> None:
    groups: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for device in devices:
        if found := software(device):
            groups.setdefault(tuple(found), []).append(device["subject"])
    if not groups:
        return
    page.head("Software")
    for claims, subjects in groups.items():
        page.line(f"  {span(subjects)}")
        for name, value in claims:
            page.line("      ", (f"{name.replace('_', ' '):<26}  ", DIM), value)


# -- floor, policy, reasons -----------------------------------------------------------------------------------------------


def _floor(page: Page, verdict: doc.VerdictDoc, *, explain: bool) -> None:
    if not verdict["floor"]:
        return
    page.head("Floor")
    page.line("  ", (tally(verdict["floor"]), DIM))
    (_each if explain else _lists)(page, verdict["floor"])


def answered(answers: Iterable[doc.AnswerDoc]) -> list[Answered]:
    """Answers that differ in the subject only, together, in order of first appearance."""
    groups: dict[tuple[str, bool, tuple[str, ...]], list[str]] = {}
    for answer in answers:
        groups.setdefault((answer["action"], answer["allowed"], tuple(answer["rules"])), []).append(answer["subject"])
    return [Answered(*group, tuple(subjects)) for group, subjects in groups.items()]


def _policy(page: Page, verdict: doc.VerdictDoc) -> None:
    policy = verdict["policy"]
    page.head("Policy")
    if policy is None:
        page.line("  ", NO_PERMISSION)
        return
    page.line(
        f"  {policy['name']} serial {policy['serial']}", (f"  rules {policy['rules'][:16]}  reference {policy['reference'][:16]}", DIM)
    )
    page.line(("  key ", DIM), policy["key"], (f"  engine {policy['engine']}", DIM))
    if not policy["answers"]:
        page.line("  not asked: a device is not authentic")
    for group in answered(policy["answers"]):
        word, style = ("yes", GOOD) if group.allowed else ("no", BAD)
        by = f"by {', '.join(group.rules)}" if group.rules else ""
        page.line("      ", (f"{word:<11}", style), f"  {group.action} {span(group.subjects)}  ", (by, DIM))


def _reasons(page: Page, verdict: doc.VerdictDoc) -> None:
    """Everything that speaks against a release, save what could not be checked: that has its own list."""
    unchecked = {(item["subject"], item["id"]) for item in verdict["not_checked"]}
    against = [reason for reason in verdict["reasons"] if (reason["subject"], reason["code"]) not in unchecked]
    if not against:
        return
    page.head("Why not")
    for group in grouped(against):
        reason = group.reason
        page.line("  ", (span(group.subjects) or "input", "bold"), f"  {reason['message']}", (f"  [{reason['code']}]", DIM))
        for label, value in (
            ("rule", reason["rule"]),
            ("where", reason["where"]),
            ("found", reason["found"]),
            ("expected", reason["expected"]),
            ("fix", reason["fix"]),
        ):
            if value:
                page.line("      ", (f"{label:<8}  ", DIM), value)


def gathered(items: Iterable[doc.NotCheckedDoc]) -> list[tuple[str, doc.NotCheckedDoc]]:
    """What was not checked, the same of several devices once, with all of their names."""
    groups: dict[tuple[str, str], tuple[doc.NotCheckedDoc, list[str]]] = {}
    for item in items:
        groups.setdefault((item["id"], item["why"]), (item, []))[1].append(item["subject"])
    return [(span(subjects), item) for item, subjects in groups.values()]


def _open(page: Page, title: str, items: Sequence[doc.NotCheckedDoc]) -> None:
    if not items:
        return
    page.head(title)
    for subjects, item in gathered(items):
        page.line("  ", (subjects, "bold"), f"  {item['title']}", (f"  [{item['id']}]", DIM))
        if item["why"]:
            page.line("      ", (item["why"], DIM))
