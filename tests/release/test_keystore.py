"""The local keystore: keys never show, and their properties cannot be changed behind its back."""

from __future__ import annotations

import copy
import logging
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

import attest.release.keystore.local as local
from attest.appraisal import KeyUse
from attest.errors import AttestError
from attest.recipient import Kem
from attest.release.keystore import open_keystore
from attest.release.keystore.key import Custody, KeyState
from attest.release.keystore.local import LocalKeystore
from attest.release.recipient_key import RecipientPrivateKey

AT = datetime(2026, 11, 21, 8, 0, 0, 250, tzinfo=UTC)
POLICY = "ab" * 32
OTHER = "cd" * 32
KEY = "weights/model-a"
PRIVATE = RecipientPrivateKey.generate(Kem.X25519)


@pytest.fixture
def store(tmp_path: Path) -> LocalKeystore:
    made = LocalKeystore.create(tmp_path / "keystore")
    made.add(KEY, use=KeyUse.PRODUCTION, policy=POLICY, at=AT)
    return made


def secret(store: LocalKeystore, name: str = KEY, version: int | None = None) -> bytes:
    sealed = store.wrap(store.info(name, version), PRIVATE.recipient, info=b"test")
    return PRIVATE.open(sealed, info=b"test")


def code_of(work: object) -> str:
    with pytest.raises(AttestError) as refused:
        work()  # type: ignore[operator]
    return refused.value.code


def test_a_new_key(store: LocalKeystore) -> None:
    info = store.info(KEY)
    assert (info.name, info.version, info.state, info.use) == (KEY, 1, KeyState.ENABLED, KeyUse.PRODUCTION)
    assert (info.policy, info.custody) == (POLICY, Custody.BROKER_MEMORY)
    assert info.created_at == AT.replace(microsecond=0)
    assert store.names() == (KEY,)
    assert len(secret(store)) == 32
    assert secret(store) == secret(store)


def test_keys_differ(store: LocalKeystore) -> None:
    store.add("weights/model-b", use=KeyUse.PRODUCTION, policy=POLICY, at=AT)
    store.rotate(KEY, at=AT)
    assert len({secret(store), secret(store, KEY, 1), secret(store, "weights/model-b")}) == 3


def test_rotation(store: LocalKeystore) -> None:
    first = secret(store)
    info = store.rotate(KEY, at=AT)
    assert info.version == 2
    assert info == store.info(KEY)
    assert (info.use, info.policy) == (KeyUse.PRODUCTION, POLICY)
    assert secret(store, KEY, 1) == first
    assert [item.version for item in store.versions(KEY)] == [1, 2]


def test_disabled_versions_are_not_wrapped(store: LocalKeystore) -> None:
    store.rotate(KEY, at=AT)
    before = secret(store, KEY, 1)
    store.set_state(KEY, 1, KeyState.DISABLED)
    assert store.info(KEY, 1).state is KeyState.DISABLED
    assert code_of(lambda: secret(store, KEY, 1)) == "release.key-disabled"
    secret(store, KEY, 2)
    store.set_state(KEY, 1, KeyState.ENABLED)
    assert secret(store, KEY, 1) == before


def test_another_policy(store: LocalKeystore) -> None:
    store.rotate(KEY, at=AT)
    before = secret(store, KEY, 1)
    assert [info.policy for info in store.approve(KEY, policy=OTHER.upper())] == [OTHER, OTHER]
    assert store.info(KEY, 1).policy == OTHER
    assert secret(store, KEY, 1) == before


