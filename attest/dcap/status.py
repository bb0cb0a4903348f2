"""TCB status: Intel's words for how current a platform is, and how those of its parts become one.

Source: Intel SGX and TDX Provisioning Certification Service API version 4, appendix A.3; Intel Quote Verification Library, 4.1.2.5.15-17.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from attest.evidence import ClaimEnum


class TcbStatus(ClaimEnum):
    """Intel's names, as they stand in TCB Info. REVOKED ends a verification and never becomes a claim."""

    UP_TO_DATE = "UpToDate"
    SW_HARDENING_NEEDED = "SWHardeningNeeded"
    CONFIGURATION_NEEDED = "ConfigurationNeeded"
    CONFIGURATION_AND_SW_HARDENING_NEEDED = "ConfigurationAndSWHardeningNeeded"
    OUT_OF_DATE = "OutOfDate"
    OUT_OF_DATE_CONFIGURATION_NEEDED = "OutOfDateConfigurationNeeded"
    REVOKED = "Revoked"
    TD_RELAUNCH_ADVISED = "TDRelaunchAdvised"
    TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED = "TDRelaunchAdvisedConfigurationNeeded"
    NOT_REPORTED = "NotReported"  # our own: the quote does not say with which TCB the guest runs now

    @classmethod
    def derived(cls) -> frozenset[TcbStatus]:
        """Statuses that no document states: they follow from the launch and the current TCB."""
        return frozenset({cls.TD_RELAUNCH_ADVISED, cls.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED, cls.NOT_REPORTED})


_CONFIGURATION: Final = frozenset({TcbStatus.CONFIGURATION_NEEDED, TcbStatus.CONFIGURATION_AND_SW_HARDENING_NEEDED})
_OUT_OF_DATE: Final = frozenset({TcbStatus.OUT_OF_DATE, TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED})
_ACCEPTABLE: Final = frozenset({TcbStatus.UP_TO_DATE, TcbStatus.SW_HARDENING_NEEDED}) | _CONFIGURATION


def converge(platform: TcbStatus, parts: Iterable[TcbStatus]) -> TcbStatus:
    """The status of a platform whose TDX module and quoting enclave have the statuses ``parts``.

    Parts that are neither out of date nor revoked change nothing. An out of date part keeps the platform's need of configuration.
    """
    found = set(parts)
    if TcbStatus.REVOKED in found or platform is TcbStatus.REVOKED:
        return TcbStatus.REVOKED
    if TcbStatus.OUT_OF_DATE in found and platform not in _OUT_OF_DATE:
        return TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED if platform in _CONFIGURATION else TcbStatus.OUT_OF_DATE
    return platform


def relaunch(launch: TcbStatus, current: TcbStatus) -> TcbStatus:
    """The status of a guest that was launched under one TCB and runs under another (TD 1.5 and later)."""
    if launch in _OUT_OF_DATE and current in _ACCEPTABLE:
        if launch is TcbStatus.OUT_OF_DATE_CONFIGURATION_NEEDED or current in _CONFIGURATION:
            return TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
        return TcbStatus.TD_RELAUNCH_ADVISED
    return launch
