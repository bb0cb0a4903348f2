"""attest simulate: evidence of a node that does not exist, under roots that anybody can throw away."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from attest import limits
from attest.errors import UsageError
from attest.kinds.sev_snp.product import AmdProduct
from attest_cli.options import Json, challenge, moment, print_json
from attest_cli.terminal import Page, progress, say

if TYPE_CHECKING:
    from attest.recipient import Recipient
    from attest.simulator import SimulatedVendors
    from attest_cli import documents as doc

app: Final = typer.Typer(rich_markup_mode="rich", add_completion=False)

SessionTime = Annotated[
    str | None, typer.Option("--at", metavar="TIME", help="Time of the simulated session, like 2026-11-21T08:00:00Z. Default: now.")
]
Pki = Annotated[Path, typer.Option("--pki", metavar="DIR", help="Folder of the throw-away authorities; made when it is not there.")]
Product = Annotated[AmdProduct, typer.Option("--product", help="Processor of the guest, when the authorities are made.")]

RecipientFile = Annotated[
    Path | None,
    typer.Option(
        "--recipient", metavar="FILE", help="Public recipient key to bind. Default: the node's own, recipient.key in the --pki folder."
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="CLAIM=VALUE", help="Set a claim: gpu-3.mode=ppcie, or gpu-*.mode=ppcie for all. Repeatable."),
]

TRUST: Final = "trust.json"
RECIPIENT: Final = "recipient.key"


@app.callback()
def simulate() -> None:
    """Evidence in the vendors' formats under throw-away roots. It never verifies against real ones, and says SIMULATED everywhere."""


@app.command()
def node(
    pki: Pki,
    out: Annotated[Path, typer.Option("--out", metavar="BUNDLE", help="New folder for the bundle, or a file ending in .json.")],
    gpus: Annotated[int, typer.Option("--gpus", metavar="N", min=0, max=limits.MAX_DEVICES - 1, help="Number of GPUs.")] = 8,
    cpu: Annotated[bool, typer.Option("--cpu/--no-cpu", help="With or without the CPU report.")] = True,
    product: Product = AmdProduct.GENOA,
    nonce: Annotated[str | None, typer.Option("--nonce", metavar="HEX", help="Challenge to answer. Default: a random one.")] = None,
    recipient: RecipientFile = None,
    changes: Changes = None,
    defect: Annotated[str, typer.Option("--defect", metavar="NAME", help="Put in one defect: attest simulate defects.")] = "",
    device: Annotated[str, typer.Option("--device", metavar="LABEL", help="Device that has the defect. Default: the first that can.")] = "",
    at: SessionTime = None,
    json: Json = False,
) -> None:
    """Make the evidence of a node that answers a challenge: 8 Hopper GPUs and an SEV-SNP guest, unless you say otherwise.

    Examples:
      attest simulate node --pki lab/pki --out lab/sound
      attest simulate node --pki lab/pki --out lab/old-driver \\
        --set gpu-3.driver_version=535.00.01
      attest simulate node --pki lab/pki --out lab/twice \\
        --defect session-gpu-twice
    """
    from attest.simulator import SimulatedNode, simulate_session

    if out.exists():
        raise UsageError.of(f"{out} is there already", fix="a simulation never overwrites: name a new bundle")
    time, settings = moment(at), _settings(changes or [])
    issued = challenge(nonce) or secrets.token_bytes(limits.NONCE_BYTES)
    vendors = _vendors(pki, gpus=gpus, product=product, at=at)
    key, private = _recipient(pki, recipient)
    shape = SimulatedNode.of(gpus=gpus, product=vendors.amd.product)
    if not cpu:
        shape = SimulatedNode(shape.gpus, None)
    with progress("simulating a node"):
        bundle = simulate_session(vendors, shape.with_claims(settings), nonce=issued, recipient=key, at=time, defect=defect, device=device)
    out.parent.mkdir(parents=True, exist_ok=True)
    bundle.save(out)
    _print(
        {
            "schema": "attest-simulate/1",
            "simulated": True,
            "pki": str(pki),
            "trust": str(pki / TRUST),
            "bundle": str(out),
            "digest": bundle.digest,
            "nonce": bundle.nonce.hex() if bundle.nonce else "",
            "recipient": private,
            "defect": defect,
            "changes": settings,
            "devices": [{"subject": item.label, "kind": item.kind} for item in bundle.evidence],
        },
        json=json,
    )
    say(f"next: attest verify {out} --trust {pki / TRUST}")


