"""One bounded HTTP client: https to hosts that a kind names, no redirects, limits on size, time and number of tries."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import requests
from urllib3.exceptions import HTTPError

from attest import limits
from attest.checks import Check
from attest.errors import Outcome
from attest.evidence import Wanted
from attest.version import software_version

UNREACHABLE: Final = Check(
    "collateral.unreachable",
    "collateral service within reach",
    "docs/collateral.md",
    Outcome.CANNOT_DECIDE,
    "try again later; what was fetched so far is kept",
)
ABSENT: Final = Check(
    "collateral.absent",
    "collateral published by its vendor",
    "docs/collateral.md",
    Outcome.CANNOT_DECIDE,
    "the vendor does not publish this piece: ask the vendor, or use a version that it publishes",
)
REFUSED: Final = Check(
    "collateral.answer", "answer of the collateral service", "docs/collateral.md", Outcome.CANNOT_DECIDE, "report it to the publisher"
)

COLLATERAL_CHECKS: Final = (UNREACHABLE, ABSENT, REFUSED)

_TRY_AGAIN: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Client:
    """Where and how patiently to fetch.

    mirrors    host to base address instead of https://host: for mirrors inside an air gap, and for tests
    tries      attempts per piece; the pause doubles after each
    pause      seconds before the second attempt (AMD's service throttles to about one request in ten seconds)
    timeout    seconds for connecting, and for every wait for bytes
    total      seconds for one piece, all attempts together
    """

    mirrors: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    tries: int = 4
    pause: float = 2.0
    timeout: float = 5.0
    total: float = 40.0

    def get(self, wanted: Wanted) -> bytes:
        """The body of the answer. Raises as :meth:`fetch` does."""
        return self.fetch(wanted)[0]

    def fetch(self, wanted: Wanted) -> tuple[bytes, str]:
        """The body of the answer, bounded, and the header that ``wanted`` names, empty without one.

        Raises CannotDecideError: unreachable, absent (404), or an answer that is none.
        """
        base = self.mirrors.get(wanted.host, f"https://{wanted.host}")
        until = time.monotonic() + self.total
        last = ""
        for attempt in range(self.tries):
            wait = self.pause * 2 ** (attempt - 1) if attempt else 0.0
            if attempt and time.monotonic() + wait > until:
                break
            time.sleep(wait)
            try:
                return self._once(base + wanted.path, wanted, until)
            except requests.RequestException as error:
                last = type(error).__name__
                status = error.response.status_code if error.response is not None else None
                if status == 404:
                    raise ABSENT.failure(where=base + wanted.path, found="not found", expected=wanted.name) from None
                if status is not None:
                    last = f"HTTP {status}"
                    if status not in _TRY_AGAIN:
                        break
        raise UNREACHABLE.failure(where=base + wanted.path, found=last or "no time left", expected=wanted.name)

    def _once(self, url: str, wanted: Wanted, until: float) -> tuple[bytes, str]:
        headers = {"User-Agent": f"attest/{software_version()}", "Accept-Encoding": "identity"}
        if wanted.media_type:
            headers["Content-Type"] = wanted.media_type
        with requests.Session() as session:
            session.trust_env = True  # proxies are the operator's choice; nothing that comes back is believed unverified
            with session.request(
                "POST" if wanted.body else "GET",
                url,
                data=wanted.body or None,
                headers=headers,
                timeout=self.timeout,
                allow_redirects=False,
                stream=True,
            ) as answer:
                if answer.is_redirect or answer.status_code in (301, 302, 303, 307, 308):
                    raise REFUSED.failure(
                        where=url, found=f"a redirect to {answer.headers.get('Location', '')[:80]}", expected="the piece itself"
                    )
                answer.raise_for_status()
                return _body(answer, url, until), answer.headers.get(wanted.header, "") if wanted.header else ""


def _body(answer: requests.Response, url: str, until: float) -> bytes:
    """The body, as it arrives: reading whole blocks would wait for a server that sends a byte now and then, for as long as it likes."""
    data = b""
    try:
        while chunk := answer.raw.read1(16 << 10, decode_content=True):
            data += chunk
            if len(data) > limits.MAX_FETCHED_BYTES:
                raise REFUSED.failure(where=url, found="an endless answer", expected=f"at most {limits.MAX_FETCHED_BYTES} bytes")
            if time.monotonic() > until:
                raise requests.Timeout
    except HTTPError as error:
        raise requests.ConnectionError(type(error).__name__) from None
    return data
