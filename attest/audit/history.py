"""The audit of a whole ledger, or of one key's history: the log itself, every entry with its record, and every record with its entry."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from attest import limits
from attest.audit.checks import ENTRY_KNOWN, ENTRY_THERE, FORWARD, ONCE, RECORD_THERE
from attest.audit.record import audit_parsed
from attest.audit.report import AuditReport
from attest.crypto import sha256
from attest.errors import EXIT_CODES, AttestError, MalformedError, Outcome, Reason, worst
from attest.jose import IssuerKey
from attest.ledger.checkpoint import VerifiedCheckpoint
from attest.ledger.files import read_file
from attest.ledger.fsck import fsck
from attest.ledger.proof import Receipt
from attest.ledger.tiles import TileTree
from attest.release.archive import Archive
from attest.release.record import ENTRY_FORMAT
from attest.trust import TrustStore
from attest.wire import Fields, format_time


@dataclass(frozen=True, slots=True)
class LoggedRelease:
    """An entry of the ledger that is a release; ``report`` is None when its record is missing or is no record."""

    index: int
    digest: str
    jti: str
    nonce: str
    key: str
    released_at: datetime
    report: AuditReport | None


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """A ledger whose every hash and signature was checked, and what its entries and their records showed.

    ``findings`` are about the ledger as a whole; each release has its own report.
    """

    checkpoint: VerifiedCheckpoint
    releases: tuple[LoggedRelease, ...]
    findings: tuple[Reason, ...]

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Everything that is not as it should be; empty exactly when all is proved."""
        links = (_of_entry(item.index, reason) for item in self.releases if item.report for reason in item.report.reasons)
        return (*self.findings, *links)

    @property
    def proved(self) -> bool:
        """Whether the ledger and every release in it are proved."""
        return not self.reasons and all(item.report is not None and item.report.proved for item in self.releases)

    @property
    def exit_code(self) -> int:
        """Process exit status: 0 only when proved."""
        return 0 if self.proved else EXIT_CODES[worst([reason.outcome for reason in self.reasons] or [Outcome.CANNOT_DECIDE])]


def _of_entry(index: int, reason: Reason) -> Reason:
    return replace(reason, subject=f"entry {index}, {reason.subject}" if reason.subject else f"entry {index}")


def audit_ledger(public: Path, records: Path, *, trust: TrustStore, vkey: str, issuer_key: IssuerKey | None) -> LedgerReport:
    """Audit every release of a ledger.

    public       folder with ``checkpoint`` and ``tile``
    records      folder of the broker's records
    trust        roots of the hardware vendors
    vkey         verifier key of the ledger
    issuer_key   key of the token's issuer, None leaves that link not checked

    Raises an AttestError with the findings of :func:`attest.ledger.fsck.fsck` when the log itself is damaged.
    """
    return _Audit(public, records, trust, vkey, issuer_key).run(None)


def audit_key(public: Path, records: Path, key: str, *, trust: TrustStore, vkey: str, issuer_key: IssuerKey | None) -> LedgerReport:
    """The history of one key: as :func:`audit_ledger`, but only releases of ``key`` are replayed and listed."""
    return _Audit(public, records, trust, vkey, issuer_key).run(key)


class _Audit:
    """One pass over a ledger. Collects what is not as it should be."""

    def __init__(self, public: Path, records: Path, trust: TrustStore, vkey: str, issuer_key: IssuerKey | None) -> None:
        self._public = public
        self._archive = Archive(records)
        self._trust = trust
        self._vkey = vkey
        self._issuer_key = issuer_key
        self._findings: list[Reason] = []
        self._checkpoint = fsck(public, vkey=vkey).checkpoint
        self._tree = TileTree(self._read, self._checkpoint.size)

    def _read(self, path: str, limit: int) -> bytes | None:
        return read_file(self._public / path, limit)

    def run(self, key: str | None) -> LedgerReport:
        everything = [item for index in range(self._checkpoint.size) if (item := self._logged(index)) is not None]
        self._once(everything)
        self._forward(everything)
        releases = tuple(self._replayed(item) for item in everything if key is None or item.key == key)
        if key is None:
            self._unlogged({item.digest for item in everything})
        return LedgerReport(self._checkpoint, releases, tuple(self._findings))

    def _logged(self, index: int) -> LoggedRelease | None:
        """The entry as it stands in the ledger, without its record."""
        data = self._tree.entry(index)
        try:
            fields = Fields.parse(data, f"entry {index}", limit=limits.MAX_ENTRY_BYTES)
            ENTRY_KNOWN.require(fields.text("format") == ENTRY_FORMAT, found=fields.text("format")[:64], expected=ENTRY_FORMAT)
            return LoggedRelease(
                index,
                sha256(data).hex(),
                fields.text("jti"),
                fields.text("nonce"),
                fields.object("key").text("name"),
                fields.object("times").time("released"),
                None,
            )
        except AttestError as error:
            self._findings.append(ENTRY_KNOWN.reason(subject=f"entry {index}", found=str(error.reasons[0]), expected=ENTRY_FORMAT))
            return None

    def _replayed(self, item: LoggedRelease) -> LoggedRelease:
        try:
            record = self._archive.get(item.digest)
            receipt = Receipt(item.index, tuple(self._tree.inclusion(item.index)), self._checkpoint.note)
            report = audit_parsed(record.with_receipt(receipt), trust=self._trust, ledger_vkey=self._vkey, issuer_key=self._issuer_key)
        except AttestError as error:
            outcome = Outcome.MALFORMED if isinstance(error, MalformedError) else RECORD_THERE.outcome
            self._findings.append(
                Reason(
                    RECORD_THERE.id,
                    outcome,
                    f"check failed: {RECORD_THERE.title}",
                    subject=f"entry {item.index}",
                    found=str(error.reasons[0]),
                    expected=f"the record {item.digest}",
                    fix=RECORD_THERE.fix,
                )
            )
            return item
        return LoggedRelease(item.index, item.digest, item.jti, item.nonce, item.key, item.released_at, report)

    def _once(self, everything: list[LoggedRelease]) -> None:
        for name in ("jti", "nonce", "digest"):
            seen: dict[str, int] = {}
            for item in everything:
                value = str(getattr(item, name))
                if value in seen:
                    self._findings.append(
                        ONCE.reason(
                            subject=f"entry {item.index}", found=f"the {name} of entry {seen[value]}", expected=f"a {name} of its own"
                        )
                    )
                seen.setdefault(value, item.index)

    def _forward(self, everything: list[LoggedRelease]) -> None:
        latest: datetime | None = None
        for item in everything:
            # Releases of several processes are logged in the order in which they finish.
            if latest is not None and latest - item.released_at > limits.MAX_CLOCK_SKEW:
                self._findings.append(
                    FORWARD.reason(
                        subject=f"entry {item.index}", found=format_time(item.released_at), expected=f"not before {format_time(latest)}"
                    )
                )
            latest = item.released_at if latest is None else max(latest, item.released_at)

    def _unlogged(self, logged: set[str]) -> None:
        for digest in self._archive.digests():
            if digest not in logged:
                self._findings.append(
                    ENTRY_THERE.reason(subject=f"record {digest[:16]}", found="no entry", expected="an entry for every record")
                )