@pytest.mark.parametrize(
    ("work", "code"),
    [
        (lambda s: s.info("weights/none"), "release.key-unknown"),
        (lambda s: s.versions("weights/none"), "release.key-unknown"),
        (lambda s: s.rotate("weights/none", at=AT), "release.key-unknown"),
        (lambda s: s.approve("weights/none", policy=POLICY), "release.key-unknown"),
        (lambda s: s.set_state("weights/none", 1, KeyState.DISABLED), "release.key-unknown"),
        (lambda s: s.info(KEY, 2), "release.key-version"),
        (lambda s: s.info(KEY, 0), "release.key-version"),
        (lambda s: s.set_state(KEY, 2, KeyState.DISABLED), "release.key-version"),
        (lambda s: s.add(KEY, use=KeyUse.TEST_ONLY, policy=POLICY, at=AT), "keystore.exists"),
        (lambda s: s.add("", use=KeyUse.TEST_ONLY, policy=POLICY, at=AT), "keystore.name"),
        (lambda s: s.add("a b", use=KeyUse.TEST_ONLY, policy=POLICY, at=AT), "keystore.name"),
        (lambda s: s.add("../x", use=KeyUse.TEST_ONLY, policy=POLICY, at=AT), "keystore.name"),
        (lambda s: s.add("k\n", use=KeyUse.TEST_ONLY, policy=POLICY, at=AT), "keystore.name"),
        (lambda s: s.add("k" * 129, use=KeyUse.TEST_ONLY, policy=POLICY, at=AT), "keystore.name"),
        (lambda s: s.add("k", use=KeyUse.TEST_ONLY, policy="any", at=AT), "wire.hex"),
        (lambda s: s.add("k", use=KeyUse.TEST_ONLY, policy="", at=AT), "wire.hex"),
        (lambda s: s.approve(KEY, policy=""), "wire.hex"),
    ],
)
def test_refusals(store: LocalKeystore, work: object, code: str) -> None:
    assert code_of(lambda: work(store)) == code  # type: ignore[operator]
    assert store.names() == (KEY,)
    assert store.info(KEY).policy == POLICY


# -- somebody else writes the database ------------------------------------------------------------------------------------


def edit(store_folder: Path, statement: str, *arguments: object) -> None:
    database = sqlite3.connect(store_folder / "keys.db")
    with database:
        assert database.execute(statement, arguments).rowcount == 1
    database.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("use", "test-only"),
        ("policy", OTHER),
        ("created_at", "2026-11-20T08:00:00Z"),
        ("nonce", bytes(12)),
        ("nonce", b"short"),
        ("sealed", bytes(48)),
        ("sealed", b""),
        ("use", "anything"),
        ("state", "unknown"),
        ("created_at", "yesterday"),
    ],
)
def test_changed_properties_are_noticed(store: LocalKeystore, tmp_path: Path, column: str, value: object) -> None:
    """A production key cannot be made test-only, nor bound to another policy, by who can write the database alone."""
    edit(tmp_path / "keystore", f"UPDATE keys SET {column} = ?", value)
    assert code_of(lambda: secret(store)) == "keystore.intact"


def test_a_disabled_key_cannot_be_enabled_from_outside(store: LocalKeystore, tmp_path: Path) -> None:
    store.set_state(KEY, 1, KeyState.DISABLED)
    edit(tmp_path / "keystore", "UPDATE keys SET state = 'enabled'")
    assert code_of(lambda: secret(store)) == "keystore.intact"


def test_swapped_keys_are_noticed(store: LocalKeystore, tmp_path: Path) -> None:
    store.add("weights/model-b", use=KeyUse.PRODUCTION, policy=POLICY, at=AT)
    database = sqlite3.connect(tmp_path / "keystore" / "keys.db")
    rows = {name: (sealed, nonce) for name, sealed, nonce in database.execute("SELECT name, sealed, nonce FROM keys").fetchall()}
    with database:
        for name, other in ((KEY, "weights/model-b"), ("weights/model-b", KEY)):
            database.execute("UPDATE keys SET sealed = ?, nonce = ? WHERE name = ?", (*rows[other], name))
    database.close()
    assert code_of(lambda: secret(store)) == "keystore.intact"
    assert code_of(lambda: secret(store, "weights/model-b")) == "keystore.intact"


def test_a_key_that_changed_after_it_was_checked(store: LocalKeystore) -> None:
    checked = store.info(KEY)
    store.approve(KEY, policy=OTHER)
    assert code_of(lambda: store.wrap(checked, PRIVATE.recipient, info=b"")) == "release.key-version"