@app.command()
def trust(pki: Pki, product: Product = AmdProduct.GENOA, at: SessionTime = None, json: Json = False) -> None:
    """Make the throw-away authorities, and the trust store that they verify under.

    Examples:
      attest simulate trust --pki lab/pki
      attest simulate trust --pki lab/milan --product milan
    """
    vendors = _vendors(pki, gpus=8, product=product, at=at)
    _print(
        {
            "schema": "attest-simulate/1",
            "simulated": True,
            "pki": str(pki),
            "trust": str(pki / TRUST),
            "bundle": "",
            "digest": vendors.trust().digest,
            "nonce": "",
            "recipient": "",
            "defect": "",
            "changes": {},
            "devices": [],
        },
        json=json,
    )


@app.command()
def defects(json: Json = False) -> None:
    """List every defect that a simulated node can have, and the check that must refuse it.

    Examples:
      attest simulate defects
      attest simulate defects --json
    """
    from attest.simulator import defects as known

    document: doc.DefectsDoc = {
        "schema": "attest-defects/1",
        "defects": [{"name": name, "check": code} for name, code in known().items()],
    }
    if json:
        print_json(document)
        return
    out = Page()
    width = max(len(item["name"]) for item in document["defects"])
    for item in document["defects"]:
        out.line(f"  {item['name']:<{width}}  {item['check']}")
    out.line(f"{len(document['defects'])} defects")


def _settings(changes: list[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for change in changes:
        place, equals, value = change.partition("=")
        if not equals or "." not in place:
            raise UsageError.of(
                "--set is not CLAIM=VALUE", found=change, expected="DEVICE.CLAIM=VALUE", fix="write it like gpu-3.mode=ppcie"
            )
        if place in found:
            raise UsageError.of("--set names a claim twice", found=place)
        found[place] = value
    return found


def _vendors(pki: Path, *, gpus: int, product: AmdProduct, at: str | None) -> SimulatedVendors:
    """The authorities in a folder, made when there are none. Writes trust.json beside them."""
    from attest.simulator import SimulatedVendors

    if pki.is_dir() and any(path.name != RECIPIENT for path in pki.iterdir()):
        vendors = SimulatedVendors.load(pki)
        if vendors.nvidia.gpus < gpus:
            raise UsageError.of(
                f"the authorities in {pki} are for {vendors.nvidia.gpus} GPUs", found=str(gpus), fix="make others: name a new --pki folder"
            )
        return vendors
    say(f"making throw-away authorities in {pki}; this takes some seconds")
    with progress("making RSA-4096 keys"):
        vendors = SimulatedVendors.create(at=moment(at), gpus=max(8, gpus), product=product)
    vendors.save(pki)
    (pki / TRUST).write_bytes(vendors.trust().to_json())
    return vendors


def _recipient(pki: Path, file: Path | None) -> tuple[Recipient, str]:
    """The recipient to bind: what was given, or the simulated node's own key, made when it is not there."""
    from attest.recipient import Kem
    from attest.release.recipient_key import RecipientPrivateKey
    from attest_cli.recipient import public_recipient

    if file is not None:
        return public_recipient(file), ""
    path = pki / RECIPIENT
    if path.is_file():
        return RecipientPrivateKey.load(path).recipient, str(path)
    private = RecipientPrivateKey.generate(Kem.X25519)
    private.save(path)
    return private.recipient, str(path)


def _print(document: doc.SimulateDoc, *, json: bool) -> None:
    if json:
        print_json(document)
        return
    from attest_cli.text import SIMULATED

    out = Page()
    out.line((SIMULATED, "bold black on yellow"))
    devices = [device["subject"] for device in document["devices"]]
    for label, text in (
        ("bundle", document["bundle"]),
        ("digest", document["digest"]),
        ("devices", ", ".join(devices)),
        ("nonce", document["nonce"]),
        ("recipient", document["recipient"]),
        ("trust store", document["trust"]),
        ("defect", document["defect"]),
        ("set", ", ".join(f"{place}={value}" for place, value in document["changes"].items())),
    ):
        if text:
            out.line(f"  {label:<12} {text}")
