"""A software TPM: swtpm with endorsement certificates of a throw-away authority, on a socket in a folder. No root, no /dev/tpm.

Debian packages: swtpm, swtpm-tools, tpm2-tools.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NEEDED = ("swtpm", "swtpm_setup", "swtpm_localca", "tpm2_quote")


def missing() -> str:
    """Which program is not here; empty when all are."""
    return next((name for name in NEEDED if shutil.which(name) is None), "")


@dataclass(frozen=True)
class SoftwareTpm:
    """A running TPM: how tpm2-tools reach it, and its maker's certificates (PEM, issuer first, root last)."""

    tcti: str
    authorities: bytes

    def tool(self, *words: str) -> bytes:
        environment = dict(os.environ, TPM2TOOLS_TCTI=self.tcti)
        return subprocess.run(words, env=environment, capture_output=True, check=True, timeout=60).stdout

    def extend(self, pcr: int, digests: dict[str, bytes]) -> None:
        """``extend(4, {"sha256": …})``."""
        self.tool("tpm2_pcrextend", f"{pcr}:" + ",".join(f"{bank}={digest.hex()}" for bank, digest in digests.items()))


@contextmanager
def software_tpm(folder: Path) -> Iterator[SoftwareTpm]:
    """Make and start one in ``folder``, whose path must be short (a socket's has at most 107 bytes); stop it at the end."""
    for name in ("state", "ca"):
        (folder / name).mkdir()
    authority = folder / "ca"
    (folder / "localca.conf").write_text(
        f"statedir={authority}\nsigningkey={authority}/signkey.pem\nissuercert={authority}/issuercert.pem\ncertserial={authority}/certserial\n"
    )
    (folder / "localca.options").write_text("--platform-manufacturer attest\n--platform-version 1\n--platform-model swtpm\n")
    (folder / "setup.conf").write_text(
        f"create_certs_tool={shutil.which('swtpm_localca')}\ncreate_certs_tool_config={folder}/localca.conf\n"
        f"create_certs_tool_options={folder}/localca.options\nactive_pcr_banks=sha256,sha384\n"
    )
    setup = ["swtpm_setup", "--tpm2", "--tpmstate", str(folder / "state"), "--config", str(folder / "setup.conf")]
    setup += ["--create-ek-cert", "--create-platform-cert", "--lock-nvram", "--pcr-banks", "sha256,sha384", "--overwrite"]
    subprocess.run(setup, check=True, capture_output=True, timeout=120)
    socket = folder / "socket"
    server = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder}/state", "--server", f"type=unixio,path={socket}"]
    server += ["--ctrl", f"type=unixio,path={socket}.ctrl", "--flags", "not-need-init,startup-clear"]
    with subprocess.Popen(server, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            until = time.monotonic() + 20
            while not (socket.exists() and Path(f"{socket}.ctrl").exists()):
                if process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("swtpm did not start")
                time.sleep(0.02)
            certificates = [(authority / name).read_bytes() for name in ("issuercert.pem", "swtpm-localca-rootca-cert.pem")]
            yield SoftwareTpm(f"swtpm:path={socket}", b"".join(certificates))
        finally:
            process.terminate()
