"""The bundle format: two forms, one digest, nothing that the manifest does not account for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attest.binding import Binding
from attest.bundle import MANIFEST, Bundle, BundleOrigin
from attest.errors import AttestError, MalformedError, UsageError
from attest.evidence import Collateral, CollateralItem, CollateralType, Evidence
from attest.recipient import Kem, Recipient

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
PEM = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"


def make(**changes: object) -> Bundle:
    members: dict[str, object] = {
        "nonce": bytes(range(32)),
        "recipient": Recipient(Kem.X25519, bytes.fromhex("07" * 32)),
        "binding": Binding.ATTEST_1,
        "evidence": (
            Evidence.of("nvidia-gpu", "gpu-0", {"report": b"\x11\xe0" * 40, "certificates": PEM}),
            Evidence.of("sev-snp", "cpu", {"report": b"\x02" * 70, "certificates": PEM}),
        ),
        "collateral": Collateral(
            (
                CollateralItem(CollateralType.RIM, "driver", b"<rim/>", AT),
                CollateralItem(CollateralType.CRL, "milan", b"\x30\x03\x02\x01\x00", AT),
            )
        ),
        "recorded_at": AT,
        "origin": BundleOrigin.RECORDED,
        "note": "a note",
    }
    return Bundle.of(**(members | changes))  # type: ignore[arg-type]


def test_both_forms_have_the_same_digest_and_content(tmp_path: Path) -> None:
    bundle = make()
    for target in (tmp_path / "folder", tmp_path / "file.json"):
        bundle.save(target)
        again = Bundle.load(target)
        assert again == bundle
        assert again.digest == bundle.digest
    assert (tmp_path / "folder" / "evidence" / "gpu-0" / "report.hex").read_text().startswith("11e011e0")
    assert (tmp_path / "folder" / "collateral" / "rim" / "driver.xml").read_bytes() == b"<rim/>"


def test_without_nonce_recipient_and_time() -> None:
    bundle = make(nonce=None, recipient=None, recorded_at=None, binding=Binding.RAW_NONCE)
    assert Bundle.from_bytes(bundle.to_bytes()) == bundle
    assert Bundle.from_files(bundle.to_files()) == bundle


@pytest.mark.parametrize(
    "change",
    [
        {"nonce": bytes(32)},
        {"nonce": None},
        {"recipient": None},
        {"recipient": Recipient(Kem.X25519, bytes.fromhex("08" * 32))},
        {"binding": Binding.RAW_NONCE},
        {"evidence": make().evidence[:1]},
        {"evidence": make().evidence[::-1]},
        {"collateral": Collateral(make().collateral.items[:1])},
        {"collateral": Collateral(make().collateral.items[::-1])},
        {"recorded_at": AT.replace(second=1)},
        {"recorded_at": None},
        {"origin": BundleOrigin.SIMULATED},
        {"note": "another note"},
    ],
)
def test_digest_covers_every_member(change: dict[str, object]) -> None:
    assert make(**change).digest != make().digest


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"nonce": bytes(31)}, "bundle.nonce"),
        ({"evidence": ()}, "bundle.devices"),
        ({"evidence": make().evidence[:1] * 2}, "bundle.label"),
        ({"evidence": (Evidence.of("sev-snp", "../cpu", {"report": b"x"}),)}, "bundle.label"),
        ({"evidence": (Evidence.of("sev-snp", "CPU", {"report": b"x"}),)}, "bundle.label"),
        ({"evidence": (Evidence.of("sev-snp", "workload", {"report": b"x"}),)}, "bundle.label"),
        ({"evidence": tuple(Evidence.of("sev-snp", f"d{n}", {"report": b"x"}) for n in range(65))}, "bundle.devices"),
        ({"collateral": Collateral((CollateralItem(CollateralType.RIM, "../x", b"<a/>", AT),))}, "bundle.collateral"),
        ({"collateral": Collateral((CollateralItem(CollateralType.RIM, "x", b"<a/>", AT),) * 2)}, "bundle.collateral"),
    ],
)
def test_shapes_that_are_refused(change: dict[str, object], code: str) -> None:
    with pytest.raises(MalformedError) as refused:
        make(**change)
    assert refused.value.code == code


def edited(edit: object) -> bytes:
    manifest = json.loads(make().to_bytes())
    edit(manifest)  # type: ignore[operator]
    return json.dumps(manifest).encode()


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda m: m.update(format="attest-bundle/2"), "bundle.format"),
        (lambda m: m.update(surprise=1), "wire.json"),
        (lambda m: m["evidence"][0].update(verified=True), "wire.json"),
        (lambda m: m["evidence"][0]["parts"]["report"].update(size=3), "bundle.digest"),
        (lambda m: m["evidence"][0]["parts"]["report"].update(base64="AAAA"), "bundle.digest"),
        (lambda m: m["evidence"][0]["parts"]["report"].update(path="evidence/cpu/other.hex"), "bundle.path"),
        (lambda m: m["collateral"][0].update(type="opinion"), "wire.json"),
        (lambda m: m["collateral"][0].update(fetched_at="2026-11-21 08:00:00"), "wire.time"),
        (lambda m: m.update(binding="none"), "wire.json"),
        (lambda m: m.update(origin="production"), "wire.json"),
        (lambda m: m.pop("nonce"), "wire.json"),
        (lambda m: m.pop("recipient"), "wire.json"),
        (lambda m: m.pop("recorded_at"), "wire.json"),
        (lambda m: m["recipient"].update(d="AAAA"), "wire.json"),
        (lambda m: m["recipient"].update(x="A" * 43), "recipient.key"),
    ],
)
def test_edited_wire_form_is_refused(edit: object, code: str) -> None:
    with pytest.raises(MalformedError) as refused:
        Bundle.from_bytes(edited(edit))
    assert refused.value.code == code


def test_folder_with_a_missing_surplus_or_changed_file_is_refused() -> None:
    files = make().to_files()
    report = "evidence/gpu-0/report.hex"
    with pytest.raises(MalformedError, match=r"missing"):
        Bundle.from_files({name: data for name, data in files.items() if name != report})
    with pytest.raises(MalformedError, match=r"does not name"):
        Bundle.from_files(files | {"evidence/gpu-0/extra.hex": b"00\n"})
    with pytest.raises(MalformedError) as refused:
        Bundle.from_files(files | {report: files[report].replace(b"11", b"12", 1)})
    assert refused.value.code == "bundle.digest"
    with pytest.raises(MalformedError, match=r"there is no bundle.json"):
        Bundle.from_files({name: data for name, data in files.items() if name != MANIFEST})


def test_links_are_refused(tmp_path: Path) -> None:
    make().save(tmp_path / "b")
    (tmp_path / "b" / "evidence" / "link").symlink_to("/etc/hostname")
    with pytest.raises(MalformedError, match="no links"):
        Bundle.load(tmp_path / "b")


def test_nothing_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as refused:
        Bundle.load(tmp_path / "none")
    assert refused.value.exit_code == 2


def test_every_truncation_of_the_wire_form_is_refused() -> None:
    data = make().to_bytes()
    for length in range(0, len(data) - 1, 7):
        with pytest.raises(AttestError):
            Bundle.from_bytes(data[:length])
