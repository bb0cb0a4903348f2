"""The recorded-evidence format: everything needed to judge one session again, as a folder or as one file.

Folder: ``bundle.json`` (manifest) and the files it names, binary parts as hex text so that they diff well in git.
One file: the same manifest with the parts in base64, for the wire. Both have the same digest: SHA-256 over the canonical JSON of
the manifest, in which every part stands with its SHA-256 and size.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from attest import limits
from attest.binding import Binding
from attest.crypto import sha256
from attest.errors import MalformedError, UsageError
from attest.evidence import Collateral, CollateralItem, CollateralType, Evidence
from attest.recipient import Recipient
from attest.wire import Fields, Json, base64_bytes, bounded, canonical_json, format_time, hex_bytes, utf8

FORMAT: Final = "attest-bundle/1"
MANIFEST: Final = "bundle.json"
WORKLOAD: Final = "workload"
"""Name of the session as a whole in results; no device may have it as its label."""
_LABEL: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\Z")
_PART: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?\Z")
_FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}\Z")
_TEXT_SUFFIXES: Final = (".pem", ".xml", ".json")


class BundleOrigin(StrEnum):
    """Where the evidence came from. ``simulated`` must also be what its roots say; the trust store decides, not this word."""

    RECORDED = "recorded"
    SIMULATED = "simulated"


@dataclass(frozen=True, slots=True)
class Bundle:
    """One session's evidence. Untrusted: every member is what somebody wrote.

    nonce        what the verifier issued (32 bytes), None when it is not known
    recipient    public key that a release would be wrapped to, None when there is none
    binding      how both are bound into the reports
    evidence     one item per device, labels unique
    collateral   endorsements, revocation answers and reference manifests, with fetch times
    recorded_at  when it was collected, as the collector says; None when nobody said: such a bundle is never fresh
    digest       hex SHA-256 over the canonical manifest
    """

    nonce: bytes | None
    recipient: Recipient | None
    binding: Binding
    evidence: tuple[Evidence, ...]
    collateral: Collateral
    recorded_at: datetime | None
    origin: BundleOrigin
    note: str
    digest: str

    @classmethod
    def of(
        cls,
        *,
        nonce: bytes | None,
        recipient: Recipient | None,
        binding: Binding,
        evidence: tuple[Evidence, ...],
        collateral: Collateral,
        recorded_at: datetime | None,
        origin: BundleOrigin,
        note: str = "",
    ) -> Bundle:
        """Build with digest. Raises MalformedError for duplicate labels, bad names, no or too many devices, wrong nonce size, long note."""
        _check_shape(nonce, evidence, collateral)
        bounded(note.encode("utf-8", "replace"), limits.MAX_NOTE_BYTES, "note of the bundle")
        draft = cls(nonce, recipient, binding, evidence, collateral, recorded_at, origin, note, "")
        digest = sha256(canonical_json(_manifest(draft, _references))).hex()
        return cls(nonce, recipient, binding, evidence, collateral, recorded_at, origin, note, digest)

    # -- one file -----------------------------------------------------------------------------------------------------

    def to_bytes(self) -> bytes:
        """The wire form: canonical JSON, parts in base64."""
        return canonical_json(_manifest(self, _inline)) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "bundle") -> Bundle:
        """Read the wire form. Raises MalformedError."""
        return _read(Fields.parse(data, name, limit=limits.MAX_BUNDLE_BYTES * 2), _inline_part)

    # -- folder -------------------------------------------------------------------------------------------------------

    def to_files(self) -> dict[str, bytes]:
        """The folder form: relative path to file content."""
        files = {MANIFEST: _pretty(_manifest(self, _references))}
        for path, data in _parts(self):
            files[path] = data if path.endswith(_TEXT_SUFFIXES) else _hex_lines(data)
        return files

    @classmethod
    def from_files(cls, files: Mapping[str, bytes]) -> Bundle:
        """Read the folder form. Raises MalformedError, also for files that the manifest does not name."""
        if MANIFEST not in files:
            raise MalformedError.at("bundle.manifest", f"there is no {MANIFEST}", found=", ".join(sorted(files)[:5]))
        used = {MANIFEST}

        def part(fields: Fields) -> bytes:
            path = fields.text("path")
            if path not in files:
                raise MalformedError.at("bundle.file", "a file of the bundle is missing", found=path, expected="every file of bundle.json")
            used.add(path)
            data = files[path]
            if not path.endswith(_TEXT_SUFFIXES):
                data = hex_bytes(re.sub(r"[\r\n]", "", utf8(data, path)), path)
            return _checked(fields, data)

        bundle = _read(Fields.parse(files[MANIFEST], MANIFEST), part)
        surplus = sorted(set(files) - used)
        if surplus:
            raise MalformedError.at("bundle.file", "the folder has files that bundle.json does not name", found=", ".join(surplus[:5]))
        return bundle

    def save(self, path: Path) -> None:
        """Write the folder form, or one file when ``path`` ends in .json."""
        if path.suffix == ".json":
            path.write_bytes(self.to_bytes())
            return
        for name, data in self.to_files().items():
            target = path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)

    @classmethod
    def load(cls, path: Path) -> Bundle:
        """Read either form. Raises MalformedError, or UsageError when there is nothing to read."""
        if path.is_dir():
            return cls.from_files(_folder(path))
        if not path.is_file():
            raise UsageError.of("there is no such bundle", found=str(path), expected="a bundle folder or file")
        with path.open("rb") as stream:
            return cls.from_bytes(stream.read(limits.MAX_BUNDLE_BYTES * 2 + 1), path.name)


# -- shape ----------------------------------------------------------------------------------------------------------------


def _check_shape(nonce: bytes | None, evidence: tuple[Evidence, ...], collateral: Collateral) -> None:
    if nonce is not None and len(nonce) != limits.NONCE_BYTES:
        raise MalformedError.at(
            "bundle.nonce", "nonce has the wrong size", found=f"{len(nonce)} bytes", expected=f"{limits.NONCE_BYTES} bytes"
        )
    if not 1 <= len(evidence) <= limits.MAX_DEVICES:
        raise MalformedError.at("bundle.devices", "wrong number of devices", found=str(len(evidence)), expected=f"1..{limits.MAX_DEVICES}")
    files = sum(len(item.parts) for item in evidence) + len(collateral.items)
    total = sum(len(data) for item in evidence for data in item.parts.values()) + sum(len(item.data) for item in collateral.items)
    if total > limits.MAX_BUNDLE_BYTES or files > limits.MAX_BUNDLE_FILES:
        raise MalformedError.at(
            "bundle.size",
            "bundle is too large",
            found=f"{total} bytes in {files} files",
            expected=f"at most {limits.MAX_BUNDLE_BYTES} bytes in {limits.MAX_BUNDLE_FILES} files",
        )
    labels = [item.label for item in evidence]
    for label in labels:
        if not _LABEL.match(label) or label == WORKLOAD:
            expected = f"a-z, 0-9 and -, at most 32, and not {WORKLOAD}"
            raise MalformedError.at("bundle.label", "device label is not usable", found=repr(label), expected=expected)
        if labels.count(label) > 1:
            raise MalformedError.at("bundle.label", "two devices have the same label", found=label, expected="unique labels")
    for item in evidence:
        # Names of parts become names of files, also for kinds that nobody here knows: none may lead out of the bundle's folder.
        for part in item.parts:
            if not _PART.match(part):
                raise MalformedError.at(
                    "bundle.part", "name of an evidence part is not usable", found=repr(part[:64]), expected="a-z, 0-9 and -, at most 32"
                ).about(item.label)
    names = [(item.type, item.name) for item in collateral.items]
    for own in names:
        if not _FILE.match(own[1]) or names.count(own) > 1:
            raise MalformedError.at("bundle.collateral", "collateral name is not usable or not unique", found=f"{own[0]} {own[1]!r}")


_PartForm = Callable[[str, bytes], dict[str, Json]]  # (path, data) -> what the manifest says about the part
_PartReader = Callable[[Fields], bytes]  # what the manifest says -> data, checked against size and digest


# -- writing --------------------------------------------------------------------------------------------------------------


def _suffix(data: bytes) -> str:
    if data.startswith(b"-----BEGIN "):
        return ".pem"
    if data.lstrip()[:1] == b"<":
        return ".xml"
    if data.lstrip()[:1] == b"{":
        return ".json"
    return ".hex"


def _evidence_path(item: Evidence, part: str) -> str:
    return f"evidence/{item.label}/{part}{_suffix(item.parts[part])}"


def _collateral_path(item: CollateralItem) -> str:
    return f"collateral/{item.type.value}/{item.name}{_suffix(item.data)}"


def _parts(bundle: Bundle) -> Iterator[tuple[str, bytes]]:
    for item in bundle.evidence:
        for part, data in item.parts.items():
            yield _evidence_path(item, part), data
    for piece in bundle.collateral.items:
        yield _collateral_path(piece), piece.data


def _references(path: str, data: bytes) -> dict[str, Json]:
    return {"path": path, "sha256": sha256(data).hex(), "size": len(data)}


def _inline(path: str, data: bytes) -> dict[str, Json]:
    return _references(path, data) | {"base64": base64.b64encode(data).decode()}


def _manifest(bundle: Bundle, part: _PartForm) -> Json:
    evidence: list[Json] = []
    for item in bundle.evidence:
        parts: dict[str, Json] = {name: part(_evidence_path(item, name), data) for name, data in item.parts.items()}
        evidence.append({"label": item.label, "kind": item.kind, "parts": parts})
    collateral: list[Json] = [
        {
            "type": piece.type.value,
            "name": piece.name,
            "fetched_at": format_time(piece.fetched_at),
            "content": part(_collateral_path(piece), piece.data),
        }
        for piece in bundle.collateral.items
    ]
    return {
        "format": FORMAT,
        "origin": bundle.origin.value,
        "recorded_at": None if bundle.recorded_at is None else format_time(bundle.recorded_at),
        "note": bundle.note,
        "binding": bundle.binding.value,
        "nonce": None if bundle.nonce is None else bundle.nonce.hex(),
        "recipient": None if bundle.recipient is None else bundle.recipient.to_jwk(),
        "evidence": evidence,
        "collateral": collateral,
    }


def _pretty(value: Json) -> bytes:
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


def _hex_lines(data: bytes) -> bytes:
    text = data.hex()
    return "".join(text[i : i + 64] + "\n" for i in range(0, len(text), 64)).encode()


# -- reading --------------------------------------------------------------------------------------------------------------


def _checked(fields: Fields, data: bytes) -> bytes:
    fields.text("path")
    size = fields.integer("size", most=limits.MAX_BUNDLE_BYTES)
    digest = fields.hex("sha256", size=32)
    fields.done()
    if len(data) != size or sha256(data) != digest:
        raise MalformedError.at(
            "bundle.digest",
            f"{fields.path} is not what the manifest says",
            found=f"{len(data)} bytes, sha256 {sha256(data).hex()}",
            expected=f"{size} bytes, sha256 {digest.hex()}",
            fix="take the bundle again from its source: a part was changed after it was written",
        )
    return data


def _inline_part(fields: Fields) -> bytes:
    return _checked(fields, base64_bytes(fields.text("base64"), fields.path))


def _read(fields: Fields, part: _PartReader) -> Bundle:
    if fields.text("format") != FORMAT:
        raise MalformedError.at("bundle.format", "not a bundle of a known format", found=fields.text("format"), expected=FORMAT)
    paths: list[str] = []

    def content(item: Fields) -> bytes:
        paths.append(item.text("path"))
        return part(item)

    evidence: list[Evidence] = []
    for item in fields.objects("evidence"):
        parts = item.object("parts")
        if len(evidence) == limits.MAX_DEVICES:
            raise MalformedError.at("bundle.devices", "too many devices", expected=f"at most {limits.MAX_DEVICES}")
        evidence.append(Evidence.of(item.text("kind"), item.text("label"), {name: content(parts.object(name)) for name in parts.names()}))
        parts.done()
        item.done()
    collateral: list[CollateralItem] = []
    for item in fields.objects("collateral"):
        piece = CollateralItem(
            item.choice("type", CollateralType), item.text("name"), content(item.object("content")), item.time("fetched_at")
        )
        collateral.append(piece)
        item.done()
    bundle = Bundle.of(
        nonce=None if fields.value("nonce") is None else fields.hex("nonce"),
        recipient=None if fields.value("recipient") is None else Recipient.from_jwk(fields.object("recipient")),
        binding=fields.choice("binding", Binding),
        evidence=tuple(evidence),
        collateral=Collateral(tuple(collateral)),
        recorded_at=None if fields.value("recorded_at") is None else fields.time("recorded_at"),
        origin=fields.choice("origin", BundleOrigin),
        note=fields.text("note"),
    )
    fields.done()
    expected = [path for path, _ in _parts(bundle)]
    if sorted(paths) != sorted(expected):
        raise MalformedError.at(
            "bundle.path",
            "a part of the bundle stands under another path than its place says",
            found=", ".join(sorted(set(paths) - set(expected))),
            expected=", ".join(sorted(set(expected) - set(paths))),
        )
    return bundle


def _folder(path: Path) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    total = 0
    for item in sorted(path.rglob("*")):
        if item.is_symlink():
            raise MalformedError.at("bundle.file", "a bundle folder holds no links", found=str(item.relative_to(path)))
        if item.is_dir():
            continue
        name = item.relative_to(path).as_posix()
        if not item.is_file():  # a pipe would never end
            raise MalformedError.at("bundle.file", "a bundle folder holds files and folders only", found=name, expected="a file")
        if len(files) == limits.MAX_BUNDLE_FILES:
            raise MalformedError.at("bundle.file", "the folder has too many files", expected=f"at most {limits.MAX_BUNDLE_FILES}")
        total += item.stat().st_size
        if total > limits.MAX_BUNDLE_BYTES * 3:
            raise MalformedError.at("bundle.size", "bundle folder is too large", found=f"{total} bytes")
        if name != "PROVENANCE.md":
            files[name] = bounded(item.read_bytes(), limits.MAX_BUNDLE_BYTES, name)
    return files
