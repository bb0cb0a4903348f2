"""The shipped policies: every case beside them, every condition proven to decide alone, every fail-open input of others refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest

from attest.appraisal import WorkloadClaims
from attest.decision import Action, Answer
from attest.errors import MalformedError, UsageError
from attest.evidence import ClaimEnum, ClaimSet, declared
from attest.kinds import KINDS
from attest.policy import shipped
from attest.policy.bundle import Policy, check_policy, read_files
from attest.policy.explain import Request
from attest.policy.rule import PERMIT, Member, leaves
from attest.policy.shipped import shipped_names, shipped_policies, shipped_policy
from attest.wire import Fields, Json

GPUS = {"h100x8-snp": 8, "h100-snp": 1, "tdx-h100x8": 8}
SUBJECTS = ("gpu", "cpu", "workload")


def guest(policy: str) -> str:
    """The kind of the CPU TEE that a policy is about."""
    return "tdx" if policy.startswith("tdx") else "sev-snp"


def types(policy: str) -> Mapping[str, tuple[Action, str, type[ClaimSet]]]:
    """What each subject of a policy's cases is."""
    kinds = {kind.name: kind for kind in KINDS}
    gpu, cpu = kinds["nvidia-gpu"], kinds[guest(policy)]
    return {
        "gpu": (Action.ACCEPT, gpu.principal, gpu.claims_type),
        "cpu": (Action.ACCEPT, cpu.principal, cpu.claims_type),
        "workload": (Action.RELEASE, "Workload", WorkloadClaims),
    }


def claims(kind: type[ClaimSet], given: Mapping[str, Json]) -> dict[str, object]:
    """All claims of a kind: those given (versions as text), and a neutral value for each that no rule reads."""
    found: dict[str, object] = {}
    for name, (hint, info) in declared(kind).items():
        if name in given and info.form is not None:
            text = str(given[name])
            found[name], found[info.version] = info.form.pack(text), text
        elif name in given:
            value = given[name]
            found[name] = frozenset(value) if isinstance(value, list) else value
        elif name not in found:
            neutral = (
                next(iter(hint)) if isinstance(hint, type) and issubclass(hint, ClaimEnum) else {bool: False, int: 0, str: ""}.get(hint)
            )  # type: ignore[call-overload]
            found[name] = frozenset() if neutral is None else neutral
    assert set(given) <= set(found), "a case names a claim that does not exist"
    return found


@dataclass(frozen=True)
class Case:
    name: str
    subject: str
    change: Mapping[str, Json]
    refused: str


@dataclass(frozen=True)
class Suite:
    policy: Policy
    accepted: Mapping[str, Mapping[str, Json]]
    cases: tuple[Case, ...]

    def request(self, subject: str, **change: Json) -> Request:
        action, principal, kind = types(self.policy.identity.name)[subject]
        return Request(action, subject, principal, claims(kind, {**self.accepted[subject], **change}))

    def answer(self, subject: str, **change: Json) -> Answer:
        return self.policy.answer([self.request(subject, **change)], key="weights")[0]


def read_suite(folder: Path) -> Suite:
    fields = Fields.parse((folder / "tests" / "cases.json").read_bytes(), "cases.json")
    assert fields.text("format") == "attest-policy-cases/1"
    accepted = fields.object("accepted")
    known = {name: json_object(accepted.value(name)) for name in SUBJECTS}
    accepted.done()
    cases = []
    for item in fields.objects("cases"):
        cases.append(
            Case(item.text("name"), item.text("subject"), json_object(item.value("set")), item.optional("refused", item.text) or "")
        )
        item.done()
    fields.done()
    return Suite(Policy.load(folder), known, tuple(cases))


def json_object(value: Json) -> Mapping[str, Json]:
    assert isinstance(value, dict)
    return value


SUITES = {name: read_suite(shipped_policy(name)) for name in GPUS}


def all_cases() -> Iterator[tuple[str, Case]]:
    for name, suite in SUITES.items():
        for case in suite.cases:
            yield name, case


def test_the_shipped_policies_are_found_and_clean() -> None:
    assert shipped_names() == tuple(sorted((*GPUS, "tpm-loader")))  # the last has tests of its own: test_tpm_loader.py
    for name in GPUS:
        assert check_policy(read_files(shipped_policy(name))) == (), name
        assert (shipped_policies() / name / "README.md").is_file()
        policy = SUITES[name].policy
        assert policy.identity.name == name
        assert policy.topology == {"nvidia-gpu": GPUS[name], guest(name): 1}