def test_another_key_encryption_key(store: LocalKeystore, tmp_path: Path) -> None:
    (tmp_path / "keystore" / "kek").write_bytes(bytes(range(32)))
    assert code_of(lambda: secret(store)) == "keystore.intact"


# -- files ----------------------------------------------------------------------------------------------------------------


def test_modes(store: LocalKeystore, tmp_path: Path) -> None:
    folder = tmp_path / "keystore"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}.items() >= {"kek": 0o600, "keys.db": 0o600}.items()
    (folder / "kek").chmod(0o640)
    assert code_of(lambda: LocalKeystore.open(folder)) == "keyfile.mode"
    assert code_of(lambda: secret(store)) == "keyfile.mode"


def test_opening(store: LocalKeystore, tmp_path: Path) -> None:
    before = secret(store)
    assert secret(open_keystore("local:keystore", base=tmp_path)) == before
    assert code_of(lambda: open_keystore("local:elsewhere", base=tmp_path)) == "keystore.missing"
    for uri in ("pkcs11:token=x", "local:", "", "keystore", "LOCAL:keystore"):
        assert code_of(lambda uri=uri: open_keystore(uri, base=tmp_path)) == "keystore.scheme"
    assert code_of(lambda: LocalKeystore.create(tmp_path / "keystore")) == "keystore.exists"


def test_a_file_that_is_no_database(store: LocalKeystore, tmp_path: Path) -> None:
    for name in ("keys.db-wal", "keys.db-shm"):
        (tmp_path / "keystore" / name).unlink(missing_ok=True)
    (tmp_path / "keystore" / "keys.db").write_bytes(b"no database" * 1000)
    assert code_of(lambda: store.info(KEY)) == "keystore.storage"


# -- keys do not show -----------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[bytearray]:
    """Every byte array that the keystore makes for a secret, so that a test can see what became of it."""
    seen: list[bytearray] = []

    class Watched(bytearray):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments)  # type: ignore[arg-type]
            seen.append(self)

    monkeypatch.setattr(local, "bytearray", Watched, raising=False)
    return seen


def test_plain_keys_are_wiped(store: LocalKeystore, watched: list[bytearray]) -> None:
    store.add("weights/model-b", use=KeyUse.PRODUCTION, policy=POLICY, at=AT)
    store.rotate(KEY, at=AT)
    store.approve(KEY, policy=OTHER)
    secret(store)
    store.set_state(KEY, 1, KeyState.DISABLED)
    with pytest.raises(AttestError):
        secret(store, KEY, 1)
    assert len(watched) >= 6
    assert all(len(data) == 32 and not any(data) for data in watched)


def test_no_file_holds_a_plain_key(store: LocalKeystore, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    store.rotate(KEY, at=AT)
    secrets = [secret(store, KEY, version) for version in (1, 2)]
    for path in (tmp_path / "keystore").rglob("*"):
        data = path.read_bytes()
        for key in secrets:
            assert key not in data
            assert key.hex().encode() not in data
    shown = f"{store!r} {store} {store.info(KEY)!r} {caplog.text}"
    assert not any(key.hex() in shown or repr(key)[2:-1] in shown for key in secrets)


def test_errors_hold_no_key(store: LocalKeystore, tmp_path: Path) -> None:
    key = secret(store)
    edit(tmp_path / "keystore", "UPDATE keys SET policy = ?", OTHER)
    with pytest.raises(AttestError) as refused:
        secret(store)
    error: BaseException | None = refused.value
    while error is not None:
        shown = f"{error!r} {error} {[reason.as_dict() for reason in getattr(error, 'reasons', ())]}"
        assert key.hex() not in shown
        assert repr(key)[2:-1] not in shown
        error = error.__cause__ or error.__context__


def test_info_is_safe_to_copy(store: LocalKeystore) -> None:
    assert copy.deepcopy(store.info(KEY)) == store.info(KEY)
