"""attest tpm: enrol a machine's TPM, make a key in it, and quote it. Needs tpm2-tools on the machine."""

from __future__ import annotations

import base64
import json as json_
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest.errors import UsageError
from attest_cli.options import challenge as nonce_of
from attest_cli.options import content, now, trust_store
from attest_cli.terminal import Page, progress, say

if TYPE_CHECKING:
    from attest.node.tpm import Endorsement
    from attest.wire import Json

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

FORMAT: Final = "attest-tpm-endorsement/1"
BOOT_PCRS: Final = "sha256:0,2,4,7,9,12"
QUOTED_PCRS: Final = "sha256:0,1,2,3,4,5,6,7,8,9,10,11,12,13,14"
_SECRET_LIMIT: Final = 64

Tcti = Annotated[
    str, typer.Option("--tcti", envvar="TPM2TOOLS_TCTI", metavar="TCTI", help="How tpm2-tools reach the TPM. Default: the system's.")
]
Request = Annotated[Path, typer.Argument(metavar="REQUEST", help="What 'attest tpm prepare' wrote on the machine.")]


@app.callback()
def tpm() -> None:
    """Enrol a TPM, make a key that never leaves it, and collect its evidence.

    Four steps enrol a TPM: prepare (machine), challenge (operator), activate (machine), enrol (operator). Then the machine makes its
    recipient key once, and quotes for every session.
    """


@app.command()
def prepare(
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the public keys and the endorsement certificate.")],
    algorithm: Annotated[str, typer.Option("--algorithm", help="Attestation key: rsa (RSASSA 2048) or ecc (ECDSA P-256).")] = "rsa",
    tcti: Tcti = "",
) -> None:
    """On the machine: make the attestation key, and write what enrolment needs.

    Examples:
      attest tpm prepare --out lab/tpm.json
    """
    from attest.node.tpm import Tpm

    if algorithm not in ("rsa", "ecc"):
        raise UsageError.of("there is no such kind of attestation key", found=algorithm, expected="rsa or ecc")
    device = Tpm(tcti)
    with progress("making the attestation key"):
        device.create_attestation_key(algorithm)
        sent = device.endorsement()
    texts = {name: base64.b64encode(data).decode() for name, data in zip(_MEMBERS, _values(sent), strict=True)}
    _new(out).write_text(json_.dumps({"format": FORMAT} | texts, indent=2) + "\n")
    certificate = "with" if sent.ek_certificate else "WITHOUT"
    Page().line((f"{out}", "bold"), f"  keys of this TPM, {certificate} endorsement certificate")
    say("next, where the trust store is kept: attest tpm challenge FILE")


@app.command()
def challenge(
    request: Request,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the credential; it goes to the machine.")],
    secret: Annotated[Path, typer.Option("--secret", metavar="FILE", help="New file for the secret in it; it stays here.")],
) -> None:
    """At the operator: seal a secret that only this TPM, holding this very attestation key, can open.

    Examples:
      attest tpm challenge lab/tpm.json --out lab/tpm-cred \\
        --secret lab/tpm-secret
    """
    from attest.keyfile import create_secret
    from attest.node.enrolment import challenge as challenge_for

    made = challenge_for(_read(request))
    create_secret(secret, made.secret)
    _new(out).write_bytes(made.credential)
    Page().line((f"{out}", "bold"), "  to the machine; the secret stays here")
    say("next, on the machine: attest tpm activate FILE")


@app.command()
def activate(
    credential: Annotated[Path, typer.Argument(metavar="CREDENTIAL", help="What 'attest tpm challenge' wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the answer.")],
    tcti: Tcti = "",
) -> None:
    """On the machine: open the credential inside the TPM.

    Examples:
      attest tpm activate lab/tpm-cred --out lab/tpm-answer
    """
    from attest.node.tpm import Tpm

    answer = Tpm(tcti).activate(content(credential, "credential", limit=4096))
    _new(out).write_bytes(answer)
    Page().line((f"{out}", "bold"), "  to the operator")
    say("next, where the trust store is kept: attest tpm enrol REQUEST ANSWER")


