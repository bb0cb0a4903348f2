"""The writer of a ledger: one folder, any number of processes, one append at a time, durable when it returns.

Layout of the folder:

=========================  ==============================================================================================
``public/checkpoint``      newest signed checkpoint (C2SP tlog-checkpoint)
``public/tile/...``        hashes and entries (C2SP tlog-tiles); ``public`` is what a web server may serve, and nothing else
``private/signing-key``    the log's Ed25519 key, mode 0600
``private/lock``           held by the process that writes
=========================  ==============================================================================================

An append writes the entry bundle, then the tiles, then signs and replaces the checkpoint; each is on the disk before the next begins.
So a bundle behind the checkpoint is an append that was cut off, and perhaps one whose checkpoint was signed: whoever opens the
ledger, or appends, finishes it first, with the same entry. Ed25519 is deterministic and the entry is the same, hence so is the
checkpoint: no size is ever signed with two roots, unless somebody puts back an old copy of the whole folder. Against that,
only witnesses help.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attest import limits
from attest.crypto import same
from attest.errors import NotAuthenticError
from attest.ledger.checkpoint import TreeHead, VerifiedCheckpoint, sign_checkpoint, verify_checkpoint, verify_not_older
from attest.ledger.checks import (
    CHECKPOINT_MISSING,
    ENTRY_INDEX,
    ENTRY_SIZE,
    EXISTS,
    KEY_FILE,
    KEY_MODE,
    MISSING,
    STORAGE,
    TILE_HASH,
    TORN,
    TREE_ROOT,
)
from attest.ledger.edge import RightEdge
from attest.ledger.files import DurableFolder
from attest.ledger.merkle import EMPTY_ROOT, leaf_hash, verify_inclusion
from attest.ledger.note import SigningKey
from attest.ledger.proof import Receipt
from attest.ledger.tiles import HEIGHT, MAX_BUNDLE_BYTES, WIDTH, Tile, TileTree, encode_entry, hashes_of, parse_bundle

_KEY: Final = "private/signing-key"
_LOCK: Final = "private/lock"
_TEMPORARY: Final = "private/new"
_PUBLIC: Final = "public"
_MAX_KEY_BYTES: Final = 1024


@dataclass(frozen=True, slots=True)
class _State:
    """The log as its writer knows it: the newest checkpoint, the tree's edge, and the unfinished bundle's bytes.

    True as long as the checkpoint on the disk is this one, whatever else was written or failed to be written since.
    """

    checkpoint: VerifiedCheckpoint
    edge: RightEdge
    bundle: bytes


class Ledger:
    """A transparency log in a folder. Open it with :meth:`open` or :meth:`create`.

    Appending takes an exclusive file lock (it waits for it); reading takes none. An instance may be shared by threads and survives a
    fork. Every method raises the failure of ``ledger.storage`` when the storage refuses.
    """

    def __init__(self, folder: Path, key: SigningKey) -> None:
        self._files: Final = DurableFolder(folder, temporary=_TEMPORARY)
        self._key: Final = key
        self._seen: VerifiedCheckpoint | None = None
        self._state: _State | None = None

    @classmethod
    def create(cls, folder: Path, *, origin: str) -> Ledger:
        """Make a ledger in an empty or missing folder: a new key named ``origin``, the empty tree and its checkpoint.

        Raises the failure of ``ledger.exists`` or ``ledger.key-name``.
        """
        key = SigningKey.generate(origin)
        files = DurableFolder(folder, temporary=_TEMPORARY)
        with _storage(folder):
            files.make_root()
            files.make_directory("private", mode=0o700)
            with _locked(folder):
                taken = [path for path in (_KEY, f"{_PUBLIC}/tile") if files.exists(path)]
                EXISTS.require(not taken, found=", ".join(taken), expected="an empty folder", where=str(folder))
                files.put(f"{_PUBLIC}/checkpoint", sign_checkpoint(TreeHead(origin, 0, EMPTY_ROOT), key))
                # The key comes last: a folder without it was never a ledger, so a creation that was cut off can be repeated,
                # and no later step ever starts a log from nothing.
                files.put(_KEY, key.to_text().encode() + b"\n", mode=0o600)
        return cls.open(folder)

    @classmethod
    def open(cls, folder: Path) -> Ledger:
        """Open a ledger and finish what a crash cut off.

        The root is computed again from the tiles and must be the signed one; the unfinished bundle must hash to its tile. Raises the
        failure of ``ledger.missing``, ``-key-file``, ``-key-mode``, ``-checkpoint-missing``, ``-tree-root``, ``-tile-hash``,
        ``-tile-missing`` or ``-torn``, or of the checkpoint's signature.
        """
        with _storage(folder):
            ledger = cls(folder, _read_key(folder))
            with _locked(folder):
                state = ledger._settle()
                ledger._drop_superseded(state.edge.size)
        return ledger

    # -- what it is -----------------------------------------------------------------------------------------------------------

    @property
    def origin(self) -> str:
        """The log's name, first line of every checkpoint."""
        return self._key.verifier.name

    @property
    def vkey(self) -> str:
        """The verifier key: what others need, from you and not from the log, to check its receipts."""
        return str(self._key.verifier)

    @property
    def public(self) -> Path:
        """The folder that a web server may serve: checkpoint and tiles."""
        return self._files.root / _PUBLIC

    @property
    def size(self) -> int:
        """Number of entries under the newest checkpoint."""
        return self.checkpoint().size

    def checkpoint(self) -> VerifiedCheckpoint:
        """The newest checkpoint. Raises also the failure of ``ledger.rollback`` when this instance has seen a newer one."""
        with _storage(self._files.root):
            return self._newest()

    # -- reading --------------------------------------------------------------------------------------------------------------

    def entry(self, index: int) -> bytes:
        """An entry's bytes. Raises the failure of ``ledger.entry-index`` or, when it is not what was logged, ``ledger.tile-hash``."""
        with _storage(self._files.root):
            tree = self._tree(index)
            entry = tree.entry(index)
            TILE_HASH.require(
                same(leaf_hash(entry), tree.leaf(index)), found="another entry", expected="the logged one", where=f"entry {index}"
            )
        return entry

    def receipt(self, index: int) -> Receipt:
        """Proof that the entry stands in the log, against the newest checkpoint. Raises the failure of ``ledger.entry-index``.

        The proof is checked before it is handed out; a damaged tree gives the failure of ``ledger.tree-root``.
        """
        with _storage(self._files.root):
            checkpoint = self._newest()
            tree = self._tree(index, checkpoint)
            proof = tree.inclusion(index)
            try:
                verify_inclusion(tree.leaf(index), index, checkpoint.size, proof, checkpoint.root)
            except NotAuthenticError:
                raise TREE_ROOT.failure(
                    found="tiles that lead to another root", expected=checkpoint.root.hex(), where=f"entry {index}"
                ) from None
        return Receipt(index, proof, checkpoint.note)

    def find(self, leaf: bytes) -> int | None:
        """Index of the newest entry with this leaf hash, or None: how a caller that crashed learns whether its entry was logged.

        Reads the level 0 tiles from the right, 32 bytes for each entry, and finishes an append that was cut off first.
        """
        with _storage(self._files.root):
            checkpoint = self._newest()
            if self._cut_off(checkpoint.size) is not None:
                with _locked(self._files.root):
                    checkpoint = self._settle().checkpoint
            tree = TileTree(self._read, checkpoint.size)
            for number in reversed(range(-(-checkpoint.size // WIDTH))):
                tile = tree.tile(0, number)
                if leaf in tile:  # cheap, and may be a match across two hashes
                    places = [place for place, item in enumerate(hashes_of(tile)) if item == leaf]
                    if places:
                        return number * WIDTH + places[-1]
        return None

    # -- writing --------------------------------------------------------------------------------------------------------------

    def append(self, entry: bytes) -> Receipt:
        """Log an entry; when this returns, it is on the disk under a signed checkpoint.

        When it raises, the entry may be logged all the same (the power may fail between the write and the return): ask
        :meth:`find` before trying again. Raises the failure of ``ledger.entry-size``, or those of :meth:`open`.
        """
        ENTRY_SIZE.require(
            len(entry) <= limits.MAX_ENTRY_BYTES, found=f"{len(entry)} bytes", expected=f"at most {limits.MAX_ENTRY_BYTES} bytes"
        )
        with _storage(self._files.root), _locked(self._files.root):
            before = self._settle()
            after = self._commit(before, entry)
            return Receipt(before.edge.size, before.edge.next_proof, after.checkpoint.note)

    def _settle(self) -> _State:
        """The newest state, with what was cut off finished. Holds the lock."""
        checkpoint = self._newest()
        state = self._state
        if state is None or state.checkpoint.note != checkpoint.note:
            state = self._load(checkpoint)
        while (cut_off := self._cut_off(checkpoint.size)) is not None:
            state = self._commit(state, self._recover(state, cut_off))
            checkpoint = state.checkpoint
        self._state = state
        return state

    def _load(self, checkpoint: VerifiedCheckpoint) -> _State:
        """Read the tree's edge, and check it against the checkpoint and the unfinished bundle."""
        tree = TileTree(self._read, checkpoint.size)
        edge = RightEdge.of(tree)
        TREE_ROOT.require(same(edge.root, checkpoint.root), found=f"tiles with root {edge.root.hex()}", expected=checkpoint.root.hex())
        number, width = divmod(checkpoint.size, WIDTH)
        entries = tree.bundle(number) if width else ()
        TILE_HASH.require(
            b"".join(map(leaf_hash, entries)) == (edge.partial[0] if width else b""),
            found="entries with other hashes than the tile",
            expected="the entries that were logged",
            where=Tile(None, number, width).path,
        )
        return _State(checkpoint, edge, b"".join(map(encode_entry, entries)))

    def _commit(self, state: _State, entry: bytes) -> _State:
        """Make the next entry durable, then sign and publish the checkpoint over it. Holds the lock."""
        number, width = divmod(state.edge.size, WIDTH)
        bundle = state.bundle + encode_entry(entry)
        edge, tiles = state.edge.append(leaf_hash(entry))
        self._put(Tile(None, number, width + 1).path, bundle)
        for tile, data in tiles:
            self._put(tile.path, data)
        head = TreeHead(self.origin, edge.size, edge.root)
        note = sign_checkpoint(head, self._key)
        self._put("checkpoint", note)
        full = width + 1 == WIDTH
        after = _State(VerifiedCheckpoint(head, note), edge, b"" if full else bundle)
        self._state, self._seen = after, after.checkpoint
        if full:
            self._drop_superseded(edge.size)
        return after

    def _cut_off(self, size: int) -> Tile | None:
        """The bundle with an entry behind a tree of ``size``, when there is one."""
        number, width = divmod(size, WIDTH)
        names = dict.fromkeys((Tile(None, number, width + 1), Tile(None, number)))
        return next((name for name in names if self._files.exists(f"{_PUBLIC}/{name.path}")), None)

    def _recover(self, state: _State, cut_off: Tile) -> bytes:
        """The first entry behind the checkpoint. Bundles are renamed into place whole, so one that does not fit was damaged."""
        data = self._read(cut_off.path, MAX_BUNDLE_BYTES) or b""
        TORN.require(data.startswith(state.bundle), found="other entries", expected="the logged entries and one more", where=cut_off.path)
        return parse_bundle(data, cut_off.width, cut_off.path)[state.edge.size % WIDTH]

    def _drop_superseded(self, size: int) -> None:
        """Remove the partial tiles of the last full tile of each level (tlog-tiles, Partial Tiles, allows it)."""
        last = {level: (size >> HEIGHT * (level + 1)) - 1 for level in range(size.bit_length() // HEIGHT)}
        for tile in [Tile(None, last[0]), *(Tile(level, number) for level, number in last.items())] if last else []:
            if tile.number >= 0 and self._files.exists(f"{_PUBLIC}/{tile.path}"):
                self._files.drop_directory(f"{_PUBLIC}/{tile.path}.p")

    # -- files ----------------------------------------------------------------------------------------------------------------

    def _newest(self) -> VerifiedCheckpoint:
        seen = self._seen  # before the read: another thread may append in between
        note = self._read("checkpoint", limits.MAX_CHECKPOINT_BYTES)
        if note is None:
            raise CHECKPOINT_MISSING.failure(found="no checkpoint", expected="public/checkpoint", where=str(self._files.root))
        if seen is not None and seen.note == note:
            return seen
        checkpoint = verify_checkpoint(note, key=self._key.verifier)
        if seen is not None:
            verify_not_older(seen, checkpoint)
        self._seen = checkpoint
        return checkpoint

    def _tree(self, index: int, checkpoint: VerifiedCheckpoint | None = None) -> TileTree:
        size = (checkpoint or self._newest()).size
        ENTRY_INDEX.require(0 <= index < size, found=f"index {index}", expected=f"an index below {size}")
        return TileTree(self._read, size)

    def _read(self, path: str, limit: int) -> bytes | None:
        return self._files.read(f"{_PUBLIC}/{path}", limit)

    def _put(self, path: str, data: bytes) -> None:
        self._files.put(f"{_PUBLIC}/{path}", data)


@contextlib.contextmanager
def _storage(folder: Path) -> Iterator[None]:
    """Turn what the operating system refuses into the failure of ``ledger.storage``."""
    try:
        yield
    except OSError as error:
        raise STORAGE.failure(
            found=error.strerror or type(error).__name__, expected="a ledger folder", where=str(error.filename or folder)
        ) from error


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the ledger's lock. A new descriptor each time, so that threads exclude each other too."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _read_key(folder: Path) -> SigningKey:
    path = folder / _KEY
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        raise MISSING.failure(found="no signing key", expected=_KEY, where=str(folder)) from None
    with open(descriptor, "rb") as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        KEY_MODE.require(mode & 0o077 == 0, found=f"{mode:04o}", expected="0600", where=str(path))
        text = file.read(_MAX_KEY_BYTES + 1)
    KEY_FILE.require(
        len(text) <= _MAX_KEY_BYTES and text.isascii() and text.endswith(b"\n"), found="other content", expected="one line", where=str(path)
    )
    return SigningKey.parse(text.decode().removesuffix("\n"))
