"""The writer in bad weather: killed, out of space, without power, and with others writing at the same time.

What must hold afterwards: the ledger opens, the whole log checks, every entry that was acknowledged is there, and no tree size was
ever signed with two roots.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from attest.errors import AttestError
from attest.ledger import store
from attest.ledger.checkpoint import TreeHead, sign_checkpoint
from attest.ledger.fsck import fsck
from attest.ledger.merkle import leaf_hash
from attest.ledger.note import SigningKey
from attest.ledger.proof import Receipt, verify_receipt
from attest.ledger.store import Ledger

ROOT = Path(__file__).resolve().parents[2]
ORIGIN = "example.com/log"


class Signed:
    """Every tree head that was ever signed: a size with two roots fails the test at once."""

    def __init__(self) -> None:
        self.roots: dict[int, bytes] = {}

    def see(self, size: int, root: bytes) -> None:
        assert self.roots.setdefault(size, root) == root, f"two roots for size {size}"

    def __call__(self, head: TreeHead, key: SigningKey) -> bytes:
        self.see(head.size, head.root)
        return sign_checkpoint(head, key)


@pytest.fixture
def signed(monkeypatch: pytest.MonkeyPatch) -> Signed:
    signed = Signed()
    monkeypatch.setattr(store, "sign_checkpoint", signed)
    return signed


def check(folder: Path, acknowledged: dict[int, bytes]) -> Ledger:
    """Open the ledger and look whether all that was promised holds."""
    ledger = Ledger.open(folder)
    report = fsck(ledger.public, vkey=ledger.vkey)
    assert report.ahead == ()
    for index, entry in acknowledged.items():
        assert ledger.entry(index) == entry
        verify_receipt(ledger.receipt(index), entry, vkey=ledger.vkey)
    return ledger


# -- killed ------------------------------------------------------------------------------------------------------------------

APPENDER = """
import sys
from pathlib import Path
from attest.ledger.store import Ledger
ledger = Ledger.open(Path(sys.argv[1]))
print("ready", flush=True)
for number in range(int(sys.argv[3])):
    entry = f"{sys.argv[2]} {number}".encode()
    print(entry.hex(), ledger.append(entry).to_bytes().hex(), flush=True)
"""


def appender(folder: Path, name: str, count: int, output: int | IO[str] = subprocess.PIPE) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", APPENDER, str(folder), name, str(count)], stdout=output, text=True, cwd=ROOT)


def receipts_of(output: str) -> Iterator[tuple[bytes, Receipt]]:
    for line in output.splitlines(keepends=True):
        if line.endswith("\n") and line != "ready\n":  # the last line may be cut off
            entry, receipt = line.split()
            yield bytes.fromhex(entry), Receipt.from_bytes(bytes.fromhex(receipt))


def test_killed_thirty_times(memory: Path, signed: Signed) -> None:
    ledger = Ledger.create(memory / "ledger", origin=ORIGIN)
    acknowledged: dict[int, bytes] = {}
    chance = random.Random(1)
    for number in range(30):
        with appender(memory / "ledger", f"round {number}", 10**6) as process:
            assert process.stdout is not None
            output, started = "", time.perf_counter()
            for _ in range(chance.randint(1, 40)):
                started, output = time.perf_counter(), output + process.stdout.readline()
            # About as long as one append takes, so that the kill comes at any point of one.
            time.sleep(chance.uniform(0, 2) * min(time.perf_counter() - started, 0.05))
            process.send_signal(signal.SIGKILL)
            output += process.stdout.read()
        new: dict[int, bytes] = {}
        for entry, receipt in receipts_of(output):
            verified = verify_receipt(receipt, entry, vkey=ledger.vkey)
            assert verified.index not in acknowledged | new
            new[verified.index] = entry
            signed.see(verified.size, verified.root)
        newest = ledger.checkpoint()
        signed.see(newest.size, newest.root)
        opened = check(memory / "ledger", new).checkpoint()
        signed.see(opened.size, opened.root)
        acknowledged |= new
        # At most one entry more than was acknowledged: the one that the kill cut off between the write and the answer.
        assert len(acknowledged) + number + 1 >= opened.size >= len(acknowledged)
    check(memory / "ledger", acknowledged)
    assert len(acknowledged) > 100


# -- an operation that fails -------------------------------------------------------------------------------------------------


CLOSE: Callable[..., object] = os.close


class Failing:
    """Counts calls of one function of ``os`` and makes one of them fail."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, error: int) -> None:
        self.calls, self.fail_at, self._error = 0, -1, error
        self._whole: Callable[..., object] = getattr(os, name)
        monkeypatch.setattr(os, name, self)

    def __call__(self, *args: object, **kwargs: object) -> object:
        self.calls += 1
        if self.calls - 1 == self.fail_at:
            if self._whole is CLOSE:
                CLOSE(*args)  # Linux closes the descriptor whatever it returns
            raise OSError(self._error, os.strerror(self._error))
        return self._whole(*args, **kwargs)


