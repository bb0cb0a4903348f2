"""What Intel publishes is asked for, fetched over a loopback server that speaks as PCS does, and judged like any other collateral."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from urllib.parse import quote as percent

import pytest

from attest.binding import Binding
from attest.bundle import Bundle, BundleOrigin
from attest.collateral.client import Client
from attest.collateral.fetch import complete, missing
from attest.dcap.collateral import read_document
from attest.dcap.simulate_pki import SimulatedIntel
from attest.dcap.wanted import HOST, QE_IDENTITY_HEADER, ROOT_HOST, TCB_INFO_HEADER
from attest.errors import CannotDecideError
from attest.evidence import Collateral, CollateralItem, CollateralType
from attest.kinds.sgx import SGX
from attest.kinds.sgx import simulate as sgx
from attest.kinds.tdx import TDX
from attest.kinds.tdx import simulate as tdx

AT = datetime(2026, 6, 1, 12, tzinfo=UTC)
KINDS = {"tdx": (TDX, tdx.simulate, tdx.default_guest, tdx.trust), "sgx": (SGX, sgx.simulate, sgx.default_enclave, sgx.trust)}


@pytest.fixture(scope="module")
def pki() -> SimulatedIntel:
    return SimulatedIntel.create(at=AT)


@pytest.fixture
def service() -> Iterator[tuple[dict[str, tuple[bytes, dict[str, str]]], Client]]:
    answers: dict[str, tuple[bytes, dict[str, str]]] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body, headers = answers.get(self.path, (b"", {}))
            self.send_response(200 if body else 404)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    mirrors = dict.fromkeys((HOST, ROOT_HOST), f"http://127.0.0.1:{server.server_port}")
    yield answers, Client(mirrors=MappingProxyType(mirrors), pause=0.01)
    server.shutdown()
    server.server_close()
    thread.join()


def bundle(evidence, items=()) -> Bundle:
    return Bundle.of(
        nonce=bytes(32), recipient=None, binding=Binding.ATTEST_1, evidence=(evidence,), collateral=Collateral(tuple(items)),
        recorded_at=AT, origin=BundleOrigin.RECORDED,
    )  # fmt: skip


def pcs(items: tuple[CollateralItem, ...], tee: str, chain: bytes) -> dict[str, tuple[bytes, dict[str, str]]]:
    """The answers of PCS that carry these items."""
    answers = {}
    for item in items:
        if item.type is CollateralType.CRL:
            path = "/IntelSGXRootCA.der" if "root" in item.name else "/sgx/certification/v4/pckcrl?ca=platform&encoding=der"
            answers[path] = (item.data, {})
            continue
        member = "tcbInfo" if item.type is CollateralType.TCB_INFO else "enclaveIdentity"
        document = read_document(item.data, member, item.name)
        body = b'{"%b":%b,"signature":"%b"}' % (member.encode(), document.signed, document.signature.hex().encode())
        path = "tcb?fmspc=90C06F000000" if member == "tcbInfo" else "qe/identity"
        header = TCB_INFO_HEADER if member == "tcbInfo" else QE_IDENTITY_HEADER
        answers[f"/{tee}/certification/v4/{path}"] = (body, {header: percent(chain.decode())})
    return answers


@pytest.mark.parametrize("name", list(KINDS))
def test_a_bare_quote_is_completed_and_verifies(pki, service, name):
    kind, simulate, default, trust = KINDS[name]
    answers, client = service
    evidence, items = simulate(pki, default(), report_data=bytes(64), at=AT)
    answers |= pcs(items, name, pki.chain("signer", "root"))
    wanted = missing(bundle(evidence))
    assert {(piece.host, piece.path) for piece in wanted} == {(ROOT_HOST if path.startswith("/Intel") else HOST, path) for path in answers}
    fetched = complete(bundle(evidence), client, now=lambda: AT)
    assert (len(fetched.added), fetched.missing) == (4, ())
    assert {item.fetched_at for item in fetched.added} == {AT}
    again = Bundle.from_files(fetched.bundle.to_files())
    assert again.digest == fetched.bundle.digest
    verified = kind.verify(evidence, trust=trust(pki), collateral=again.collateral, at=AT)
    assert verified.claims.tcb_status == "UpToDate"
    assert missing(fetched.bundle) == ()
    assert len(complete(fetched.bundle, client, now=lambda: AT, refresh=True).added) == 4


def test_what_cannot_be_had_or_read_is_named(pki, service):
    answers, client = service
    evidence, items = tdx.simulate(pki, tdx.default_guest(), report_data=bytes(64), at=AT)
    answers |= pcs(items, "tdx", pki.chain("signer", "root"))
    body, _ = answers["/tdx/certification/v4/qe/identity"]
    answers["/tdx/certification/v4/qe/identity"] = (body, {})  # without its signer
    answers.pop("/tdx/certification/v4/tcb?fmspc=90C06F000000")
    fetched = complete(bundle(evidence), client, now=lambda: AT)
    assert {reason.code for reason in fetched.missing} == {"collateral.absent", "wire.pem"}
    assert {item.type for item in fetched.added} == {CollateralType.CRL}
    with pytest.raises(CannotDecideError) as caught:
        TDX.verify(evidence, trust=tdx.trust(pki), collateral=fetched.bundle.collateral, at=AT)
    assert caught.value.code == "dcap.tcb-info"
    assert "attest collateral fetch" in caught.value.hint


@pytest.mark.parametrize(
    "broken", [b"[]", b"{}", b'{"tcbInfo":{}}', b'{"tcbInfo":{},"signature":1}', b"{" * 4000, b'{"tcbInfo":1e999,"signature":""}']
)
def test_an_answer_that_is_none(pki, service, broken):
    answers, client = service
    evidence, items = tdx.simulate(pki, tdx.default_guest(), report_data=bytes(64), at=AT)
    answers |= pcs(items, "tdx", pki.chain("signer", "root"))
    path = "/tdx/certification/v4/tcb?fmspc=90C06F000000"
    answers[path] = (broken, answers[path][1])
    fetched = complete(bundle(evidence), client, now=lambda: AT)
    assert len(fetched.missing) == 1
    assert all(item.type is not CollateralType.TCB_INFO for item in fetched.added)


def test_collateral_of_another_platform_is_still_missing(pki):
    evidence, _ = tdx.simulate(pki, tdx.default_guest(), report_data=bytes(64), at=AT)
    other = tdx.with_claims(tdx.default_guest(), {"fmspc": "00806f050000"}, pki=pki, at=AT)
    _, items = tdx.simulate(pki, other, report_data=bytes(64), at=AT)
    assert [piece.type for piece in missing(bundle(evidence, items))] == [CollateralType.TCB_INFO]
