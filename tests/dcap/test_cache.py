"""What is remembered changes no answer: time, revocation and the bytes themselves are judged on every call."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from attest.dcap.cache import Cache, clear_caches
from attest.dcap.simulate_pki import SimulatedIntel, make_crl
from attest.errors import AttestError
from attest.evidence import Collateral, CollateralItem, CollateralType, Evidence
from attest.kinds.tdx import TDX
from attest.kinds.tdx.simulate import default_guest, simulate, trust

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def pki() -> SimulatedIntel:
    return SimulatedIntel.create(at=AT)


@pytest.fixture
def session(pki):
    clear_caches()
    recipes = []
    evidence, items = simulate(pki, default_guest(), report_data=bytes(64), at=AT, change=recipes.append)

    def run(evidence=evidence, items=items, at=AT):
        return TDX.verify(evidence, trust=trust(pki), collateral=Collateral(items), at=at)

    return run, recipes[0], evidence, items


def test_the_second_answer_is_the_first(session):
    run, *_ = session
    first, second = run(), run()
    assert first.checks == second.checks
    assert (first.claims, first.valid_until, first.collateral, first.chain) == (
        second.claims,
        second.valid_until,
        second.collateral,
        second.chain,
    )


@pytest.mark.parametrize(
    ("shift", "code"),
    [
        (timedelta(days=29), ""),
        (timedelta(days=29, seconds=1), "dcap.pck-crl"),
        (timedelta(days=40), "dcap.pck-crl"),
        (timedelta(days=-1, seconds=-1), "dcap.pck-crl"),
        (timedelta(days=365 * 5), "pki.chain.expired"),
        (timedelta(days=-320), "pki.chain.not-yet-valid"),
    ],
)
def test_time_is_judged_again(session, shift, code):
    run, *_ = session
    run()
    if not code:
        run(at=AT + shift - timedelta(seconds=1))
        return
    for _ in range(2):
        with pytest.raises(AttestError) as caught:
            run(at=AT + shift)
        assert caught.value.code == code
    run()


def test_a_new_crl_revokes(session, pki):
    run, recipe_, _, items = session
    run()
    revoking = make_crl(pki.authorities["platform"], start=AT, end=AT + timedelta(days=30), revoked=[recipe_.leaf_serial])
    fresh = [item for item in items if "platform" not in item.name]
    fresh.append(CollateralItem(CollateralType.CRL, "new", revoking, AT))
    for _ in range(2):
        with pytest.raises(AttestError) as caught:
            run(items=tuple(fresh))
        assert caught.value.code == "pki.crl.revoked"
    # both lists: the old one does not make good what the new one says
    with pytest.raises(AttestError) as caught:
        run(items=(*items, fresh[-1]))
    assert caught.value.code == "pki.crl.revoked"
    run()


def test_no_byte_of_the_quote_is_taken_from_memory(session):
    run, _, evidence, _ = session
    run()
    quote = evidence.part("quote")
    for position in range(0, 60 + 648 + 4 + 134 + 384 + 64 + 40, 7):
        changed = bytearray(quote)
        changed[position] ^= 1
        with pytest.raises(AttestError):
            run(evidence=Evidence.of("tdx", "cpu", {"quote": bytes(changed)}))


def test_another_trust_store_is_another_question(session):
    run, _, evidence, items = session
    run()
    other = SimulatedIntel.create(at=AT)
    with pytest.raises(AttestError) as caught:
        TDX.verify(evidence, trust=trust(other), collateral=Collateral(items), at=AT)
    assert caught.value.code == "pki.chain.anchor"


def test_of_two_tcb_infos_the_stricter_one_counts(session):
    """Standard and early: the higher evaluation data number, while it speaks."""
    run, recipe_, _, items = session
    recipe_.tcb_info = recipe_.tcb_info | {"tcbEvaluationDataNumber": 22}
    levels = [dict(level) for level in recipe_.tcb_info["tcbLevels"]]
    levels[0] |= {"tcbStatus": "OutOfDate"}
    recipe_.tcb_info["tcbLevels"] = levels
    recipe_.qe_identity = recipe_.qe_identity | {"tcbEvaluationDataNumber": 22}
    early = [item for item in recipe_.collateral() if item.type is CollateralType.TCB_INFO][0]  # noqa: RUF015
    both = (*items, CollateralItem(early.type, "early", early.data, AT))
    assert run().claims.tcb_status == "UpToDate"
    claims = run(items=both).claims
    assert (claims.tcb_status, claims.tcb_evaluation_number) == ("OutOfDate", 21)


def test_the_cache_is_bounded_and_forgets_the_oldest():
    cache: Cache[int] = Cache(2)
    for number in range(3):
        cache.put((str(number),), number + 1)
        cache.get(("1",))
    assert (len(cache), cache.get(("0",)), cache.get(("1",)), cache.get(("2",))) == (2, None, 2, 3)
