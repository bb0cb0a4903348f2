"""Real evidence of many GPUs, switches and manifests, each at the expected time with the expected verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from attest.errors import AttestError
from attest.kinds.nvidia_gpu import NVIDIA_GPU, rim
from attest.trust import Role
from tests.kinds.nvidia_gpu.cases import CASES, MANIFESTS, TRUST, Case, ManifestCase, anchor_of, outcome, outcome_of_manifest

pytestmark = pytest.mark.corpus


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_case(case: Case, corpus: Path) -> None:
    said = outcome(case, corpus)
    assert {name: said.get(name) for name in case.expected} == case.expected


@pytest.mark.parametrize("case", MANIFESTS, ids=lambda case: case.file)
def test_manifest(case: ManifestCase, corpus: Path) -> None:
    said = outcome_of_manifest(case, corpus)
    assert {name: said.get(name) for name in case.expected} == case.expected


def test_every_file_of_the_corpus_is_in_a_case(corpus: Path) -> None:
    """Except the tokens of NVIDIA's remote service, which are no evidence of this kind."""
    used: set[str] = set()
    for case in CASES:
        used |= {str(part) for part in case.evidence} | set(case.rims) | set(case.ocsp)
    used |= {case.file for case in MANIFESTS}
    folders = ("reports", "chains", "evidence", "rim", "ocsp")
    assert {path.name for folder in folders for path in (corpus / "nvidia" / folder).iterdir()} - used == set()


def test_pins_are_those_of_the_real_roots(corpus: Path) -> None:
    folder = corpus / "nvidia" / "certs"
    for name, role in (("nvidia_device_identity_root.pem", Role.NVIDIA_DEVICE), ("nvidia_rim_root.pem", Role.NVIDIA_RIM)):
        (anchor,) = TRUST.for_role(role)
        assert anchor_of(folder / name).spki_sha256 == anchor.spki_sha256


def test_another_root_is_no_anchor(corpus: Path) -> None:
    anchor = anchor_of(corpus / "nvidia" / "certs" / "NEG_incorrect_rim_root.crt")
    with pytest.raises(AttestError) as caught:
        rim.judge((corpus / "nvidia" / "rim" / "NV_GPU_DRIVER_GH100_550.90.07.xml").read_bytes(), (anchor,))
    assert caught.value.code == "pki.chain.anchor"


def test_devices_of_a_system_are_distinct(corpus: Path) -> None:
    for name, count in (("ppcie_8xh100_590.12_gpus.json", 8), ("h100x4_590.12.json", 4)):
        cases = [case for case in CASES if case.evidence[0] == name]
        assert len(cases) == count
        assert len({outcome(case, corpus)["device_id"] for case in cases}) == count


def test_gpus_of_a_system_name_the_same_four_switches(corpus: Path) -> None:
    found = NVIDIA_GPU.recognise((corpus / "nvidia" / "evidence" / "ppcie_8xh100_590.12_gpus.json").read_bytes())
    named = {NVIDIA_GPU.inspect(evidence)["nvlink switches"] for evidence in found}
    assert len(named) == 1
    assert len(named.pop().split(", ")) == 4