@pytest.fixture(scope="module")
def nearly_full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ledger of 254 entries, ``0`` to ``253``: two more fill the first tile, the next begins the second."""
    folder = tmp_path_factory.mktemp("nearly-full") / "ledger"
    ledger = Ledger.create(folder, origin=ORIGIN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: None)
        for number in range(254):
            ledger.append(b"%d" % number)
    for old in ledger.public.glob("tile/*/000.p/*"):
        if old.name != "254":  # partial tiles of earlier sizes: not needed here, and slow to copy hundreds of times
            old.unlink()
    return folder


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("fsync", errno.EIO),
        ("write", errno.ENOSPC),
        ("rename", errno.EIO),
        ("rename", errno.ENOSPC),
        ("open", errno.EMFILE),
        ("mkdir", errno.ENOSPC),
        ("close", errno.EIO),
    ],
)
@pytest.mark.parametrize("start", ["empty", "tile becomes full", "tile begins"])
def test_every_operation_fails_once(
    name: str, error: int, start: str, memory: Path, nearly_full: Path, signed: Signed, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = memory / "base"
    if start == "empty":
        Ledger.create(base, origin=ORIGIN)
    else:
        shutil.copytree(nearly_full, base)
        ledger = Ledger.open(base)
        for _ in range(1 if start == "tile becomes full" else 2):
            ledger.append(b"one more")
    size = Ledger.open(base).size

    failing = Failing(monkeypatch, name, error)
    shutil.copytree(base, memory / "counted")
    ledger = Ledger.open(memory / "counted")
    failing.calls = 0
    ledger.append(b"counted")
    calls = failing.calls
    assert calls > 0 or name == "mkdir"

    raised = 0
    for number in range(calls):
        signed.roots.clear()
        folder = memory / str(number)
        shutil.copytree(base, folder)
        ledger = Ledger.open(folder)
        failing.calls, failing.fail_at = 0, number
        problem: AttestError | None = None
        try:
            # Once the checkpoint is in place nothing can fail any more but the removal of superseded tiles, which can wait.
            assert ledger.append(b"failed").index == size
            assert (name, start) in {("open", "tile becomes full"), ("close", "tile becomes full")}
        except AttestError as error:
            problem = error
        if problem is not None:
            raised += 1
            assert (problem.code, problem.exit_code) == ("ledger.storage", 6)
        failing.fail_at = -1
        # The same instance goes on, and so does one that opens the folder anew.
        found = ledger.find(leaf_hash(b"failed"))
        assert found in (None, size)
        receipt = ledger.append(b"next")
        assert receipt.index == size + (found is not None)
        again = check(folder, {receipt.index: b"next"})
        assert again.append(b"last").index == receipt.index + 1
        check(folder, {receipt.index: b"next", receipt.index + 1: b"last"})
        shutil.rmtree(folder)
    assert raised >= calls // 2


def test_a_full_disk_stays_full(nearly_full: Path, memory: Path, signed: Signed) -> None:
    """Failing again and again loses nothing and invents nothing."""
    shutil.copytree(nearly_full, memory / "ledger")
    ledger = Ledger.open(memory / "ledger")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(OSError(errno.ENOSPC, "No space left on device")))
        for _ in range(3):
            with pytest.raises(AttestError, match="No space left on device"):
                ledger.append(b"failed")
        assert ledger.size == 254
    assert ledger.append(b"entry").index == 254
    check(memory / "ledger", {254: b"entry"})


def test_short_writes(nearly_full: Path, memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(nearly_full, memory / "ledger")
    ledger = Ledger.open(memory / "ledger")
    whole = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[:100]))
    assert ledger.append(b"entry").index == 254
    check(memory / "ledger", {254: b"entry"})


# -- power loss --------------------------------------------------------------------------------------------------------------


class PowerCut(BaseException):
    """Nothing in the writer may catch this."""


class Disk:
    """What is left of a folder when the power goes: contents and directory entries as they were at their last fsync.

    Real file systems keep more, some of the time. ``keep`` says for each directory whether its newer entries survived too.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._contents: dict[int, bytes] = {}
        self._entries: dict[int, dict[str, int]] = {}
        self._held: list[int] = []
        for path in (root, *root.rglob("*")):
            descriptor = os.open(path, os.O_RDONLY)
            self.sync(descriptor)
            os.close(descriptor)

    def sync(self, descriptor: int) -> None:
        number = os.fstat(descriptor).st_ino
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            self._entries[number] = {item.name: item.inode() for item in os.scandir(descriptor)}
        else:
            self._contents[number] = Path(f"/proc/self/fd/{descriptor}").read_bytes()
        self._held.append(os.dup(descriptor))  # as long as it is open, its inode number is not given to another file

    def restore(self, target: Path, keep: Callable[[], bool]) -> None:
        self._restore(self._root.stat().st_ino, self._root, target, keep)

    def _restore(self, number: int, now: Path, target: Path, keep: Callable[[], bool]) -> None:
        target.mkdir(mode=0o700)
        entries = self._entries.get(number, {})
        if keep() and now.is_dir():
            entries = {item.name: item.inode() for item in os.scandir(now)}
        for name, child in entries.items():
            if child in self._entries or (now / name).is_dir():
                self._restore(child, now / name, target / name, keep)
            else:
                descriptor = os.open(target / name, os.O_WRONLY | os.O_CREAT, 0o600)
                os.write(descriptor, self._contents.get(child, b""))
                os.close(descriptor)

    def release(self) -> None:
        for descriptor in self._held:
            os.close(descriptor)


