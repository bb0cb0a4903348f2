"""Which certificates to judge a report with: those that came with it, else those of the collateral. None of them is believed here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from cryptography import x509

from attest import limits
from attest.checks import Check
from attest.crypto import spki_sha256
from attest.errors import Outcome
from attest.evidence import Collateral, CollateralType, Evidence
from attest.kinds.sev_snp import kds
from attest.kinds.sev_snp.certificates import Endorsement, read
from attest.kinds.sev_snp.product import ProductLine, line_of_model
from attest.kinds.sev_snp.report import AmdSigningKey, SnpReport, where
from attest.pki import Anchor, load_amd_leaf, load_certificate
from attest.pki.certificate import common_name
from attest.pki.chain import is_signed_by
from attest.wire import pem_blocks

_SOURCE: Final = "AMD 57230 (Versioned Chip Endorsement Key Certificate and KDS Interface)"

LEAF: Final = Check(
    "sev-snp.leaf",
    "endorsement certificate at hand",
    _SOURCE,
    Outcome.CANNOT_DECIDE,
    "send the VCEK or VLEK with the report, as part 'certificates'; a VLEK comes from the cloud provider only",
)
FORM: Final = Check(
    "sev-snp.certificates",
    "form of the certificates part",
    _SOURCE,
    Outcome.MALFORMED,
    "send the VCEK or VLEK first, then ASK or ASVK, then ARK, each at most once and nothing else",
)
ISSUERS: Final = Check(
    "sev-snp.issuers",
    "issuer certificates at hand",
    _SOURCE,
    Outcome.CANNOT_DECIDE,
    "put ASK or ASVK, and ARK, into the bundle: attest collateral fetch",
)

_PEM: Final = "CERTIFICATE"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A certificate that may be used: its common name, and the collateral item that has it (empty: the evidence itself)."""

    name: str
    certificate: x509.Certificate
    item: str = ""


@dataclass(frozen=True, slots=True)
class Material:
    """The endorsement of a report, and what could have issued it.

    source      where the endorsement is from, for people
    items       digest of the collateral item that it is from, if it is from there
    sent        intermediate and root that came with it, if any
    collateral  certificates of the collateral
    """

    endorsement: Endorsement
    source: str
    items: tuple[str, ...]
    sent: tuple[Candidate, ...]
    collateral: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Issuers:
    """Intermediate and root to try, and the digests of the collateral items that they came from."""

    intermediate: x509.Certificate
    root: x509.Certificate
    items: tuple[str, ...]


def gather(evidence: Evidence, report: SnpReport, collateral: Collateral) -> Material:
    """Read the certificates. What came with the report is what counts; the collateral fills in what did not.

    Raises MalformedError for what cannot be read, CannotDecideError when there is no endorsement certificate.
    """
    stored = tuple(_stored(collateral))
    if "certificates" in evidence.parts:
        endorsement, sent = _sent(evidence.part("certificates"))
        return Material(endorsement, "the evidence", (), sent, stored)
    for candidate in stored:
        if candidate.name in _LEAVES:
            endorsement = read(candidate.certificate)
            if _fits(endorsement, report):
                return Material(endorsement, "the collateral", (candidate.item,), (), stored)
    raise LEAF.failure(
        where=where("chip_id"),
        found=f"no {report.signing_key.value.upper()}",
        expected="the certificate of the signing key",
        fix=_hint(report),
    )


