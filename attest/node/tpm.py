"""A machine's TPM, through the commands of tpm2-tools: attestation key, recipient key, quote, activation, unwrapping.

Needs tpm2-tools (Debian package ``tpm2-tools``) and a TPM: /dev/tpmrm0, or what TPM2TOOLS_TCTI names. Hierarchies are used with empty
authorisation values. The attestation key is made under the endorsement key and kept at :data:`AK_HANDLE`; a recipient key is kept in files
that only this TPM can load.
"""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from attest.binding import boot_field
from attest.checks import Check
from attest.errors import Outcome, UsageError
from attest.evidence import Evidence
from attest.kinds.tpm.algorithm import BANKS
from attest.kinds.tpm.identity import ResidentKey
from attest.kinds.tpm.public import parse_public
from attest.kinds.tpm.recognise import NAME
from attest.kinds.tpm.report import PCRS, Selection, encode_selections, parse_certification
from attest.recipient import Recipient
from attest.release.checks import WRAP_OPEN
from attest.release.suites import oaep_label

TOOL: Final = Check(
    "node.tpm-tool",
    "command to the TPM",
    "tpm2-tools, manual pages",
    Outcome.CANNOT_DECIDE,
    "install tpm2-tools, and see that the TPM answers: tpm2_getrandom --hex 8",
)
NODE_CHECKS: Final = (TOOL,)

AK_HANDLE: Final = "0x81000010"
EK_CERTIFICATE: Final = "0x1c00002"
"""NV index of the RSA endorsement certificate (TCG EK Credential Profile 2.5, section 2.2.1.4)."""
EVENT_LOG: Final = Path("/sys/kernel/security/tpm0/binary_bios_measurements")
_SECONDS: Final = 60
_RESIDENT: Final = "fixedtpm|fixedparent|sensitivedataorigin|decrypt|noda"
_FILES: Final = ("recipient", "certification", "certification-signature", "recipient-policy")
_MOST_PCRS: Final = 8  # tpm2_policypcr reads the values with one TPM2_PCR_Read


@dataclass(frozen=True, slots=True)
class Endorsement:
    """What a machine sends to be enrolled: its keys' public areas, and the certificate of the endorsement key (DER; empty without one)."""

    ak: bytes
    ek: bytes
    ek_certificate: bytes


