"""Every claim can be set on a simulated TEE, and what no quote can say is refused."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from attest.dcap.endorsements import PckCa
from attest.dcap.pck import PlatformType
from attest.dcap.simulate_pki import SimulatedIntel
from attest.dcap.status import TcbStatus
from attest.errors import UsageError
from attest.evidence import Debug, Tri, declared
from attest.kinds.sgx import simulate as sgx
from attest.kinds.sgx.claims import SgxClaims
from attest.kinds.tdx import simulate as tdx
from attest.kinds.tdx.claims import TdxClaims
from attest.kinds.tdx.report import TdBody

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)

PLATFORM = {
    "debug": [Debug.ON],
    "device_id": ["ab" * 16],
    "platform_instance_id": ["cd" * 16],
    "pck_ca": [PckCa.PROCESSOR],
    "platform_type": [PlatformType.SCALABLE_WITH_INTEGRITY],
    "dynamic_platform": [Tri.NO],
    "cached_keys": [Tri.YES],
    "smt_enabled": [Tri.NO],
    "fmspc": ["00806f050000"],
    "pce_id": ["0001"],
    "pce_svn": [11, 255],
    "cpu_svn": ["07" * 16, "ff" + "00" * 15],
    "qe_svn": [6],
    "tcb_status": [status for status in TcbStatus if status not in TcbStatus.derived() | {TcbStatus.REVOKED}],
    "tcb_date": [20240313],
    "advisories": [frozenset({"INTEL-SA-00837", "INTEL-SA-00960"})],
    "tcb_evaluation_number": [17],
    "collateral_age": [0, 400],
}
TDX = PLATFORM | {
    "tcb_status": [*PLATFORM["tcb_status"], TcbStatus.TD_RELAUNCH_ADVISED, TcbStatus.TD_RELAUNCH_ADVISED_CONFIGURATION_NEEDED],
    "td_body": list(TdBody),
    **{name: ["12" * 48] for name in ("mr_td", "mr_config_id", "mr_owner", "mr_owner_config", "mr_seam", "mr_service_td")},
    **{f"rtmr{index}": ["34" * 48] for index in range(4)},
    "service_td": [True],
    "sept_ve_disabled": [False],
    **{
        name: [True]
        for name in ("migratable", "protection_keys", "key_locker", "linear_address_separation", "tpa", "performance_monitoring")
    },
    "xfam": ["00000000000618e7"],
    "features": [frozenset({"x87", "sse", "avx"})],
    "tdx_module_svn": [5],
    "tdx_module_version": [0, 3],
    "tee_tcb_svn": ["0b0104" + "00" * 13],
}
SGX = PLATFORM | {
    "quote_version": [3, 4, 5],
    **{name: ["12" * 32] for name in ("mr_enclave", "mr_signer")},
    "isv_prod_id": [7],
    "isv_svn": [9],
    "misc_select": [1],
    "mode64": [False],
    **{name: [True] for name in ("provision_key", "launch_key", "key_separation")},
    "attributes": ["0000000000000015"],
    "xfrm": ["0000000000000003"],
    "config_id": ["56" * 64],
    "config_svn": [3],
    "isv_ext_prod_id": ["78" * 16],
    "isv_family_id": ["9a" * 16],
}
# What follows from others: status at launch and now, what falls short, what was simulated, what a log or a paravisor says.
DERIVED = {"simulated", "revocation", "launch_tcb_status", "current_tcb_status", "tcb_shortfalls"}
OF_PARTS = {"event_log", "secure_boot", "boot_applications", "boot_measurements", "paravisor", "vtpm_key"}


@pytest.fixture(scope="module")
def pki() -> SimulatedIntel:
    return SimulatedIntel.create(at=AT)


def cases():
    for module, table in ((tdx, TDX), (sgx, SGX)):
        for name, values in table.items():
            for value in values:
                yield pytest.param(module, name, value, id=f"{module.__name__.split('.')[-2]}-{name}-{str(value)[:12]}")


@pytest.mark.parametrize(("module", "name", "value"), list(cases()))
def test_set(pki, module, name, value):
    default = tdx.default_guest() if module is tdx else sgx.default_enclave()
    changed = module.with_claims(default, {name: value}, pki=pki, at=AT)
    assert getattr(module.claims_of(pki, changed, at=AT), name) == value


def test_every_claim_is_in_the_table():
    assert set(declared(TdxClaims)) == set(TDX) | DERIVED | OF_PARTS | {"quote_version", "current_tee_tcb_svn"}
    assert set(declared(SgxClaims)) == set(SGX) | DERIVED


@pytest.mark.parametrize(
    "changes",
    [
        {"no_such_claim": 1},
        {"tcb_status": TcbStatus.REVOKED},
        {"tcb_status": TcbStatus.NOT_REPORTED},
        {"mr_td": "12"},
        {"fmspc": "zz"},
        {"simulated": False},
        {"xfam": "0000000000000000"},
        {"tdx_module_svn": 300},
        {"tcb_shortfalls": frozenset({"nothing"})},
    ],
)
def test_what_no_quote_can_say(pki, changes):
    with pytest.raises(UsageError):
        tdx.with_claims(tdx.default_guest(), changes, pki=pki, at=AT)


def test_shortfall_in_words(pki):
    guest = tdx.with_claims(
        tdx.default_guest(), {"tcb_status": TcbStatus.OUT_OF_DATE, "advisories": frozenset({"INTEL-SA-00837"})}, pki=pki, at=AT
    )
    assert tdx.claims_of(pki, guest, at=AT).tcb_shortfalls == {"SGX component 1 is 3, needs 4 for the UpToDate level of 2026-05-13"}


def test_relaunch_says_that_the_guest_is_older_than_the_module(pki):
    guest = tdx.with_claims(tdx.default_guest(), {"tcb_status": TcbStatus.TD_RELAUNCH_ADVISED}, pki=pki, at=AT)
    claims = tdx.claims_of(pki, guest, at=AT)
    assert (claims.launch_tcb_status, claims.current_tcb_status) == ("OutOfDate", "UpToDate")
    assert claims.tcb_shortfalls == {"TDX module TDX_01 SVN is 7, needs 8 for the UpToDate level of 2026-05-13"}


def test_authorities_are_kept(pki):
    again = SimulatedIntel.from_pem(pki.to_pem())
    assert again.to_pem() == pki.to_pem()
    assert again.anchors() == pki.anchors()
