"""Killed at any point, and raced by other processes: one ciphertext at most, for one caller, and an entry for it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection
from typing import Any

import pytest

from attest.errors import AttestError
from attest.ledger.files import DurableFolder
from attest.ledger.merkle import leaf_hash
from attest.release.archive import Archive
from attest.release.broker import Broker
from attest.release.keystore.local import LocalKeystore
from attest.release.state import BrokerState

FORK = multiprocessing.get_context("fork")
KEY = "weights/model-a"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def kill(owner: type, name: str, *, after: bool) -> Callable[[], None]:
    """Arrange for this process to die just before or just after a step."""

    def arrange() -> None:
        step = getattr(owner, name)

        def replaced(*arguments: Any, **named: Any) -> Any:
            if after:
                step(*arguments, **named)
            _die()

        setattr(owner, name, replaced)

    return arrange


def kill_at_rename(count: int) -> Callable[[], None]:
    """Die at the ``count``-th file that the ledger has written, before it gets its name."""

    def arrange() -> None:
        rename, seen = os.rename, 0

        def replaced(source: Any, target: Any) -> None:
            nonlocal seen
            if "/ledger/" in str(target):
                if seen == count:
                    _die()
                seen += 1
            rename(source, target)

        os.rename = replaced  # type: ignore[assignment]

    return arrange


# Step -> how many entries the ledger has afterwards, and whether a second use completes the release.
STEPS: dict[str, tuple[Callable[[], None], int, bool]] = {
    "before the token is reserved": (kill(BrokerState, "reserve", after=False), 0, True),
    "after the token is reserved": (kill(BrokerState, "reserve", after=True), 0, False),
    "before the key is wrapped": (kill(LocalKeystore, "wrap", after=False), 0, False),
    "after the key is wrapped": (kill(LocalKeystore, "wrap", after=True), 0, False),
    "before the record is written": (kill(Archive, "put", after=False), 0, False),
    "after the record is written": (kill(Archive, "put", after=True), 0, False),
    "before the record is noted": (kill(BrokerState, "recorded", after=False), 0, False),
    "after the record is noted": (kill(BrokerState, "recorded", after=True), 0, False),
    "before the entry is logged": (kill(Broker, "_log", after=False), 0, False),
    "before the ledger wrote its first file": (kill_at_rename(0), 0, False),
    "before the ledger wrote its tile": (kill_at_rename(1), 1, True),
    "before the ledger signed": (kill_at_rename(2), 1, True),
    "after the entry is logged": (kill(Broker, "_log", after=True), 1, True),
    "before the release is claimed": (kill(BrokerState, "finish", after=False), 1, True),
    "after the release is claimed": (kill(BrokerState, "finish", after=True), 1, False),
    "before the caller has it": (kill(Broker, "_claim", after=True), 1, False),
}


def attempt(session: Any, pipe: Connection, arrange: Callable[[], None] | None) -> None:
    """In a child process: open the broker as a new process would, release, and say what came of it."""
    if arrange is not None:
        arrange()
    broker = Broker.open(session.broker_folder)
    try:
        pipe.send(("released", broker.release(session.token, session.materials, at=session.at).wrapped.ciphertext))
    except AttestError as error:
        pipe.send((error.code, b""))
    finally:
        pipe.close()


class Attempt:
    """A release in a process of its own."""

    def __init__(self, make: Any, session: Any, arrange: Callable[[], None] | None = None, start: Any = None) -> None:
        self._own, theirs = FORK.Pipe(duplex=False)

        def run() -> None:
            if start is not None:
                start.wait()
            session_ = _Opened(session, make.folder / "broker")
            attempt(session_, theirs, arrange)

        self._process = FORK.Process(target=run)
        self._process.start()
        theirs.close()

    def result(self) -> tuple[str, bytes]:
        """What came of it; ("killed", b"") when it died."""
        answer: tuple[str, bytes] = ("killed", b"")
        with contextlib.suppress(EOFError):
            if self._own.poll(60):
                answer = self._own.recv()
        self._process.join(60)
        assert self._process.exitcode in ((-signal.SIGKILL,) if answer[0] == "killed" else (0,))
        return answer


class _Opened:
    def __init__(self, session: Any, folder: Any) -> None:
        self.token, self.materials, self.at, self.broker_folder = session.token, session.materials, session.at, folder


@contextlib.contextmanager
def quiet_fork() -> Iterator[None]:
    """Python 3.12 warns about fork in a process with threads; these children touch none."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


