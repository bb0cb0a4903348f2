"""Record fixtures/tpm/ anew on a software TPM: good sessions with RSA and ECC keys and both banks, and sessions with one real fault each.

    python tests/record_tpm_fixtures.py        (`make tpm-fixtures`)

Needs swtpm, swtpm-tools and tpm2-tools. No private key outlives the run: a TPM's keys are in its state, which is thrown away.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import attest.node.tpm  # noqa: E402
from attest.binding import Binding, boot_field  # noqa: E402
from attest.bundle import Bundle, BundleOrigin  # noqa: E402
from attest.crypto import spki_sha256  # noqa: E402
from attest.evidence import Collateral, Evidence  # noqa: E402
from attest.kinds.tpm.public import parse_public  # noqa: E402
from attest.node.enrolment import challenge, enrol, verify_endorsement  # noqa: E402
from attest.node.tpm import Tpm  # noqa: E402
from attest.pki import Anchor, load_certificates  # noqa: E402
from attest.recipient import Recipient  # noqa: E402
from attest.trust import Enrolment, Origin, TrustStore  # noqa: E402
from tests.kinds.tpm.software import Ev, boot_events, log_of  # noqa: E402
from tests.swtpm import SoftwareTpm, missing, software_tpm  # noqa: E402

FOLDER = ROOT / "fixtures" / "tpm"
BANKS = {"sha256": 0xB, "sha384": 0xC}
PCRS = "0,1,2,3,4,5,6,7,8,9,10,11,12,13,14"
KEY_PCRS = "sha256:0,2,4,7,9,12"
NONCE = hashlib.sha256(b"fixtures of attest, kind tpm").digest()
EVENTS = [event for event in boot_events() if event.type != 3]
NOTE = "recorded on swtpm, a software TPM: no hardware stands behind this evidence"


class Recorder:
    """One booted software TPM, and what is recorded on it."""

    def __init__(self, tpm: SoftwareTpm, scratch: Path) -> None:
        self.tpm, self.scratch = tpm, scratch
        self.device = Tpm(tpm.tcti)
        self.enrolments: list[Enrolment] = []
        self.expected: dict[str, str] = {}
        log = scratch / "log"
        log.write_bytes(log_of(EVENTS, tuple(BANKS.values())))
        attest.node.tpm.EVENT_LOG = log  # type: ignore[misc]
        for event in EVENTS:
            tpm.extend(event.pcr, {name: event.digest(name) for name in BANKS})

    def enrol(self, algorithm: str) -> None:
        self.device.create_attestation_key(algorithm)
        sent = self.device.endorsement()
        chain = load_certificates(self.tpm.authorities, "authorities", most=2)
        anchor = Anchor("swtpm", spki_sha256(chain[-1].public_key()))
        certificate = verify_endorsement(sent, chain, [anchor], at=datetime.now(UTC))
        made = challenge(sent)
        answer = self.device.activate(made.credential)
        self.enrolments.append(enrol(sent, made.secret, answer, label=f"swtpm, {algorithm} key", ek_certificate=certificate))

    def vouch(self, public: bytes, label: str) -> None:
        """Enrol a key that must be refused for what it is, not for being unknown."""
        self.enrolments.append(Enrolment(label, parse_public(public, label).name.hex(), "", ""))

    def save(self, name: str, evidence: Evidence, to: Recipient, code: str = "", **changes: bytes) -> None:
        parts = {**evidence.parts, **{part.replace("_", "-"): data for part, data in changes.items()}}
        bundle = Bundle.of(
            nonce=NONCE,
            recipient=to,
            binding=Binding.ATTEST_1,
            evidence=(Evidence.of("tpm", "tpm-0", parts),),
            collateral=Collateral(),
            recorded_at=datetime.now(UTC).replace(microsecond=0),
            origin=BundleOrigin.RECORDED,
            note=NOTE,
        )
        bundle.save(FOLDER / name)
        self.expected[name] = code

    def tools(self, files: Mapping[str, bytes], *commands: str) -> Path:
        """Run tpm2-tools in a folder of their own; transient objects are flushed after each."""
        folder = Path(tempfile.mkdtemp(dir=self.scratch))
        for name, data in files.items():
            (folder / name).write_bytes(data)
        for command in commands:
            words = command.format(folder=folder).split()
            self.tpm.tool(f"tpm2_{words[0]}", *words[1:])
            self.tpm.tool("tpm2_flushcontext", "-t")
        return folder


def good(recorder: Recorder) -> tuple[Evidence, Recipient]:
    """Sessions that are accepted. The last one with an RSA key is what most faults start from."""
    recorder.enrol("ecc")
    key = recorder.scratch / "ecc"
    recipient = recorder.device.create_recipient_key(key, pcrs=KEY_PCRS)
    recorder.save("ecc-sha256", recorder.device.quote(NONCE, recipient, [], pcrs=f"sha256:{PCRS}", folder=key), recipient)
    recorder.enrol("rsa")
    key = recorder.scratch / "rsa"
    recipient = recorder.device.create_recipient_key(key, pcrs=KEY_PCRS)
    both = recorder.device.quote(NONCE, recipient, [], pcrs=f"sha256:{PCRS}+sha384:{PCRS}", folder=key)
    recorder.save("rsa-sha256-and-sha384", both, recipient)
    wide = recorder.device.create_recipient_key(recorder.scratch / "wide", pcrs="sha384:0,2,4,7,9,12")
    quoted = recorder.device.quote(NONCE, wide, [], pcrs=f"sha384:{PCRS}", folder=recorder.scratch / "wide")
    recorder.save("rsa-sha384", quoted, wide)
    evidence = recorder.device.quote(NONCE, recipient, [], pcrs=f"sha256:{PCRS}", folder=key)
    recorder.save("rsa-sha256", evidence, recipient)
    return evidence, recipient


def altered(recorder: Recorder, evidence: Evidence, recipient: Recipient) -> None:
    """Faults of what is not signed, and of what is."""
    parts = evidence.parts
    relabelled = bytearray(parts["pcrs"])
    relabelled[8] = relabelled[8] & ~0x40 | 0x80  # PCR 14 called PCR 15
    recorder.save("pcrs-relabelled", evidence, recipient, "tpm.pcr-labels", pcrs=bytes(relabelled))
    recorder.save("magic", evidence, recipient, "tpm.magic", quote=bytes(4) + parts["quote"][4:])
    flipped = parts["event-log"].replace("SecureBoot".encode("utf-16-le") + b"\1", "SecureBoot".encode("utf-16-le") + b"\0")
    recorder.save("log-data", evidence, recipient, "tpm.log-data", event_log=flipped)
    other = log_of([*EVENTS, Ev(4, 0x80000003, b"another")], tuple(BANKS.values()))
    recorder.save("log-surplus", evidence, recipient, "tpm.log-replay", event_log=other)
    recorder.save("type", evidence, recipient, "tpm.type", quote=parts["certification"], signature=parts["certification-signature"])


def other_keys(recorder: Recorder, evidence: Evidence, recipient: Recipient) -> None:
    """Keys that a TPM made and that must not be believed, or not be given anything."""
    ek = "createek -c {folder}/ek -G rsa"
    unrestricted = "fixedtpm|fixedparent|sensitivedataorigin|userwithauth|sign"
    folder = recorder.tools(
        {"quote": evidence.parts["quote"]},
        "createprimary -C o -G rsa2048 -c {folder}/storage",
        f"create -C {{folder}}/storage -G rsa2048:rsassa-sha256:null -a {unrestricted} -u {{folder}}/ak -r {{folder}}/private",
        "load -C {folder}/storage -u {folder}/ak -r {folder}/private -c {folder}/key",
        "sign -c {folder}/key -g sha256 -s rsassa -f tss -o {folder}/signature {folder}/quote",
    )
    ak = (folder / "ak").read_bytes()
    recorder.vouch(ak, "a key that signs anything")
    signature = (folder / "signature").read_bytes()
    recorder.save("forged-by-unrestricted-key", evidence, recipient, "tpm.ak-attributes", ak=ak, signature=signature)

    exportable = "sensitivedataorigin|userwithauth|decrypt"
    handle = attest.node.tpm.AK_HANDLE
    folder = recorder.tools(
        {},
        "createprimary -C o -G rsa2048 -c {folder}/storage",
        f"create -C {{folder}}/storage -G rsa2048:oaep-sha256:null -a {exportable} -u {{folder}}/recipient -r {{folder}}/private",
        "load -C {folder}/storage -u {folder}/recipient -r {folder}/private -c {folder}/key",
        f"certify -c {{folder}}/key -C {handle} -g sha256 -o {{folder}}/certification -s {{folder}}/signature",
    )
    files = {name: (folder / name).read_bytes() for name in ("recipient", "certification", "signature")}
    recorder.save(
        "exportable-recipient", evidence, recipient, "tpm.recipient-attributes",
        recipient=files["recipient"], certification=files["certification"], certification_signature=files["signature"],
    )  # fmt: skip
    recorder.save("recipient-of-another-certification", evidence, recipient, "tpm.certified-name", recipient=files["recipient"])

    field = boot_field(NONCE, recipient, []).hex()
    folder = recorder.tools(
        {},
        ek,
        "createak -C {folder}/ek -c {folder}/key -G rsa -g sha256 -s rsapss -u {folder}/ak -f tss",
        f"quote -c {{folder}}/key --scheme rsapss -g sha256 -l sha256:{PCRS} -q {field} -m {{folder}}/quote -s {{folder}}/signature "
        "-f tss -o {folder}/pcrs",
    )
    own = {name: (folder / name).read_bytes() for name in ("quote", "signature", "ak", "pcrs")}
    recorder.save("not-enrolled", replace_parts(evidence, own), recipient, "tpm.ak-trust")


def replace_parts(evidence: Evidence, parts: Mapping[str, bytes]) -> Evidence:
    """Those parts, and the event log."""
    return Evidence.of("tpm", "tpm-0", {**parts, "event-log": evidence.parts["event-log"]})


def main() -> int:
    if lacking := missing():
        print(f"no {lacking}: install swtpm, swtpm-tools and tpm2-tools", file=sys.stderr)
        return 2
    for path in FOLDER.iterdir() if FOLDER.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="tpm-") as folder,
        tempfile.TemporaryDirectory(prefix="rec-") as scratch,
        software_tpm(Path(folder)) as tpm,
    ):
        recorder = Recorder(tpm, Path(scratch))
        evidence, recipient = good(recorder)
        altered(recorder, evidence, recipient)
        other_keys(recorder, evidence, recipient)
    store = TrustStore.of("fixtures on swtpm", Origin.SIMULATED, (), tuple(recorder.enrolments))
    (FOLDER / "trust.json").write_bytes(store.to_json())
    (FOLDER / "expected.json").write_text(json.dumps(recorder.expected, indent=2) + "\n")
    print(f"{len(recorder.expected)} sessions recorded in {FOLDER.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