class Tpm:
    """One TPM. ``tcti`` is how tpm2-tools reach it ("swtpm:host=127.0.0.1,port=2321"); empty leaves it to them."""

    def __init__(self, tcti: str = "") -> None:
        self._environment: Final = dict(os.environ, TPM2TOOLS_TCTI=tcti) if tcti else dict(os.environ)

    @contextmanager
    def _session(self) -> Iterator[_Session]:
        with tempfile.TemporaryDirectory(prefix="attest-tpm-") as folder:
            session = _Session(Path(folder), self._environment)
            try:
                yield session
            finally:
                session.flush()

    # -- enrolment ----------------------------------------------------------------------------------------------------------------

    def create_attestation_key(self, algorithm: str = "rsa") -> None:
        """Make the attestation key ("rsa": RSASSA 2048, "ecc": ECDSA P-256; SHA-256) and keep it. Replaces the one that was kept before."""
        with self._session() as tpm:
            tpm.endorsement_key()
            scheme = {"rsa": "rsassa", "ecc": "ecdsa"}[algorithm]
            tpm("createak", "-C", "ek.ctx", "-c", "ak.ctx", "-G", algorithm, "-g", "sha256", "-s", scheme, "-u", "ak.pub", "-f", "tss")
            kept = tpm("getcap", "handles-persistent").decode().lower()
            if AK_HANDLE in kept:
                tpm("evictcontrol", "-C", "o", "-c", AK_HANDLE)
            tpm("evictcontrol", "-C", "o", "-c", "ak.ctx", AK_HANDLE)

    def endorsement(self) -> Endorsement:
        """What enrolment needs to know."""
        with self._session() as tpm:
            tpm.endorsement_key()
            ak = tpm.attestation_key()
            known = tpm("getcap", "handles-nv-index").decode().lower()
            certificate = b""
            if f"0x{int(EK_CERTIFICATE, 16):x}" in known:
                tpm("nvread", EK_CERTIFICATE, "-o", "ek.der")
                certificate = tpm.read("ek.der")
            return Endorsement(ak, tpm.read("ek.pub"), certificate)

    def activate(self, credential: bytes) -> bytes:
        """The secret in a credential for this TPM and its attestation key (TPM2_ActivateCredential)."""
        with self._session() as tpm:
            tpm.endorsement_key()
            tpm.write("credential", credential)
            tpm("startauthsession", "--policy-session", "-S", "session")
            tpm("policysecret", "-S", "session", "-c", "e")
            tpm("activatecredential", "-c", AK_HANDLE, "-C", "ek.ctx", "-i", "credential", "-o", "secret", "-P", "session:session")
            return tpm.read("secret")

    # -- recipient key ------------------------------------------------------------------------------------------------------------

    def create_recipient_key(self, folder: Path, *, pcrs: str) -> Recipient:
        """Make a decryption key that never leaves this TPM, certified by the attestation key; its files go to ``folder``.

        ``pcrs`` is a selection ("sha256:0,2,4,7") of one bank, at most 8: the TPM uses the key only while they keep their present values.
        """
        if len(parse_selection(pcrs).pcrs) > _MOST_PCRS:
            raise UsageError.of("too many PCRs for a key's policy", found=pcrs, expected=f"at most {_MOST_PCRS}")
        with self._session() as tpm:
            tpm.storage_key()
            tpm("startauthsession", "-S", "trial")
            tpm("policypcr", "-S", "trial", "-l", pcrs, "-L", "policy")
            tpm("flushcontext", "trial")
            shape = ("-G", "rsa2048:oaep-sha256:null", "-a", _RESIDENT, "-L", "policy")
            tpm("create", "-C", "storage.ctx", *shape, "-u", "recipient", "-r", "recipient.private")
            tpm("load", "-C", "storage.ctx", "-u", "recipient", "-r", "recipient.private", "-c", "recipient.ctx")
            tpm("certify", "-c", "recipient.ctx", "-C", AK_HANDLE, "-g", "sha256", "-o", "certification", "-s", "certification-signature")
            tpm.write("recipient-policy", encode_selections((parse_selection(pcrs),)))
            folder.mkdir(parents=True, exist_ok=True)
            for name in (*_FILES, "recipient.private"):
                (folder / name).write_bytes(tpm.read(name))
            (folder / "pcrs").write_text(pcrs + "\n")
        return resident_recipient(folder)

    def unwrap(self, folder: Path, sealed: bytes, label: str) -> bytes:
        """RSA-OAEP decryption inside the TPM, under its PCR policy. Raises the failure of ``wrap.open`` when the TPM refuses."""
        with self._session() as tpm:
            tpm.storage_key()
            for name in ("recipient", "recipient.private"):
                tpm.write(name, (folder / name).read_bytes())
            tpm.write("sealed", sealed)
            tpm("load", "-C", "storage.ctx", "-u", "recipient", "-r", "recipient.private", "-c", "recipient.ctx")
            policy = f"pcr:{(folder / 'pcrs').read_text().strip()}"
            opened = tpm.attempt("rsadecrypt", "-c", "recipient.ctx", "-s", "oaep", "-l", label, "-p", policy, "-o", "opened", "sealed")
            if opened is None:
                raise WRAP_OPEN.failure(
                    found="a ciphertext that the TPM does not open now", expected="the booted state of the key's making"
                )
            return tpm.read("opened")

    # -- evidence -----------------------------------------------------------------------------------------------------------------

    def quote(
        self, nonce: bytes, recipient: Recipient, statements: list[bytes], *, pcrs: str, folder: Path | None, label: str = "tpm-0"
    ) -> Evidence:
        """Quote ``pcrs`` for a session (binding attest/1).

        statements   of the accelerators of the session
        folder       where :meth:`create_recipient_key` put the recipient key, None when it is not in the TPM
        """
        with self._session() as tpm:
            parts = {"ak": tpm.attestation_key()}
            field = boot_field(nonce, recipient, statements).hex()
            tpm(
                "quote",
                "-c",
                AK_HANDLE,
                "-l",
                pcrs,
                "-q",
                field,
                "-m",
                "quote",
                "-s",
                "signature",
                "-f",
                "tss",
                "-o",
                "pcrs",
                "-g",
                "sha256",
            )
            parts |= {name: tpm.read(name) for name in ("quote", "signature", "pcrs")}
        if folder is not None:
            parts |= {name: (folder / name).read_bytes() for name in _FILES}
        if EVENT_LOG.is_file() and (log := EVENT_LOG.read_bytes()):
            parts["event-log"] = log
        return Evidence.of(NAME, label, parts)