def cut_power_at(moment: int, disk: Disk) -> pytest.MonkeyPatch:
    """Every change to the disk counts as one moment; at the given one the power goes, before the change."""
    patch = pytest.MonkeyPatch()
    passed = [0]

    def counting(whole: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            passed[0] += 1
            if passed[0] > moment:
                raise PowerCut
            return whole(*args, **kwargs)

        return call

    for name in ("write", "rename", "mkdir", "unlink"):
        patch.setattr(os, name, counting(getattr(os, name)))
    patch.setattr(os, "fsync", counting(disk.sync))
    return patch


def survive(folder: Path, moment: int, work: Callable[[Path, dict[int, bytes]], None]) -> tuple[Disk, dict[int, bytes], bool]:
    """Work until the power goes at ``moment``: what the disk holds, what was acknowledged, and whether the work was done before."""
    disk, done = Disk(folder), False
    acknowledged: dict[int, bytes] = {}
    patch = cut_power_at(moment, disk)
    try:
        work(folder, acknowledged)
        done = True
    except PowerCut:
        pass
    finally:
        patch.undo()
    return disk, acknowledged, done


def three_appends(folder: Path, acknowledged: dict[int, bytes]) -> None:
    ledger = Ledger.open(folder)
    for number in range(3):
        entry = f"appended {number}".encode()
        acknowledged[ledger.append(entry).index] = entry


@pytest.mark.parametrize("survivors", ["only what was synced", "everything", "some", "some others"])
def test_power_loss_at_every_moment(survivors: str, nearly_full: Path, memory: Path, signed: Signed) -> None:
    moment, done, seen = 0, False, set()
    chance = random.Random(survivors)
    keep = {"only what was synced": lambda: False, "everything": lambda: True}.get(survivors, lambda: chance.random() < 0.5)
    while not done:
        signed.roots.clear()
        before, after = memory / f"before-{moment}", memory / f"after-{moment}"
        shutil.copytree(nearly_full, before)
        disk, acknowledged, done = survive(before, moment, three_appends)
        disk.restore(after, keep)
        ledger = check(after, acknowledged)
        seen.add(ledger.size)
        # Another entry than the one that was cut off: where that one was signed, this must not take its place.
        for number in range(3):
            ledger.append(f"after the cut {number}".encode())
        check(after, acknowledged)
        disk.release()
        shutil.rmtree(before)
        shutil.rmtree(after)
        moment += 1
    assert moment > 30
    assert seen == {254, 255, 256, 257}


def test_power_loss_while_making_a_ledger(memory: Path) -> None:
    """Either the ledger is there, or making it can be repeated; there is nothing between."""
    moment, done, made = 0, False, 0

    def create(folder: Path, acknowledged: dict[int, bytes]) -> None:
        Ledger.create(folder / "ledger", origin=ORIGIN)
        acknowledged[0] = b""

    while not done:
        before, after = memory / f"before-{moment}", memory / f"after-{moment}"
        before.mkdir()
        disk, acknowledged, done = survive(before, moment, create)
        disk.restore(after, lambda: False)
        disk.release()
        if (after / "ledger/private/signing-key").exists():
            made += 1
        else:
            assert not acknowledged
            Ledger.create(after / "ledger", origin=ORIGIN)
        assert check(after / "ledger", {}).append(b"first").index == 0
        moment += 1
    assert moment > 10
    assert made >= 1


# -- others at the same time -------------------------------------------------------------------------------------------------


def test_four_processes(memory: Path, signed: Signed) -> None:
    ledger = Ledger.create(memory / "ledger", origin=ORIGIN)
    outputs = [(memory / f"output {number}").open("w+") for number in range(4)]
    processes = [appender(memory / "ledger", f"process {number}", 50, output) for number, output in enumerate(outputs)]
    while any(process.poll() is None for process in processes):  # a reader, without any lock
        checkpoint = ledger.checkpoint()
        if checkpoint.size:
            index = checkpoint.size - 1
            verify_receipt(ledger.receipt(index), ledger.entry(index), vkey=ledger.vkey)
            assert fsck(ledger.public, vkey=ledger.vkey).checkpoint.size >= checkpoint.size
    acknowledged: dict[int, bytes] = {}
    assert [process.wait() for process in processes] == [0, 0, 0, 0]
    for output in outputs:
        output.seek(0)
        for entry, receipt in receipts_of(output.read()):
            verified = verify_receipt(receipt, entry, vkey=ledger.vkey)
            assert verified.index not in acknowledged
            acknowledged[verified.index] = entry
            signed.see(verified.size, verified.root)
        output.close()
    assert sorted(acknowledged) == list(range(200))
    check(memory / "ledger", acknowledged)