def issuers(material: Material, line: ProductLine, anchors: Sequence[Anchor]) -> Issuers:
    """Intermediate and root for the endorsement. Raises CannotDecideError when one is missing.

    Where the collateral has several of a name, the root with a pinned key is taken, and the intermediate that this root issued: an
    unrelated certificate of the same name must not get in the way.
    """
    kind = material.endorsement.kind
    pins = {anchor.spki_sha256 for anchor in anchors}
    sent_intermediate = next((item for item in material.sent if not item.name.startswith("ARK-")), None)
    sent_root = next((item for item in material.sent if item.name.startswith("ARK-")), None)
    roots = [item for item in material.collateral if item.name == f"ARK-{line.name}"]
    root = sent_root or next((item for item in roots if _spki(item.certificate) in pins), roots[0] if roots else None)
    if root is None:
        raise _missing(f"ARK-{line.name}", line, kind)
    wanted = f"SEV-{line.name}" if kind is AmdSigningKey.VCEK else f"SEV-VLEK-{line.name}"
    middles = [item for item in material.collateral if item.name == wanted]
    first = middles[0] if middles else None
    if len(middles) > 1:
        first = next((item for item in middles if is_signed_by(item.certificate, root.certificate)), first)
    intermediate = sent_intermediate or first
    if intermediate is None:
        raise _missing(wanted, line, kind)
    return Issuers(intermediate.certificate, root.certificate, tuple(item for item in (intermediate.item, root.item) if item))


_LEAVES: Final = ("SEV-VCEK", "SEV-VLEK")


def _missing(name: str, line: ProductLine, kind: AmdSigningKey) -> Exception:
    return ISSUERS.failure(
        found=f"no {name}", expected=name, fix=f"put {kds.url(kds.chain_path(line, kind))} into the bundle: attest collateral fetch"
    )


def _fits(endorsement: Endorsement, report: SnpReport) -> bool:
    """Whether this certificate is the one for the report's key, chip and TCB. Picks among several; verification then checks it."""
    if endorsement.kind is not report.signing_key or endorsement.layout.encode(endorsement.tcb) != report.reported_tcb:
        return False
    return endorsement.kind is AmdSigningKey.VLEK or not any(report.chip_id) or report.chip_id.startswith(endorsement.hwid)


def _hint(report: SnpReport) -> str:
    line = line_of_model(report.family, report.model)
    if report.signing_key is AmdSigningKey.VLEK or line is None or not any(report.chip_id):
        return LEAF.fix
    url = kds.url(kds.vcek_path(line, report.chip_id, line.layout.decode(report.reported_tcb, where("reported_tcb"))))
    return f"get it from {url} and send it with the report"


def _stored(collateral: Collateral) -> Iterator[Candidate]:
    for item in collateral.of_type(CollateralType.CERTIFICATES):
        digest = item.digest
        for name, certificate in _certificates(item.data):
            yield Candidate(name, certificate, digest)


# A node sends the same certificates with every report, and all bundles have the same few issuers. Only parsing is remembered, by the
# exact bytes.
@lru_cache(maxsize=256)
def _sent(pem: bytes) -> tuple[Endorsement, tuple[Candidate, ...]]:
    """The endorsement and the issuers of a certificates part."""
    first, *rest = pem_blocks(pem, _PEM, "certificates", most=3)
    endorsement = read(load_amd_leaf(first))
    issuing = [load_certificate(der, "issuer certificate") for der in rest]
    sent = tuple(Candidate(common_name(certificate.subject), certificate) for certificate in issuing)
    FORM.require(
        [candidate.name.startswith("ARK-") for candidate in sent] in ([], [False], [True], [False, True]),
        where="certificates",
        found=", then ".join(candidate.name or "a certificate without name" for candidate in sent),
        expected="ASK or ASVK, then ARK, behind the leaf",
    )
    return endorsement, sent


@lru_cache(maxsize=32)
def _certificates(pem: bytes) -> tuple[tuple[str, x509.Certificate], ...]:
    found: list[tuple[str, x509.Certificate]] = []
    for der in pem_blocks(pem, _PEM, "collateral certificates", most=limits.MAX_CHAIN_LENGTH):
        leaf = load_amd_leaf(der)
        name = common_name(leaf.subject)
        # Only an AMD leaf may have serial number 0.
        found.append((name, leaf if name in _LEAVES else load_certificate(der, f"collateral certificate {name}")))
    return tuple(found)


@lru_cache(maxsize=32)
def _spki(certificate: x509.Certificate) -> str:
    return spki_sha256(certificate.public_key())