class _Session:
    """Commands of one task: their files in a folder of its own, their transient objects flushed at the end."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder: Final = folder
        self._environment: Final = environment

    def __call__(self, command: str, *arguments: str) -> bytes:
        """Run ``tpm2_COMMAND``; what it prints. Raises the failure of ``node.tpm-tool``.

        What it left in the TPM is flushed: a TPM has room for three objects, and every command loads what it needs from its context file.
        """
        out, error = self._run(command, arguments)
        self._run("flushcontext", ("-t",))
        if out is None:
            raise TOOL.failure(where=f"tpm2_{command}", found=error, expected="exit code 0")
        return out

    def attempt(self, command: str, *arguments: str) -> bytes | None:
        """Like calling it, but None when the command fails."""
        return self._run(command, arguments)[0]

    def _run(self, command: str, arguments: tuple[str, ...]) -> tuple[bytes | None, str]:
        words = [f"tpm2_{command}", *arguments]
        try:
            done = subprocess.run(  # noqa: S603  a fixed program name, arguments of our own making, no shell
                words, cwd=self._folder, env=self._environment, capture_output=True, timeout=_SECONDS, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise TOOL.failure(where=words[0], found=type(error).__name__, expected="a command that answers") from None
        if done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
            return None, lines[0][:200]
        return done.stdout, ""

    def read(self, name: str) -> bytes:
        return (self._folder / name).read_bytes()

    def write(self, name: str, data: bytes) -> None:
        (self._folder / name).write_bytes(data)

    def flush(self) -> None:
        """Forget transient objects and sessions."""
        for kind in ("-t", "-l", "-s"):
            self._run("flushcontext", (kind,))

    def endorsement_key(self) -> None:
        self("createek", "-c", "ek.ctx", "-G", "rsa", "-u", "ek.pub")

    def attestation_key(self) -> bytes:
        self("readpublic", "-c", AK_HANDLE, "-f", "tss", "-o", "ak.pub")
        return self.read("ak.pub")

    def storage_key(self) -> None:
        self("createprimary", "-C", "o", "-G", "rsa2048", "-c", "storage.ctx")


class TpmRecipientKey:
    """The private half of a recipient key that lives in a TPM (:class:`attest.release.wrap.Opener`)."""

    def __init__(self, tpm: Tpm, folder: Path) -> None:
        self._tpm: Final = tpm
        self._folder: Final = folder
        self.recipient: Final = resident_recipient(folder)

    def __repr__(self) -> str:
        return f"<TpmRecipientKey {self.recipient.thumbprint}>"

    def open(self, sealed: bytes, *, info: bytes) -> bytes:
        """RSA-OAEP with the label for ``info``, inside the TPM. Raises the failure of ``wrap.open``."""
        return self._tpm.unwrap(self._folder, sealed, oaep_label(info))


def resident_recipient(folder: Path) -> Recipient:
    """The recipient in a folder of :meth:`Tpm.create_recipient_key`. Raises MalformedError."""
    public = parse_public((folder / "recipient").read_bytes(), "recipient")
    recipient = ResidentKey(public, parse_certification((folder / "certification").read_bytes()), None).recipient
    if recipient is None:
        raise TOOL.failure(where="recipient", found=public.words, expected="RSA 2048 or P-384")
    return recipient


def parse_selection(text: str) -> Selection:
    """ "sha256:0,2,7": one bank and its PCRs. Raises UsageError."""
    match = re.fullmatch(r"(sha256|sha384|sha512):((?:[0-9]{1,2},)*[0-9]{1,2})", text)
    pcrs = sorted({int(index) for index in match[2].split(",")}) if match else []
    if match is None or pcrs[-1] >= PCRS:
        raise UsageError.of("that is no selection of PCRs", found=repr(text), expected="a bank and PCRs 0 to 23, like sha256:0,2,4,7")
    return Selection(next(number for number, bank in BANKS.items() if bank.value == match[1]), tuple(pcrs))
