"""Evidence is bytes with a digest; Verified can only come out of a verification that forgot nothing."""

from __future__ import annotations

import copy
import pickle
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import pytest
from hypothesis import given
from hypothesis import strategies as st

import attest
from attest import limits
from attest.checks import Check, Checklist
from attest.crypto import sha256
from attest.errors import MalformedError
from attest.evidence import (
    ClaimInfo,
    Claims,
    Collateral,
    CollateralItem,
    CollateralType,
    Debug,
    Evidence,
    Revocation,
    Verified,
    conclude,
    declared,
)
from attest.trust import Origin, TrustStore

AT = datetime(2026, 6, 1, tzinfo=UTC)
CHECK = Check("test.check", "a thing", "here")

# -- evidence ----------------------------------------------------------------------------------------------------------------

NAMES = st.text("abc", max_size=3)
PARTS = st.dictionaries(NAMES, st.binary(max_size=4), max_size=3)


@given(NAMES, PARTS, NAMES, PARTS)
def test_the_digest_identifies_kind_and_parts(kind, parts, other_kind, other_parts):
    left, right = Evidence.of(kind, "gpu-0", parts), Evidence.of(other_kind, "gpu-1", other_parts)
    assert (left.digest == right.digest) is ((kind, parts) == (other_kind, other_parts))


def test_the_order_of_parts_does_not_matter():
    assert Evidence.of("k", "l", {"a": b"1", "b": b"2"}) == Evidence.of("k", "l", {"b": b"2", "a": b"1"})


def test_evidence_does_not_change_with_what_it_was_made_of():
    parts = {"report": bytearray(b"abc")}
    evidence = Evidence.of("k", "l", parts)
    parts["report"][0] = 0
    parts["more"] = b""
    assert dict(evidence.parts) == {"report": b"abc"}
    with pytest.raises(TypeError):
        evidence.parts["report"] = b""


def test_parts_are_bounded():
    Evidence.of("k", "l", {"report": bytes(limits.MAX_EVIDENCE_PART_BYTES)})
    with pytest.raises(MalformedError) as caught:
        Evidence.of("k", "gpu-0", {"report": bytes(limits.MAX_EVIDENCE_PART_BYTES + 1)})
    assert caught.value.code == "wire.too-long"
    assert "gpu-0: report" in str(caught.value)


def test_a_missing_part_names_the_device():
    evidence = Evidence.of("k", "gpu-0", {"report": b"abc"})
    assert evidence.part("report") == b"abc"
    with pytest.raises(MalformedError) as caught:
        evidence.part("chain")
    reason = caught.value.reasons[0]
    assert (reason.code, reason.subject, reason.found, reason.expected) == ("evidence.part-missing", "gpu-0", "report", "chain")


def test_collateral_by_type():
    items = tuple(CollateralItem(kind, str(index), bytes([index]), AT) for index, kind in enumerate((*CollateralType, CollateralType.OCSP)))
    collateral = Collateral(items)
    assert [item.name for item in collateral.of_type(CollateralType.OCSP)] == ["2", str(len(items) - 1)]
    assert items[1].digest == sha256(b"\1").hex()
    assert Collateral().of_type(CollateralType.CRL) == ()


# -- claims --------------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class MyClaims(Claims):
    level: Annotated[int, ClaimInfo("Level", where="report 0x030", vendor="VMPL")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Undeclared(Claims):
    level: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Misdeclared(Claims):
    level: Annotated[int, "Level"]


def claims(*, simulated: bool = True) -> MyClaims:
    return MyClaims(debug=Debug.OFF, simulated=simulated, revocation=Revocation.GOOD, device_id="chip", level=3)


def test_claims_are_declared():
    found = declared(MyClaims)
    assert list(found) == ["debug", "simulated", "revocation", "device_id", "level"]
    assert found["level"] == (int, ClaimInfo("Level", where="report 0x030", vendor="VMPL"))
    assert found["debug"][0] is Debug
    assert list(claims().values()) == list(found)
    assert claims().values()["level"] == 3
    with pytest.raises(TypeError):
        claims().values()["level"] = 0


@pytest.mark.parametrize("bad", [Undeclared, Misdeclared])
def test_claims_without_a_declaration_are_a_bug(bad):
    with pytest.raises(TypeError, match="level has no ClaimInfo"):
        declared(bad)


# -- verified --------------------------------------------------------------------------------------------------------------------


def make(
    *, simulated: bool = True, origin: Origin = Origin.SIMULATED, at: datetime = AT, statement: bytes = bytes(48), passed: bool = True
):
    checklist = Checklist("gpu-0", (CHECK,))
    if passed:
        checklist.passed(CHECK, "detail")
    return conclude(
        Evidence.of("kind", "gpu-0", {"report": b"abc"}),
        claims(simulated=simulated),
        checklist=checklist,
        statement=statement,
        freshness=bytes(32),
        chain=("00" * 32,),
        trust=TrustStore.of("x", origin, ()),
        collateral=("11" * 32,),
        at=at,
        valid_until=AT,
    )


def test_verified_says_what_it_rests_on():
    verified = make()
    assert (verified.subject, verified.kind, verified.claims.level) == ("gpu-0", "kind", 3)
    assert verified.evidence_digest == Evidence.of("kind", "gpu-0", {"report": b"abc"}).digest
    assert verified.trust_digest == TrustStore.of("x", Origin.SIMULATED, ()).digest
    assert [(item.check, item.detail) for item in verified.checks] == [(CHECK, "detail")]
    assert repr(verified) == "<Verified kind gpu-0>"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"simulated": False}, "disagree on simulation"),
        ({"origin": Origin.PRODUCTION}, "disagree on simulation"),
        ({"at": datetime(2026, 6, 1)}, "naive"),  # noqa: DTZ001
        ({"statement": bytes(32)}, "statement"),
        ({"passed": False}, r"checks without a result: test\.check"),
    ],
)
def test_verification_that_cannot_be_concluded(changes, message):
    with pytest.raises(AssertionError, match=message):
        make(**changes)


def test_verified_is_made_by_verification_only():
    members = {name: getattr(make(), name) for name in Verified.__slots__}
    for seal in (None, object(), True):
        with pytest.raises(TypeError, match="verification only"):
            Verified(seal, members)


def test_verified_is_immutable_and_has_no_copies():
    verified = make()
    with pytest.raises(AttributeError):
        verified.claims = claims()
    with pytest.raises(AttributeError):
        del verified.claims
    with pytest.raises(AttributeError):
        verified.other = 1
    for copier in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="verify again"):
            copier(verified)


@pytest.mark.parametrize(("home", "maker"), [("evidence.py", "Verified("), ("pki/chain.py", "VerifiedChain(")])
def test_the_makers_of_verified_things_are_named_in_one_module(home, maker):
    """The seals are module constants; nobody else may write them, or the constructors, down."""
    root = Path(attest.__file__).parent
    others = [path for path in root.rglob("*.py") if path != root / home]
    assert others
    for path in others:
        text = path.read_text()
        assert f" {maker}" not in text, path
        assert f"{home.removesuffix('.py').replace('/', '.')} import _SEAL" not in text, path
