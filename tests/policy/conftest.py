"""A small policy over two made-up kinds, so that these tests do not depend on any vendor's claims."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import pytest

from attest.appraisal import WorkloadClaims
from attest.decision import Action
from attest.errors import MalformedError
from attest.evidence import ClaimEnum, ClaimInfo, Claims
from attest.policy.bundle import Policy
from attest.policy.check import examine
from attest.policy.explain import Request
from attest.policy.finding import MANIFEST, REFERENCE, RULES, Finding
from attest.versions import VersionForm
from attest.wire import Json


class Colour(ClaimEnum):
    RED = "red"
    GREEN = "green"
    UNKNOWN = "unknown"


class Shape(ClaimEnum):
    ROUND = "round"
    SQUARE = "square"


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardClaims(Claims):
    colour: Annotated[Colour, ClaimInfo("Colour of the board", where="report 0x10", vendor="COLOUR")]
    shape: Annotated[Shape, ClaimInfo("Shape of the board", where="report 0x11")]
    level: Annotated[int, ClaimInfo("Security level", where="report 0x12")]
    firmware: Annotated[int, ClaimInfo("Firmware", where="report 0x14", version="firmware_text", form=VersionForm.THREE_PARTS)]
    firmware_text: Annotated[str, ClaimInfo("Firmware as text", where="report 0x14")]
    bios: Annotated[int, ClaimInfo("BIOS", where="report 0x18", version="bios_text", form=VersionForm.FIVE_BYTES)]
    bios_text: Annotated[str, ClaimInfo("BIOS as text", where="report 0x18")]
    advisories: Annotated[frozenset[str], ClaimInfo("Open advisories", where="report 0x20")]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChipClaims(Claims):
    image: Annotated[str, ClaimInfo("Measurement of the image", where="report 0x40")]
    level: Annotated[int, ClaimInfo("Security level", where="report 0x50")]


@dataclass(frozen=True)
class Made:
    name: str
    principal: str
    claims_type: type[Claims]


KINDS = (Made("board", "Board", BoardClaims), Made("chip", "Chip", ChipClaims))

BOARD: Mapping[str, object] = {
    "debug": "off",
    "simulated": False,
    "revocation": "good",
    "device_id": "b-1",
    "colour": "green",
    "shape": "round",
    "level": 7,
    "firmware": 2 << 40 | 10 << 20 | 3,
    "firmware_text": "2.10.3",
    "bios": 0x9600A50001,
    "bios_text": "96.00.A5.00.01",
    "advisories": frozenset({"A-1"}),
}
CHIP: Mapping[str, object] = {
    "debug": "off", "simulated": False, "revocation": "good", "device_id": "c-1", "image": "aa" * 24, "level": 3,
}  # fmt: skip
WORKLOAD: Mapping[str, object] = {
    "device_count": 3,
    "gpu_count": 2,
    "cpu_count": 1,
    "tpm_count": 0,
    "evidence_age": 12,
    "recipient_algorithm": "x25519",
    "recipient_bound": True,
    "nonce_issued": True,
    "same_firmware": "yes",
    "simulated": False,
}

RULE_BOARD = """@id("board")
@description("A board that may be used")
@owner("security")
@fix("replace the board")
@fix_firmware("update the firmware")
permit(principal is Board, action == Action::"accept", resource)
when {
  principal.debug == Debug::"off" &&
  principal.revocation == Revocation::"good" &&
  [Colour::"red", Colour::"green"].contains(principal.colour) &&
  principal.level >= 5 && principal.level <= 9 &&
  principal.firmware >= resource.min_firmware &&
  principal.bios >= resource.min_bios &&
  resource.tolerated.containsAll(principal.advisories)
};
"""
RULE_CHIP = """@id("chip")
@description("A chip that runs an image we know")
@owner("security")
permit(principal is Chip, action == Action::"accept", resource)
when {
  principal.debug == Debug::"off" && principal.revocation == Revocation::"good" &&
  resource.images.contains(principal.image) && principal.level >= resource.min_level
};
"""
RULE_RELEASE = """@id("release")
@description("The whole workload")
@owner("security")
permit(principal is Workload, action == Action::"release", resource)
when {
  principal.gpu_count == 2 && principal.cpu_count == 1 &&
  principal.evidence_age >= 0 && principal.evidence_age <= resource.max_evidence_age_seconds &&
  principal.nonce_issued && !principal.simulated
};
"""
RULES_TEXT = RULE_BOARD + RULE_CHIP + RULE_RELEASE


def reference(**values: Json) -> dict[str, Json]:
    """Reference data with the usual values; a keyword replaces one, None removes it."""
    usual: dict[str, Json] = {
        "min_firmware": {"type": "version", "of": "firmware", "value": "2.9.0", "why": "first without the flaw, 2026-01"},
        "min_bios": {"type": "version", "of": "bios", "value": "96.00.9F.00.01", "why": "first without the flaw, 2026-01"},
        "tolerated": {"type": "set", "value": ["A-1", "A-2"], "why": "harmless here, reviewed 2026-02"},
        "images": {"type": "set", "value": ["aa" * 24], "why": "image 12, built 2026-03"},
        "min_level": {"type": "long", "value": 3, "why": "level of the fleet, 2026-01"},
    }
    usual.update(values)
    kept: dict[str, Json] = {name: value for name, value in usual.items() if value is not None}
    return {
        "format": "attest-reference/1",
        "topology": {"board": 2, "chip": 1},
        "max_evidence_age_seconds": 300,
        "values": kept,
    }


def files_of(rules: str | bytes = RULES_TEXT, data: Json = None, manifest: Json = None) -> dict[str, bytes]:
    """Files of a policy; what is not given is as usual."""
    usual: Json = {"format": "attest-policy/1", "name": "boards", "serial": 1, "description": "Boards and a chip", "owner": "security"}
    return {
        MANIFEST: json.dumps(usual if manifest is None else manifest).encode(),
        RULES: rules if isinstance(rules, bytes) else rules.encode(),
        REFERENCE: json.dumps(reference() if data is None else data).encode(),
    }


def findings_of(files: Mapping[str, bytes]) -> tuple[Finding, ...]:
    return examine(files, KINDS, WorkloadClaims).findings


def load(files: Mapping[str, bytes]) -> Policy:
    examination = examine(files, KINDS, WorkloadClaims)
    if examination.sound is None:
        raise MalformedError(*(finding.reason() for finding in examination.errors))
    return Policy._of(files, examination.sound, examination.findings)


def requests(
    board: Mapping[str, object] = BOARD, chip: Mapping[str, object] = CHIP, workload: Mapping[str, object] = WORKLOAD
) -> list[Request]:
    return [
        Request(Action.ACCEPT, "board-0", "Board", board),
        Request(Action.ACCEPT, "board-1", "Board", BOARD),
        Request(Action.ACCEPT, "chip", "Chip", chip),
        Request(Action.RELEASE, "workload", "Workload", workload),
    ]


class Kit:
    """What tests of this room use: makers of files and requests over the made-up kinds."""

    files = staticmethod(files_of)
    reference = staticmethod(reference)
    findings = staticmethod(findings_of)
    load = staticmethod(load)
    requests = staticmethod(requests)
    rules = RULES_TEXT
    rule_board = RULE_BOARD
    rule_chip = RULE_CHIP
    rule_release = RULE_RELEASE
    board = BOARD
    chip = CHIP
    workload = WORKLOAD
    kinds = KINDS


@pytest.fixture(scope="session")
def kit() -> Kit:
    return Kit()