@app.command()
def enrol(
    request: Request,
    answer: Annotated[Path, typer.Argument(metavar="ANSWER", help="What 'attest tpm activate' wrote.")],
    secret: Annotated[Path, typer.Option("--secret", metavar="FILE", help="The secret of the challenge.")],
    label: Annotated[str, typer.Option("--label", metavar="NAME", help="What you call the machine.")],
    trust: Annotated[
        Path, typer.Option("--trust", metavar="FILE", help="Trust store to add to; made from the vendors' roots when missing.")
    ],
    authorities: Annotated[
        Path | None,
        typer.Option("--ca", metavar="FILE", help="Certificates of the TPM's maker, PEM: issuer first, root last. The root is trusted."),
    ] = None,
    software: Annotated[
        bool, typer.Option("--software", help="A software TPM: its evidence counts as simulated. For a new trust store.")
    ] = False,
) -> None:
    """At the operator: put the attestation key into the trust store, when the answer is the secret.

    Without --ca you vouch yourself for the machine that you enrol: nothing else shows that a TPM, and not a program, answered.

    Examples:
      attest tpm enrol lab/tpm.json lab/tpm-answer --secret lab/tpm-secret \\
        --label node-1 --ca lab/tpm-ca.pem --software --trust lab/tpms.json
    """
    from attest import limits
    from attest.crypto import spki_sha256
    from attest.keyfile import read_secret
    from attest.node.enrolment import enrol as enrolled
    from attest.node.enrolment import verify_endorsement
    from attest.pki import Anchor, load_certificates
    from attest.trust import Origin, TrustStore

    sent = _read(request)
    certificate = ""
    if authorities is not None:
        chain = load_certificates(content(authorities, "certificates"), authorities.name, most=limits.MAX_CHAIN_LENGTH)
        anchor = Anchor(authorities.name, spki_sha256(chain[-1].public_key()))
        certificate = verify_endorsement(sent, chain, [anchor], at=now())
    known = bytes(read_secret(secret, limit=_SECRET_LIMIT))
    made = enrolled(sent, known, content(answer, "answer", limit=_SECRET_LIMIT), label=label, ek_certificate=certificate)
    if trust.exists():
        store = trust_store(trust)
        if software and not store.simulated:
            raise UsageError.of(
                "a software TPM does not belong beside the vendors' roots", found=str(trust), fix="name another --trust file"
            )
    else:
        store = TrustStore.of("software TPMs", Origin.SIMULATED, ()) if software else trust_store(None)
    store = store.with_enrolment(made)
    trust.write_bytes(store.to_json())
    Page().line((f"{label}", "bold"), f"  {made.ak_name}  enrolled in {trust}, {len(store.enrolments)} in all")
    if not certificate:
        say("nothing but your own word says that this key is in a TPM: no endorsement certificate was verified")


@app.command()
def recipient(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the key's files. Only this TPM can use them.")],
    pcrs: Annotated[
        str, typer.Option("--pcrs", metavar="SELECTION", help="The TPM uses the key only while these PCRs keep their present values.")
    ] = BOOT_PCRS,
    tcti: Tcti = "",
) -> None:
    """On the machine: make a recipient key inside the TPM, certified by the attestation key.

    Examples:
      attest tpm recipient --out lab/tpm-key
    """
    from attest.node.tpm import Tpm

    if out.exists():
        raise UsageError.of(f"{out} is there already", fix="name a new folder: keys are never overwritten")
    with progress("making the recipient key"):
        made = Tpm(tcti).create_recipient_key(out, pcrs=pcrs)
    Page().line((f"{made.kem.value} {made.thumbprint}", "bold"), f"  in this TPM, bound to {pcrs}")


@app.command()
def quote(
    nonce: Annotated[str, typer.Option("--nonce", metavar="HEX", help="The broker's challenge: attest challenge KEY.")],
    key: Annotated[Path, typer.Option("--recipient", metavar="DIR", help="What 'attest tpm recipient' wrote.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="New folder for the bundle.")],
    pcrs: Annotated[
        str, typer.Option("--pcrs", metavar="SELECTION", help="What to quote; the recipient key's PCRs among them.")
    ] = QUOTED_PCRS,
    tcti: Tcti = "",
) -> None:
    """On the machine: evidence for one session, with the event log and the certified recipient key.

    Examples:
      attest tpm quote --recipient lab/tpm-key --out lab/tpm-node \\
        --nonce $(attest challenge demo --broker lab/broker)
    """
    from attest.binding import Binding
    from attest.bundle import Bundle, BundleOrigin
    from attest.evidence import Collateral
    from attest.node.tpm import Tpm, parse_selection, resident_recipient

    challenged = nonce_of(nonce)
    if challenged is None or out.exists():
        raise UsageError.of(f"{out} is there already", fix="name a new folder: evidence is never overwritten")
    parse_selection(pcrs)
    who = resident_recipient(key)
    with progress("quoting"):
        evidence = Tpm(tcti).quote(challenged, who, [], pcrs=pcrs, folder=key)
    bundle = Bundle.of(
        nonce=challenged,
        recipient=who,
        binding=Binding.ATTEST_1,
        evidence=(evidence,),
        collateral=Collateral(),
        recorded_at=now(),
        origin=BundleOrigin.RECORDED,
    )
    bundle.save(out)
    Page().line((f"{out}", "bold"), f"  {', '.join(evidence.parts)}")


_MEMBERS: Final = ("ak", "ek", "ek_certificate")


def _values(sent: Endorsement) -> tuple[bytes, bytes, bytes]:
    return sent.ak, sent.ek, sent.ek_certificate


def _read(request: Path) -> Endorsement:
    """The request file. Raises UsageError or MalformedError."""
    from attest.node.tpm import Endorsement
    from attest.wire import Fields

    fields = Fields.parse(content(request, "request", limit=64 << 10), request.name)
    form: Json = fields.text("format")
    if form != FORMAT:
        raise UsageError.of(f"{request} is not an enrolment request", found=str(form), expected=FORMAT)
    sent = Endorsement(*(fields.base64(name) for name in _MEMBERS))
    fields.done()
    return sent


def _new(path: Path) -> Path:
    if path.exists():
        raise UsageError.of(f"{path} is there already", fix="name a new file: nothing is overwritten")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
