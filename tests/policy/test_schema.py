"""The schema is generated from claim types, and refuses claim types that it could not say unambiguously."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import pytest

from attest.appraisal import WorkloadClaims
from attest.evidence import ClaimEnum, ClaimInfo, Claims, ClaimSet
from attest.kinds import KINDS
from attest.policy import engine
from attest.policy.reference import Reference
from attest.policy.schema import claim_types, version_forms, vocabularies, vocabulary_of
from attest.versions import VersionForm

if TYPE_CHECKING:
    from conftest import Kit


class Debug(ClaimEnum):
    """Another vocabulary of a name that is taken."""

    MAYBE = "maybe"


class Key(ClaimEnum):
    """A vocabulary with the name of an entity type."""

    GOLD = "gold"


class Words(ClaimEnum):
    """A member that is not one word."""

    TWO = 'two "words'


def claims_with(hint: object, **info: object) -> type[ClaimSet]:
    """A claims class with one claim of this type."""
    declaration = ClaimInfo("x", where="x", **info)  # type: ignore[arg-type]
    made = type("Made", (ClaimSet,), {"__annotations__": {"claim": Annotated[hint, declaration]}})  # type: ignore[valid-type]
    return dataclass(frozen=True, kw_only=True)(made)


@dataclass(frozen=True)
class Made:
    name: str
    principal: str
    claims_type: type[Claims]


def reference(*kinds: str) -> Reference:
    return Reference(dict.fromkeys(kinds, 1), timedelta(seconds=60), {}, "")


@pytest.mark.parametrize("vocabulary", [Debug, Key, Words])
def test_a_vocabulary_that_cannot_be_told_apart_is_refused(vocabulary: type[ClaimEnum]) -> None:
    with pytest.raises(TypeError):
        vocabularies([WorkloadClaims, *(kind.claims_type for kind in KINDS), claims_with(vocabulary)])


@pytest.mark.parametrize("hint", [float, bytes, list, dict, frozenset[int], int | None])
def test_a_type_that_claims_cannot_have_is_refused(hint: object) -> None:
    with pytest.raises(TypeError, match="not a type of claims"):
        claim_types(claims_with(hint))


@pytest.mark.parametrize("info", [{"version": "text"}, {"form": VersionForm.FIVE_BYTES}])
def test_half_a_version_is_refused(info: dict[str, object]) -> None:
    with pytest.raises(TypeError, match="half a version"):
        version_forms([claims_with(int, **info)])


def test_a_version_packed_in_two_ways_is_refused() -> None:
    one, other = (claims_with(int, version="text", form=form) for form in (VersionForm.FIVE_BYTES, VersionForm.THREE_PARTS))
    assert version_forms([one, one]) == {"claim": VersionForm.FIVE_BYTES}
    with pytest.raises(TypeError, match="packed in two ways"):
        version_forms([one, other])


@pytest.mark.parametrize("principal", ["Chip", "Debug", "Key", "Workload", "Action", "Long"])
def test_two_entity_types_of_one_name_are_refused(kit: Kit, principal: str) -> None:
    chip = kit.kinds[1]
    with pytest.raises(TypeError, match="two entity types"):
        vocabulary_of([chip, Made("other", principal, chip.claims_type)], WorkloadClaims, reference("chip", "other"))


def test_every_kind_gives_a_schema_that_the_engine_reads() -> None:
    """All kinds together: their vocabularies and entity types do not clash."""
    made = vocabulary_of(KINDS, WorkloadClaims, reference(*(kind.name for kind in KINDS)))
    assert set(made.kinds) == {kind.name for kind in KINDS}
    rule = 'permit(principal, action == Action::"accept", resource) when { principal.simulated };'
    assert engine.validate(rule, made.text) == ()
    for kind in KINDS:
        assert set(made.principals[kind.principal]) == set(kind.claims_type.__dataclass_fields__)


def test_versions_of_every_kind_are_spelled_by_a_text_claim() -> None:
    for kind in KINDS:
        types = claim_types(kind.claims_type)
        for claim in types.values():
            if claim.info.version:
                assert types[claim.info.version].type == "String"
                assert types[claim.info.version].info.where == claim.info.where