@pytest.mark.parametrize("step", STEPS)
def test_killed_at_every_step(make, broker, step: str) -> None:
    arrange, entries, completes = STEPS[step]
    session = make.session(broker)
    with quiet_fork():
        assert Attempt(make, session, arrange).result() == ("killed", b"")
        first, second, third = (Attempt(make, session).result() for _ in range(3))

    ledger = Broker.open(make.folder / "broker").ledger
    if completes:
        assert first[0] == "released"
        assert ledger.size == 1
    else:
        assert first == ("release.token-used", b"")
        assert ledger.size == entries
    assert second == third == ("release.token-used", b"")
    if completes and entries:
        # The very ciphertext of the first attempt, as it stands in the record that the ledger's one entry covers.
        (digest,) = broker.records.digests()
        record = broker.records.get(digest)
        assert first[1] == record.contents.wrapped.ciphertext
        assert ledger.find(leaf_hash(record.entry)) == 0


@pytest.mark.parametrize("step", [name for name, (_, entries, completes) in STEPS.items() if completes and entries])
def test_a_completion_that_is_killed_too(make, broker, step: str) -> None:
    """Killed behind the ledger, and killed again while completing: still one ciphertext, and nothing after it was claimed."""
    session = make.session(broker)
    with quiet_fork():
        assert Attempt(make, session, STEPS[step][0]).result()[0] == "killed"
        assert Attempt(make, session, STEPS["before the release is claimed"][0]).result()[0] == "killed"
        assert Attempt(make, session, STEPS["after the release is claimed"][0]).result()[0] == "killed"
        assert Attempt(make, session).result() == ("release.token-used", b"")
    assert Broker.open(make.folder / "broker").ledger.size == 1


@pytest.mark.parametrize("_round", range(3))
def test_four_processes_race_for_one_token(make, broker, _round: int) -> None:
    session = make.session(broker)
    with quiet_fork():
        start = FORK.Barrier(4)
        results = [attempt.result() for attempt in [Attempt(make, session, start=start) for _ in range(4)]]
    assert sorted(code for code, _ in results) == ["release.token-used"] * 3 + ["released"]
    assert Broker.open(make.folder / "broker").ledger.size == 1


def test_four_processes_race_to_complete(make, broker) -> None:
    session = make.session(broker)
    with quiet_fork():
        assert Attempt(make, session, STEPS["after the entry is logged"][0]).result()[0] == "killed"
        start = FORK.Barrier(4)
        results = [attempt.result() for attempt in [Attempt(make, session, start=start) for _ in range(4)]]
    assert sorted(code for code, _ in results) == ["release.token-used"] * 3 + ["released"]
    assert Broker.open(make.folder / "broker").ledger.size == 1


def test_two_tokens_for_one_nonce_race(make, broker) -> None:
    one = make.session(broker)
    sessions = [one, *(make.session(broker, nonce=one.nonce) for _ in range(3))]
    with quiet_fork():
        start = FORK.Barrier(4)
        results = [attempt.result() for attempt in [Attempt(make, session, start=start) for session in sessions]]
    assert sorted(code for code, _ in results) == ["release.nonce-used"] * 3 + ["released"]


def test_different_tokens_at_once(make, broker) -> None:
    """Nobody waits in vain, and the ledger has one entry for each."""
    sessions = [make.session(broker) for _ in range(4)]
    with quiet_fork():
        start = FORK.Barrier(4)
        results = [attempt.result() for attempt in [Attempt(make, session, start=start) for session in sessions]]
    assert [code for code, _ in results] == ["released"] * 4
    assert len({ciphertext for _, ciphertext in results}) == 4
    assert Broker.open(make.folder / "broker").ledger.size == 4


def test_a_leftover_of_a_killed_write_disturbs_nobody(make, broker, monkeypatch: pytest.MonkeyPatch) -> None:
    session = make.session(broker)
    monkeypatch.setattr(DurableFolder, "put", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        session.release()
    monkeypatch.undo()
    (make.folder / "broker" / "records" / "new-1-dead").write_bytes(b"half a record")
    replace(make.session(broker)).release()
    assert len(list(broker.records.digests())) == 1


def test_a_thousand_requests_spend_a_nonce_once(make, broker) -> None:
    from concurrent.futures import ThreadPoolExecutor

    nonce, at = broker.challenge(KEY, at=make.session(broker).judgement.at), make.session(broker).at
    state = BrokerState(make.folder / "broker" / "broker.db")

    def spend(number: int) -> str:
        try:
            return str(state.reserve(f"{number:032x}", token="00", nonce=nonce, key=KEY, at=at) is not None)
        except AttestError as error:
            return error.code

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(spend, range(1000)))
    assert sorted(set(results)) == ["True", "release.nonce-used"]
    assert results.count("True") == 1

    again = broker.challenge(KEY, at=at)
    with ThreadPoolExecutor(8) as pool:
        taken = list(pool.map(lambda _: state.reserve("ff" * 16, token="00", nonce=again, key=KEY, at=at) is not None, range(1000)))
    assert taken.count(True) == 1
