"""What an authentic and fresh revocation answer says: good. Every other answer is an error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class RevocationAnswer:
    """A "good" answer for the certificates that were asked about.

    this_update  from when the answer speaks (aware UTC)
    next_update  until when it may be relied on, exclusive (aware UTC)
    digest       hex SHA-256 of the DER bytes of the answer
    responder    common name of the certificate whose key signed it
    """

    this_update: datetime
    next_update: datetime
    digest: str
    responder: str
