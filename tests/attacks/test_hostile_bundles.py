"""Bundles whose names and shapes are weapons: each is refused as malformed, quickly, and nothing is written outside the bundle."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from attest import limits
from attest.binding import Binding
from attest.bundle import Bundle, BundleOrigin
from attest.crypto import sha256
from attest.errors import MalformedError
from attest.evidence import Collateral, Evidence


def manifest(part: str = "report", collateral: int = 0, parts: int = 0) -> bytes:
    """The wire form of a bundle of one device of unknown kind."""

    def empty(path: str) -> dict[str, object]:
        return {"path": path, "sha256": sha256(b"").hex(), "size": 0, "base64": ""}

    names = [part] if not parts else [f"p{number}" for number in range(parts)]
    return json.dumps(
        {
            "format": "attest-bundle/1",
            "origin": "recorded",
            "recorded_at": None,
            "note": "",
            "binding": "raw-nonce",
            "nonce": None,
            "recipient": None,
            "evidence": [{"label": "cpu", "kind": "x", "parts": {name: empty(f"evidence/cpu/{name}.hex") for name in names}}],
            "collateral": [
                {
                    "type": "crl",
                    "name": f"n{number}",
                    "fetched_at": "2026-01-01T00:00:00Z",
                    "content": empty(f"collateral/crl/n{number}.hex"),
                }
                for number in range(collateral)
            ],
        }
    ).encode()


def test_the_plain_one_is_read() -> None:
    assert Bundle.from_bytes(manifest()).evidence[0].parts == {"report": b""}


@pytest.mark.parametrize("part", ["../../../escaped", "/escaped", "a/b", "..", ".", "", "a\0b", "a\nb", "A", "report.pem", "x" * 33])
def test_a_part_whose_name_is_no_file_name_is_refused(part: str) -> None:
    with pytest.raises(MalformedError) as refused:
        Bundle.from_bytes(manifest(part))
    assert refused.value.code == "bundle.part"
    with pytest.raises(MalformedError):
        Bundle.of(
            nonce=None,
            recipient=None,
            binding=Binding.RAW_NONCE,
            evidence=(Evidence.of("x", "cpu", {part: b"-----BEGIN anything"}),),
            collateral=Collateral(()),
            recorded_at=None,
            origin=BundleOrigin.RECORDED,
        )


@pytest.mark.parametrize("many", [{"collateral": limits.MAX_BUNDLE_FILES}, {"parts": limits.MAX_BUNDLE_FILES + 1}])
def test_too_many_pieces_are_refused_by_their_number(many: dict[str, int]) -> None:
    with pytest.raises(MalformedError) as refused:
        Bundle.from_bytes(manifest(**many))
    assert refused.value.code == "bundle.size"


def test_pieces_are_counted_before_they_are_compared_with_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Comparing every name with every other one would take minutes for a bundle that is not too large to be read."""
    compared = 0

    class Name(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            nonlocal compared
            compared += 1
            return str.__eq__(self, str(other))

        __hash__ = str.__hash__

    read = Bundle.from_bytes(manifest(collateral=3)).collateral.items
    for item in read:
        object.__setattr__(item, "name", Name(item.name))
    with pytest.raises(MalformedError) as refused:
        Bundle.of(
            nonce=None,
            recipient=None,
            binding=Binding.RAW_NONCE,
            evidence=(Evidence.of("x", "cpu", {"report": b""}),),
            collateral=Collateral(read * limits.MAX_BUNDLE_FILES),
            recorded_at=None,
            origin=BundleOrigin.RECORDED,
        )
    assert refused.value.code == "bundle.size"
    assert compared == 0


def test_a_pipe_in_a_folder_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "bundle.json").write_bytes(manifest())
    os.mkfifo(tmp_path / "evidence")
    with pytest.raises(MalformedError) as refused:
        Bundle.load(tmp_path)
    assert refused.value.code == "bundle.file"


def test_a_file_without_end_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "endless.json"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a hole: takes no room on the disk, and all of the memory
    with pytest.raises(MalformedError) as refused:
        Bundle.load(path)
    assert refused.value.code == "wire.too-long"
