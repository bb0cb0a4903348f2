"""What an audit found: links, each proved, broken or not checked, and the risks that no evidence can show."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from attest.checks import Check
from attest.errors import EXIT_CODES, Outcome, Reason, worst


class LinkStatus(StrEnum):
    """What became of a link."""

    PROVED = "proved"
    BROKEN = "broken"
    NOT_CHECKED = "not-checked"


@dataclass(frozen=True, slots=True)
class AuditLink:
    """One link of the chain.

    ``rests_on`` is what has to be believed for it ("the pinned roots of your trust store", "SHA-256"), ``detail`` what was found.
    ``reason`` is set exactly when it is not proved.
    """

    check: Check
    status: LinkStatus
    rests_on: str
    detail: str = ""
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Risk:
    """What no evidence can show, and the reader has to judge. ``id`` is stable."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """The audit of one record: every link of ``LINKS``, in order.

    record        hex SHA-256 of the ledger entry
    jti           id of the token; ``key`` name and version; ``recipient`` thumbprint; ``broker``; ``released_at`` as the broker states it
    simulated     whether the trust store stands for a simulation
    """

    record: str
    jti: str
    key: str
    version: int
    recipient: str
    broker: str
    released_at: datetime
    simulated: bool
    links: tuple[AuditLink, ...]
    risks: tuple[Risk, ...]

    @property
    def proved(self) -> bool:
        """Whether every link is proved."""
        return bool(self.links) and all(link.status is LinkStatus.PROVED for link in self.links)

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why not; empty exactly when proved."""
        return tuple(link.reason for link in self.links if link.reason is not None)

    @property
    def outcome(self) -> Outcome | None:
        """The worst of the reasons, None when proved."""
        return worst([reason.outcome for reason in self.reasons]) if self.reasons else None

    @property
    def exit_code(self) -> int:
        """Process exit status: 0 only when proved."""
        return 0 if self.proved and self.outcome is None else EXIT_CODES[self.outcome or Outcome.CANNOT_DECIDE]
