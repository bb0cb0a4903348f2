"""Secret files: private, new, of bounded size."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from attest.errors import AttestError
from attest.keyfile import create_secret, read_secret


def test_round_trip_with_owner_rights_only(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        create_secret(tmp_path / "key", b"secret")
    finally:
        os.umask(old)
    assert (tmp_path / "key").stat().st_mode & 0o777 == 0o600
    assert read_secret(tmp_path / "key", limit=6) == b"secret"


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    create_secret(tmp_path / "key", b"first")
    with pytest.raises(AttestError) as refused:
        create_secret(tmp_path / "key", b"second")
    assert refused.value.code == "keyfile.exists"
    assert (tmp_path / "key").read_bytes() == b"first"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(AttestError) as refused:
        create_secret(tmp_path / "link", b"secret")
    assert refused.value.code == "keyfile.exists"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o644, 0o666])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    create_secret(tmp_path / "key", b"secret")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(AttestError) as refused:
        read_secret(tmp_path / "key", limit=64)
    assert refused.value.code == "keyfile.mode"
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(("content", "code"), [(b"", "keyfile.size"), (b"x" * 65, "keyfile.size"), (None, "keyfile.missing")])
def test_other_sizes_and_no_file(tmp_path: Path, content: bytes | None, code: str) -> None:
    if content is not None:
        create_secret(tmp_path / "key", content)
    with pytest.raises(AttestError) as refused:
        read_secret(tmp_path / "key", limit=64)
    assert refused.value.code == code
