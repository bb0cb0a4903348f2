"""What a policy can talk about, generated: entity types and vocabularies from claim types, the key's attributes from reference data.

Claims are attributes of the principal, so that ``principal.vmpl`` is typed by the principal's kind. There are no optional attributes
(host rule H7), and every closed vocabulary is an entity type with an enumeration (H8). Only the kinds of the policy's own topology are
in its schema: another kind in a later version leaves the schema, and its digest, as it was.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Protocol

from attest.crypto import sha256
from attest.decision import Action
from attest.evidence import ClaimEnum, ClaimInfo, ClaimSet, declared
from attest.policy.reference import AGE, Reference, ReferenceType, ReferenceValue
from attest.versions import VersionForm
from attest.wire import Json

WORKLOAD_TYPE: Final = "Workload"
KEY_TYPE: Final = "Key"
BOOL: Final = "Bool"
LONG: Final = "Long"
STRING: Final = "String"
STRINGS: Final = "Set<String>"
_BUILT_IN: Final = frozenset({BOOL, LONG, STRING, "Set", "Action", KEY_TYPE, WORKLOAD_TYPE})
_REFERENCE_TYPES: Final = {
    ReferenceType.SET: STRINGS,
    ReferenceType.LONG: LONG,
    ReferenceType.TEXT: STRING,
    ReferenceType.VERSION: LONG,
}
_PLAIN: Final[Mapping[object, str]] = {bool: BOOL, int: LONG, str: STRING, frozenset[str]: STRINGS}
_WORD: Final = re.compile(r"[A-Za-z0-9_.-]+\Z")


class KindOfDevice(Protocol):
    """What the schema needs to know of an evidence kind."""

    @property
    def name(self) -> str: ...
    @property
    def principal(self) -> str: ...
    @property
    def claims_type(self) -> type[ClaimSet]: ...


@dataclass(frozen=True, slots=True)
class ClaimType:
    """One claim: its Cedar type, its declaration, and whether its type is a closed vocabulary."""

    name: str
    type: str
    info: ClaimInfo
    closed: bool


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """Everything that the rules of one policy can name.

    principals   entity type to claims; the workload's too
    kinds        kind name to entity type
    actions      action to the entity types that can be asked about
    enums        vocabulary to its members, in declaration order
    references   attributes of the key: name to reference value
    text         the Cedar schema
    digest       hex SHA-256 of ``text``
    """

    principals: Mapping[str, Mapping[str, ClaimType]]
    kinds: Mapping[str, str]
    actions: Mapping[str, tuple[str, ...]]
    enums: Mapping[str, tuple[str, ...]]
    references: Mapping[str, ReferenceValue]
    text: str
    digest: str

    def reference_type(self, name: str) -> str:
        """Cedar type of a reference value."""
        return _REFERENCE_TYPES[self.references[name].type]

    def key_attributes(self) -> dict[str, Json]:
        """Reference values in the engine's JSON form."""
        return {name: list(value.value) if isinstance(value.value, tuple) else value.value for name, value in self.references.items()}


def claim_types(claims: type[ClaimSet]) -> Mapping[str, ClaimType]:
    """Claims of a claims class with their Cedar types. Raises TypeError for a field type that claims cannot have."""
    found = {}
    for name, (hint, info) in declared(claims).items():
        closed = isinstance(hint, type) and issubclass(hint, ClaimEnum)
        cedar = hint.__name__ if isinstance(hint, type) and closed else _PLAIN.get(hint)
        if cedar is None:
            raise TypeError(f"{claims.__name__}.{name}: {hint!r} is not a type of claims")
        found[name] = ClaimType(name, cedar, info, closed)
    return MappingProxyType(found)


def vocabularies(claims: Sequence[type[ClaimSet]]) -> Mapping[str, tuple[str, ...]]:
    """Closed vocabularies of claims classes, by name. Raises TypeError when two share a name, or a member is not one word."""
    found: dict[str, type[ClaimEnum]] = {}
    for owner in claims:
        for hint, _ in declared(owner).values():
            if not (isinstance(hint, type) and issubclass(hint, ClaimEnum)):
                continue
            if found.setdefault(hint.__name__, hint) is not hint or hint.__name__ in _BUILT_IN:
                raise TypeError(f"two vocabularies are called {hint.__name__}")
            if not all(_WORD.match(member.value) for member in hint):
                raise TypeError(f"{hint.__name__} has a member that is not one word")
    return MappingProxyType({name: tuple(member.value for member in found[name]) for name in sorted(found)})


def version_forms(claims: Sequence[type[ClaimSet]]) -> Mapping[str, VersionForm]:
    """Claims that are packed versions, with their form. Raises TypeError when two of one name differ, or one has text but no form."""
    found: dict[str, VersionForm] = {}
    for owner in claims:
        for name, (_, info) in declared(owner).items():
            if bool(info.version) is not bool(info.form):
                raise TypeError(f"{owner.__name__}.{name} is half a version")
            if info.form is not None and found.setdefault(name, info.form) is not info.form:
                raise TypeError(f"{name} is packed in two ways")
    return found


def vocabulary_of(kinds: Sequence[KindOfDevice], workload: type[ClaimSet], reference: Reference) -> Vocabulary:
    """The vocabulary of a policy with this reference data. Kinds that are not in the topology are left out."""
    present = sorted((kind for kind in kinds if kind.name in reference.topology), key=lambda kind: kind.name)
    devices = tuple(kind.principal for kind in present)
    principals = {kind.principal: claim_types(kind.claims_type) for kind in present}
    principals[WORKLOAD_TYPE] = claim_types(workload)
    enums = vocabularies([*(kind.claims_type for kind in present), workload])
    if len(principals) != len(present) + 1 or set(principals) & (set(enums) | (_BUILT_IN - {WORKLOAD_TYPE})):
        raise TypeError("two entity types have one name")
    seconds = int(reference.max_evidence_age.total_seconds())
    references = dict(reference.values)
    references[AGE] = ReferenceValue(AGE, ReferenceType.LONG, seconds, f"{seconds} seconds", "age bound of the policy")
    actions = {Action.ACCEPT.value: devices, Action.RELEASE.value: (WORKLOAD_TYPE,)}
    text = schema_text(principals, enums, references, actions)
    return Vocabulary(
        MappingProxyType(principals),
        MappingProxyType({kind.name: kind.principal for kind in present}),
        MappingProxyType(actions),
        enums,
        MappingProxyType(references),
        text,
        sha256(text.encode()).hex(),
    )


def schema_text(
    principals: Mapping[str, Mapping[str, ClaimType]],
    enums: Mapping[str, tuple[str, ...]],
    references: Mapping[str, ReferenceValue],
    actions: Mapping[str, tuple[str, ...]],
) -> str:
    """A Cedar schema. The same input gives the same text."""
    lines = [f"entity {name} enum [{', '.join(_quoted(member) for member in members)}];" for name, members in enums.items()]
    for name, claims in principals.items():
        lines.append(f"entity {name} = {{")
        lines += [f"  {claim.name}: {claim.type}," for claim in claims.values()]
        lines.append("};")
    lines.append(f"entity {KEY_TYPE} = {{")
    lines += [f"  {name}: {_REFERENCE_TYPES[references[name].type]}," for name in sorted(references)]
    lines.append("};")
    for action, askers in actions.items():
        lines.append(f'action "{action}" appliesTo {{ principal: [{", ".join(askers)}], resource: [{KEY_TYPE}], context: {{}} }};')
    return "\n".join(lines) + "\n"


def _quoted(text: str) -> str:
    return f'"{text}"'
