"""IMA lists: form, template hashes, and replay to the quoted PCR 10."""

from __future__ import annotations

import hashlib

import pytest

from attest.errors import AttestError
from attest.kinds.tpm.ima import parse_ima, replay_ima
from tests.kinds.tpm.software import A, Session
from tests.kinds.tpm.test_defects import code_of, judge


def packed(digest: str, path: str, extra: bytes | None) -> bytes:
    prefix, _, value = digest.rpartition(":")
    fields = [prefix.encode() + b":\0" + bytes.fromhex(value), path.encode() + b"\0", *([extra] if extra is not None else [])]
    return b"".join(len(item).to_bytes(4, "little") + item for item in fields)


def line(path: str, *, template: str = "ima-ng", digest: str = "", extra: bytes | None = None, violation: bool = False) -> str:
    digest = digest or "sha256:" + hashlib.sha256(path.encode()).hexdigest()
    shown = "00" * 20 if violation else hashlib.sha1(packed(digest, path, extra), usedforsecurity=False).hexdigest()
    tail = "" if extra is None else " " + extra.hex()
    return f"10 {shown} {template} {digest} {path}{tail}\n"


def pcr10(*entries: tuple[str, bytes | None], violation: int = -1) -> bytes:
    value = bytes(32)
    for index, (path, extra) in enumerate(entries):
        data = packed("sha256:" + hashlib.sha256(path.encode()).hexdigest(), path, extra)
        value = hashlib.sha256(value + (b"\xff" * 32 if index == violation else hashlib.sha256(data).digest())).digest()
    return value


ENTRIES = (("boot_aggregate", None), ("/usr/bin/with space", None), ("/usr/lib/x.ko", b"sig"))
LIST = line("boot_aggregate") + line("/usr/bin/with space") + line("/usr/lib/x.ko", template="ima-sig", extra=b"sig")


def session(text: str, value: bytes) -> Session:
    made = Session()
    made.values[A.SHA256][10] = value
    made.parts["ima"] = text.encode()
    return made


def test_a_list_that_replays() -> None:
    claims = judge(session(LIST, pcr10(*ENTRIES))).claims
    assert (claims.ima.value, claims.ima_entries, claims.ima_unattested, claims.ima_violations) == ("replayed", 3, 0, 0)
    assert claims.ima_digests == {"sha256:" + hashlib.sha256(path.encode()).hexdigest() for path, _ in ENTRIES}
    assert "10" not in claims.unexplained_pcrs


def test_entries_behind_the_quote_are_not_attested() -> None:
    claims = judge(session(LIST, pcr10(*ENTRIES[:2]))).claims
    assert (claims.ima_entries, claims.ima_unattested) == (2, 1)
    assert "sha256:" + hashlib.sha256(b"/usr/lib/x.ko").hexdigest() not in claims.ima_digests


def test_violations_are_counted() -> None:
    text = line("boot_aggregate") + line("/var/log/open", violation=True)
    claims = judge(session(text, pcr10(("boot_aggregate", None), ("/var/log/open", None), violation=1))).claims
    assert claims.ima_violations == 1


@pytest.mark.parametrize("template", ["ima-ngv2", "ima-sigv2"])
def test_templates_of_version_2(template: str) -> None:
    digest = "verity:sha256:" + "ab" * 32
    extra = b"" if template == "ima-sigv2" else None
    (entry,) = parse_ima(line("/usr/bin/x", template=template, digest=digest, extra=extra).encode())
    assert (entry.digest, entry.signed) == (digest, False)


REFUSED = {
    "altered path": ("tpm.ima-template-hash", LIST.replace("/usr/lib", "/usr/bin")),
    "altered digest": ("tpm.ima-template-hash", LIST.replace(hashlib.sha256(b"boot_aggregate").hexdigest(), "00" * 32)),
    "entry left out": ("tpm.ima-replay", "".join(LIST.splitlines(keepends=True)[1:])),
    "entries in another order": ("tpm.ima-replay", "".join(reversed(LIST.splitlines(keepends=True)))),
    "empty list": ("tpm.ima-replay", ""),
    "another PCR": ("tpm.ima-form", LIST.replace("10 ", "11 ", 1)),
    "unknown template": ("tpm.ima-form", LIST.replace("ima-ng", "ima-xx", 1)),
    "unknown algorithm": ("tpm.ima-form", LIST.replace("sha256:", "sha999:", 1)),
    "short digest": ("tpm.ima-form", LIST.replace("sha256:", "sha512:", 1)),
    "version 2 digest in version 1": ("tpm.ima-form", LIST.replace("sha256:", "ima:sha256:", 1)),
    "few fields": ("tpm.ima-form", "10 00 ima-ng\n"),
    "signature that is no hex": ("tpm.ima-form", LIST.replace(" " + b"sig".hex(), " xyz")),
    "empty line": ("tpm.ima-form", LIST + "\n"),
    "short template hash": ("tpm.ima-form", "10 00 ima-ng sha256:" + "00" * 32 + " x\n"),
    "not UTF-8 text": ("wire.utf8", "\udcff"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str) -> None:
    code, text = REFUSED[name]
    made = session("", pcr10(*ENTRIES))
    made.parts["ima"] = text.encode("utf-8", "surrogateescape")
    assert code_of(made) == code


def test_pcr_10_must_be_quoted() -> None:
    made = session(LIST, pcr10(*ENTRIES))
    del made.values[A.SHA256][10]
    assert code_of(made) == "tpm.ima-replay"


def test_the_longest_beginning_counts() -> None:
    entries = parse_ima(LIST.encode())
    assert len(replay_ima(entries, A.SHA256, bytes(32)).attested) == 0
    with pytest.raises(AttestError):
        replay_ima((), A.SHA256, b"\1" * 32)
