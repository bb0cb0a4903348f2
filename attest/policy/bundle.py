"""A policy that was loaded: rules, reference data and schema that fit together, ready to be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Final

from attest import limits
from attest.appraisal import Appraisal, WorkloadClaims
from attest.bundle import WORKLOAD
from attest.decision import Action, Answer, PolicyIdentity
from attest.errors import MalformedError, Reason, UsageError
from attest.kinds import KINDS
from attest.policy.check import FILES, Sound, examine
from attest.policy.engine import Engine, Question, engine_name
from attest.policy.explain import Explainer, Request, foreign, malformed
from attest.policy.finding import Finding
from attest.policy.projection import MisfitError, Projection
from attest.policy.schema import WORKLOAD_TYPE, Vocabulary

_LARGEST: Final = max(limits.MAX_POLICY_BYTES, limits.MAX_REFERENCE_BYTES)


def read_files(folder: Path) -> dict[str, bytes]:
    """The files of a policy folder; README, tests and anything else beside them are not part of it.

    Raises UsageError when the folder or one of them is missing, MalformedError when one is too large.
    """
    files: dict[str, bytes] = {}
    for name in FILES:
        path = folder / name
        if not path.is_file():
            raise UsageError.of(
                f"{folder} is not a policy", found=f"no {name}", expected=", ".join(FILES), fix="name the folder of a policy"
            )
        with path.open("rb") as stream:
            data = stream.read(_LARGEST + 1)
        if len(data) > _LARGEST:
            raise MalformedError.at("P101", f"{name} is too long", where=str(path), expected=f"at most {_LARGEST} bytes")
        files[name] = data
    return files


def check_policy(files: Mapping[str, bytes]) -> tuple[Finding, ...]:
    """All errors (P1xx) and warnings (P2xx) of a policy, in order of place. A policy loads exactly when none is an error."""
    return examine(files, KINDS, WorkloadClaims).findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A sound policy. Immutable; safe to share between threads.

    files              the exact files, all that is needed to load and ask the same policy again years later
    identity           name, serial and digests
    topology           kind of evidence to the number of devices that must be there
    max_evidence_age   oldest acceptable evidence
    description        what the policy is for
    owner              who answers for it
    warnings           findings that do not keep it from being loaded
    """

    files: Mapping[str, bytes]
    identity: PolicyIdentity
    topology: Mapping[str, int]
    max_evidence_age: timedelta
    description: str
    owner: str
    warnings: tuple[Finding, ...]
    _vocabulary: Vocabulary = field(repr=False)
    _projection: Projection = field(repr=False)
    _engine: Engine = field(repr=False)
    _explainer: Explainer = field(repr=False)

    @classmethod
    def load(cls, folder: Path) -> Policy:
        """Load a folder. Raises UsageError when it is no policy, MalformedError with one reason per error when it has any."""
        return cls.from_files(read_files(folder))

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Policy:
        """Load ``policy.json``, ``rules.cedar`` and ``reference.json``. Raises MalformedError with one reason per error."""
        examination = examine(files, KINDS, WorkloadClaims)
        if examination.sound is None:
            raise MalformedError(*(finding.reason() for finding in examination.errors))
        return cls._of(files, examination.sound, examination.findings)

    @classmethod
    def _of(cls, files: Mapping[str, bytes], sound: Sound, warnings: tuple[Finding, ...]) -> Policy:
        vocabulary = sound.vocabulary
        projection = Projection(sound.rules, vocabulary)
        engine = Engine(sound.text, projection.schema, vocabulary.key_attributes())
        return cls(
            files=MappingProxyType({name: bytes(files[name]) for name in FILES}),
            identity=PolicyIdentity(
                name=sound.manifest.name,
                serial=sound.manifest.serial,
                rules_digest=sound.rules_digest,
                reference_digest=sound.reference.digest,
                schema_digest=vocabulary.digest,
                engine=engine_name(),
            ),
            topology=sound.reference.topology,
            max_evidence_age=sound.reference.max_evidence_age,
            description=sound.manifest.description,
            owner=sound.manifest.owner,
            warnings=warnings,
            _vocabulary=vocabulary,
            _projection=projection,
            _engine=engine,
            _explainer=Explainer(engine, sound.rules, vocabulary),
        )

    @property
    def schema(self) -> str:
        """The Cedar schema that the rules were validated against, for editors and reviewers."""
        return self._vocabulary.text

    def evaluate(self, appraisal: Appraisal, *, key: str) -> tuple[Answer, ...]:
        """One answer per device of the appraisal, in order, then the answer to the release of ``key``."""
        requests = [
            Request(Action.ACCEPT, device.subject, self._vocabulary.kinds.get(device.kind, device.kind), device.claims.values())
            for device in appraisal.devices
        ]
        requests.append(Request(Action.RELEASE, WORKLOAD, WORKLOAD_TYPE, appraisal.workload.values()))
        return self.answer(requests, key=key)

    def answer(self, requests: Sequence[Request], *, key: str) -> tuple[Answer, ...]:
        """One answer per request, in order. A request that cannot be asked is refused, and spoils no other."""
        questions: list[Question] = []
        asked: list[int] = []
        answers: dict[int, Answer] = {}
        for index, request in enumerate(requests):
            if request.principal not in self._vocabulary.actions[request.action.value]:
                answers[index] = _no(request, (), (foreign(request.subject, request.principal, tuple(self._vocabulary.kinds)),))
                continue
            try:
                attributes = self._projection.attributes(request.principal, request.claims)
            except MisfitError as misfit:
                answers[index] = _no(request, (), (malformed(request.subject, str(misfit)),))
                continue
            questions.append(Question(request.action.value, request.principal, attributes))
            asked.append(index)
        verdicts = self._engine.ask(questions, key=key) if questions else ()
        refused: list[int] = []
        for position, (index, verdict) in enumerate(zip(asked, verdicts, strict=True)):
            request = requests[index]
            if verdict.allowed is True:
                answers[index] = Answer(request.action, request.subject, allowed=True, rules=verdict.rules)
            else:
                refused.append(position)
        if refused:
            told = self._explainer.explain([(requests[asked[i]], questions[i], verdicts[i]) for i in refused], key=key)
            for position, reasons in zip(refused, told, strict=True):
                answers[asked[position]] = _no(requests[asked[position]], verdicts[position].rules, reasons)
        return tuple(answers[index] for index in range(len(requests)))


def _no(request: Request, rules: tuple[str, ...], reasons: tuple[Reason, ...]) -> Answer:
    if not reasons:
        raise AssertionError("a refusal without a reason")
    return Answer(request.action, request.subject, allowed=False, rules=rules, reasons=reasons)
