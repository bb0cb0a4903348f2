"""Files that somebody hands to the command line: each is a refusal or a usage error, never a bug of ours, and never a Python warning."""

from __future__ import annotations

import ssl
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from attest.binding import Binding
from attest.bundle import Bundle, BundleOrigin
from attest.evidence import Collateral, CollateralItem, CollateralType, Evidence
from attest_cli.main import run

VERSION_3 = bytes.fromhex("a003020102")


@pytest.fixture(scope="module")
def milan(request: pytest.FixtureRequest) -> Evidence:
    """A real report with its VCEK."""
    folder = Path(str(request.config.rootpath)) / "fixtures" / "sev-snp" / "azure-milan-v3"
    return Bundle.load(folder).evidence[0]


@pytest.fixture
def leaf(milan: Evidence) -> bytes:
    first = milan.part("certificates").decode().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----\n"
    return ssl.PEM_cert_to_DER_cert(first)


@pytest.fixture
def unknown_version(leaf: bytes) -> bytes:
    """A certificate of version 8, which the library refuses with an error of its own kind."""
    assert leaf.count(VERSION_3) == 1
    return leaf.replace(VERSION_3, VERSION_3[:-1] + b"\x07")


def test_a_companion_of_an_unknown_version_is_a_usage_error(
    tmp_path: Path, milan: Evidence, unknown_version: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "report.bin").write_bytes(milan.part("report"))
    (tmp_path / "leaf.der").write_bytes(unknown_version)
    assert run(["verify", str(tmp_path / "report.bin"), "--with", str(tmp_path / "leaf.der")]) == 2
    assert "nothing that belongs to a report" in capsys.readouterr().err


def test_a_status_of_unreadable_collateral_states_no_end(
    tmp_path: Path, milan: Evidence, unknown_version: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    pem = ssl.DER_cert_to_PEM_cert(unknown_version).encode()
    item = CollateralItem(CollateralType.CERTIFICATES, "bad", pem, datetime(2026, 1, 1, tzinfo=UTC))
    bundle = Bundle.of(
        nonce=None,
        recipient=None,
        binding=Binding.RAW_NONCE,
        evidence=(Evidence.of("sev-snp", "cpu", {"report": milan.part("report")}),),
        collateral=Collateral((item,)),
        recorded_at=None,
        origin=BundleOrigin.SIMULATED,
    )
    bundle.save(tmp_path / "bundle.json")
    assert run(["collateral", "status", str(tmp_path / "bundle.json")]) == 0
    assert "no end stated" in capsys.readouterr().out


def test_a_leaf_of_serial_number_zero_gives_no_warning_of_the_library(tmp_path: Path, milan: Evidence, leaf: bytes) -> None:
    (tmp_path / "report.bin").write_bytes(milan.part("report"))
    (tmp_path / "leaf.der").write_bytes(leaf)
    words = ["verify", str(tmp_path / "report.bin"), "--with", str(tmp_path / "leaf.der")]
    script = f"import sys; sys.path[:0] = {sys.path!r}; from attest_cli.main import run; sys.exit(run({words!r}))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "Warning" not in done.stderr
    assert all(line.startswith("attest: ") for line in done.stderr.splitlines())