def test_where_shipped_policies_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the package in a source tree, inside it when it is installed."""
    monkeypatch.setattr(shipped, "__file__", str(tmp_path / "attest" / "policy" / "shipped.py"))
    assert shipped_policies() == tmp_path / "policies"
    (tmp_path / "attest" / "_policies" / "one").mkdir(parents=True)
    (tmp_path / "attest" / "_policies" / "one" / "policy.json").write_text("{}")
    assert shipped_policies() == tmp_path / "attest" / "_policies"
    assert shipped_names() == ("one",)
    with pytest.raises(UsageError, match="oen") as refused:
        shipped_policy("oen")
    assert "Did you mean 'one'?" in refused.value.hint


def test_a_folder_that_is_no_policy(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_files(tmp_path / "none")
    for name, data in SUITES["h100-snp"].policy.files.items():
        (tmp_path / name).write_bytes(data)
    assert Policy.load(tmp_path).identity == SUITES["h100-snp"].policy.identity
    (tmp_path / "rules.cedar").write_bytes(b" " * (1 << 20))
    with pytest.raises(MalformedError, match="too long"):
        Policy.load(tmp_path)


@pytest.mark.parametrize("name", SUITES)
def test_an_appraisal_is_asked_device_by_device_then_as_a_whole(name: str) -> None:
    suite = SUITES[name]

    def judged(subject: str, label: str, kind: str) -> SimpleNamespace:
        return SimpleNamespace(subject=label, kind=kind, claims=SimpleNamespace(values=lambda: suite.request(subject).claims))

    devices = [judged("gpu", f"gpu-{number}", "nvidia-gpu") for number in range(3)]
    devices += [judged("cpu", "cpu", guest(name)), judged("cpu", "odd", "nitro")]
    appraisal = SimpleNamespace(devices=devices, workload=SimpleNamespace(values=lambda: suite.request("workload").claims))
    answers = suite.policy.evaluate(appraisal, key="weights")  # type: ignore[arg-type]
    assert [(answer.action, answer.subject, answer.allowed) for answer in answers] == [
        (Action.ACCEPT, "gpu-0", True), (Action.ACCEPT, "gpu-1", True), (Action.ACCEPT, "gpu-2", True), (Action.ACCEPT, "cpu", True),
        (Action.ACCEPT, "odd", False), (Action.RELEASE, "workload", True),
    ]  # fmt: skip


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize("subject", SUBJECTS)
def test_the_accepted_claims_are_accepted(name: str, subject: str) -> None:
    answer = SUITES[name].answer(subject)
    assert answer.allowed, answer.reasons
    assert answer.rules == ({"gpu": "gpu", "cpu": f"{guest(name).removeprefix('sev-')}-guest", "workload": "release"}[subject],)


@pytest.mark.parametrize(("name", "case"), [pytest.param(name, case, id=f"{name}: {case.name}") for name, case in all_cases()])
def test_case(name: str, case: Case) -> None:
    answer = SUITES[name].answer(case.subject, **case.change)
    if not case.refused:
        assert answer.allowed, answer.reasons
        return
    assert answer.allowed is False
    assert [reason.code for reason in answer.reasons] == [case.refused], "exactly one condition decides"
    [reason] = answer.reasons
    assert all((reason.rule, reason.found, reason.expected, reason.where, reason.fix, reason.subject == case.subject))


@pytest.mark.parametrize("name", SUITES)
def test_every_condition_of_every_rule_decides_some_case_alone(name: str) -> None:
    """Coverage: a condition that no case refuses by itself could be removed without anybody noticing."""
    suite = SUITES[name]
    deciding = set()
    for case in suite.cases:
        if case.refused:
            [reason] = suite.answer(case.subject, **case.change).reasons
            deciding.add((reason.rule, reason.message.split()[1], reason.expected))
    rules = suite.policy._explainer._rules
    assert all(rule.effect == PERMIT for rule in rules)
    conditions = [condition for rule in rules for condition in rule.conditions]
    sole = {name for name, members in suite.policy._vocabulary.enums.items() if len(members) == 1}
    deciders = [c for c in conditions if not any(isinstance(leaf, Member) and leaf.vocabulary in sole for leaf in leaves(c.expression))]
    assert len(conditions) - len(deciders) == 1, "one architecture so far: nothing can fail that condition"
    assert len(deciding) == len(deciders), sorted(deciding)


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize(("word", "other"), [('"spt"', '"mpt"'), ('"vcek"', '"vlek"'), ('"UpToDate"', '"OutOfDate"')])
def test_a_value_mistaken_for_its_neighbour_is_caught_by_the_cases(name: str, word: str, other: str) -> None:
    """These two misspellings are values themselves, so the rules load; the cases beside them do not come out."""
    suite = SUITES[name]
    if word.encode() not in suite.policy.files["rules.cedar"]:
        assert word == ('"UpToDate"' if guest(name) == "sev-snp" else '"vcek"')
        return
    changed = suite.policy.files["rules.cedar"].replace(word.encode(), other.encode())
    assert changed != suite.policy.files["rules.cedar"]
    wrong = dataclasses.replace(suite, policy=Policy.from_files({**suite.policy.files, "rules.cedar": changed}))
    cases = [*suite.cases, *(Case("", subject, {}, "") for subject in SUBJECTS)]
    assert any(wrong.answer(case.subject, **case.change).allowed is bool(case.refused) for case in cases)


FAIL_OPEN = [
    # what others' shipped policies accepted -> subject, claims, code of the only reason
    ("the status of the only device is absent", "gpu", {"debug": ...}, "policy.malformed"),
    ("the status has a misspelt name", "gpu", {"debug": ..., "debgu": "off"}, "policy.malformed"),
    ("no GPU although the workload needs one", "workload", {"gpu_count": 0}, "policy.refused"),
    ("no claims at all", "cpu", None, "policy.malformed"),
    ("a sample TEE under another name", "cpu", {"measurement": "", "signing_key": "vcek"}, "policy.refused"),
    ("genuine hardware in a state that is known to be bad", "cpu", {"committed_snp": 4}, "policy.refused"),
    ("zero GPUs", "workload", {"gpu_count": 0, "device_count": 1}, "policy.refused"),
    ("measurements failed, and the list of mismatches is empty", "gpu", {"driver_measurements": "mismatch"}, "policy.refused"),
    ("debugging on, measurements right", "gpu", {"debug": "on"}, "policy.refused"),
]


# The same of the CPU TEE, in the claims of each kind.
OF_GUEST: Mapping[str, Mapping[str, Mapping[str, object]]] = {
    "sev-snp": {
        "a sample TEE under another name": {"measurement": "", "signing_key": "vcek"},
        "genuine hardware in a state that is known to be bad": {"committed_snp": 4},
    },
    "tdx": {
        "a sample TEE under another name": {"mr_td": "", "tcb_status": "UpToDate"},
        "genuine hardware in a state that is known to be bad": {"tcb_status": "OutOfDate"},
    },
}


@pytest.mark.parametrize("name", SUITES)
@pytest.mark.parametrize(("what", "subject", "change", "code"), FAIL_OPEN, ids=[item[0] for item in FAIL_OPEN])
def test_what_other_policies_let_through(name: str, what: str, subject: str, change: Mapping[str, object] | None, code: str) -> None:
    suite = SUITES[name]
    if change and subject == "cpu":
        change = OF_GUEST[guest(name)][what]
    request = suite.request(subject)
    changed = {} if change is None else {key: value for key, value in {**request.claims, **change}.items() if value is not ...}
    [answer] = suite.policy.answer([dataclasses.replace(request, claims=changed)], key="weights")
    assert answer.allowed is False
    assert {reason.code for reason in answer.reasons} == {code}


@pytest.mark.parametrize("name", SUITES)
def test_no_claim_of_an_accepted_node_can_be_deleted_renamed_or_retyped(name: str) -> None:
    suite, tried = SUITES[name], 0
    for subject in SUBJECTS:
        request = suite.request(subject)
        for claim, value in request.claims.items():
            rest = {other: kept for other, kept in request.claims.items() if other != claim}
            wrong = [other for other in (None, "x", 7, 1.5, True, ["x"], {"x": 1}, frozenset({1}), b"x") if type(other) is not type(value)]
            if isinstance(value, ClaimEnum):
                wrong += [value.value.upper(), value.value + " ", ""]
            changes = [rest, {**rest, claim + "_": value}, {**rest, claim.upper(): value}, *({**rest, claim: other} for other in wrong)]
            answers = suite.policy.answer([dataclasses.replace(request, claims=changed) for changed in changes], key="weights")
            for answer, changed in zip(answers, changes, strict=True):
                tried += 1
                assert answer.allowed is False, (claim, changed.get(claim))
                assert {reason.code for reason in answer.reasons} == {"policy.malformed"}
    assert tried > 1000


@pytest.mark.parametrize("name", SUITES)
def test_every_other_value_of_every_vocabulary_is_refused_or_not_read(name: str) -> None:
    """Flipping one closed claim gives a refusal, or the claim is one that no rule reads, or the value is listed as good."""
    suite = SUITES[name]
    read = {subject: set(suite.accepted[subject]) for subject in SUBJECTS}
    good = {
        "mode": {"spt"} if name == "h100-snp" else {"spt", "ppcie"},
        "recipient_algorithm": {"x25519", "p384", "mlkem768_x25519"},
        "current_tcb_status": {"UpToDate", "NotReported"},
    }
    for subject, (_, _, kind) in types(name).items():
        for claim, (hint, _) in declared(kind).items():
            if isinstance(hint, type) and issubclass(hint, ClaimEnum):
                for member in hint:
                    allowed = suite.answer(subject, **{claim: member.value}).allowed
                    expected = claim not in read[subject] or member.value in good.get(claim, {suite.accepted[subject].get(claim)})
                    assert allowed is expected, (claim, member)
