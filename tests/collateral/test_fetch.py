"""Fetching collateral from a server on this machine: what is wanted, what comes back, and everything a service can do wrong."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import MappingProxyType

import pytest
from cryptography.x509 import ocsp

from attest import limits
from attest.appraisal import KeyUse
from attest.bundle import Bundle
from attest.collateral.client import Client
from attest.collateral.fetch import complete, missing
from attest.errors import CannotDecideError
from attest.evidence import Collateral, CollateralType, Wanted
from attest.recipient import Kem, Recipient
from attest.simulator import SimulatedNode, SimulatedVendors, simulate_session
from attest.verifier import judge

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
NONCE = bytes(range(32))
HOSTS = ("kdsintf.amd.com", "rim.attestation.nvidia.com", "ocsp.ndis.nvidia.com")
Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


@dataclass
class Service:
    """A server on loopback that stands for all publishers."""

    address: str = ""
    answers: dict[str, Answer] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def client(self, **options: float) -> Client:
        mirrors = MappingProxyType(dict.fromkeys(HOSTS, self.address))
        return Client(mirrors=mirrors, pause=0.01, **options)  # type: ignore[arg-type]


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()

    class Handler(BaseHTTPRequestHandler):
        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            made.asked.append(f"{self.command} {self.path}")
            made.answers.get(self.path.partition("?")[0], status(404))(self, body)

        do_GET = do_POST = handle_request  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    made.address = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()
    thread.join()


def status(code: int, **headers: str) -> Answer:
    def answer(request: BaseHTTPRequestHandler, _body: bytes) -> None:
        request.send_response(code)
        for name, value in headers.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def body(data: bytes) -> Answer:
    def answer(request: BaseHTTPRequestHandler, _body: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    return answer


PIECE = Wanted(CollateralType.CRL, "vcek-milan-crl", "kdsintf.amd.com", "/vcek/v1/Milan/crl")


@pytest.fixture(scope="module")
def vendors() -> SimulatedVendors:
    return SimulatedVendors.create(at=AT, gpus=1)


@pytest.fixture(scope="module")
def full(vendors: SimulatedVendors) -> Bundle:
    recipient = Recipient(Kem.X25519, b"\x07" * 32)
    return simulate_session(vendors, SimulatedNode.of(gpus=1), nonce=NONCE, recipient=recipient, at=AT)


def bare(bundle: Bundle) -> Bundle:
    return Bundle.of(
        nonce=bundle.nonce, recipient=bundle.recipient, binding=bundle.binding, evidence=bundle.evidence, collateral=Collateral(),
        recorded_at=bundle.recorded_at, origin=bundle.origin, note=bundle.note,
    )  # fmt: skip


def serve(service: Service, bundle: Bundle) -> None:
    """Answer as the vendors would, from the collateral of a complete bundle."""
    for item in bundle.collateral.of_type(CollateralType.RIM):
        answer = json.dumps({"id": item.name, "rim": base64.b64encode(item.data).decode(), "sha256": item.digest}).encode()
        service.answers[f"/v1/rim/{item.name}"] = body(answer)
    (crl,) = bundle.collateral.of_type(CollateralType.CRL)
    service.answers["/vcek/v1/Genoa/crl"] = body(crl.data)
    by_serial = {ocsp.load_der_ocsp_response(item.data).serial_number: item.data for item in bundle.collateral.of_type(CollateralType.OCSP)}

    def respond(request: BaseHTTPRequestHandler, question: bytes) -> None:
        assert request.headers["Content-Type"] == "application/ocsp-request"
        body(by_serial[ocsp.load_der_ocsp_request(question).serial_number])(request, b"")

    service.answers["/"] = respond


def test_a_bare_bundle_is_completed_until_the_verdict_is_the_same(vendors: SimulatedVendors, full: Bundle, service: Service) -> None:
    serve(service, full)
    told: list[str] = []
    fetched = complete(
        bare(full), service.client(), now=lambda: AT, progress=lambda piece, number, of: told.append(f"{piece.name} {number}/{of}")
    )
    assert fetched.missing == ()
    assert len(told) == len(fetched.added) == len(full.collateral.items)
    assert missing(fetched.bundle) == ()
    assert all(item.fetched_at == AT for item in fetched.added)

    def reasons(bundle: Bundle) -> list[str]:
        judged = judge(
            bundle, trust=vendors.trust(), at=AT, policy=None, key="", use=KeyUse.TEST_ONLY, nonce=NONCE, max_age=timedelta(minutes=5)
        )
        return [reason.code for reason in judged.reasons]

    assert reasons(fetched.bundle) == reasons(full) == []
    assert reasons(bare(full)) != []


def test_what_cannot_be_had_is_named_and_the_rest_is_kept(full: Bundle, service: Service) -> None:
    serve(service, full)
    del service.answers["/vcek/v1/Genoa/crl"]
    fetched = complete(bare(full), service.client(), now=lambda: AT)
    assert [(reason.code, reason.subject) for reason in fetched.missing] == [("collateral.absent", "vcek-genoa-crl")]
    assert len(fetched.added) == len(full.collateral.items) - 1
    service.asked.clear()
    assert complete(fetched.bundle, service.client(), now=lambda: AT).added == ()
    assert service.asked == ["GET /vcek/v1/Genoa/crl"], "what is there is not fetched again"


def test_refresh_fetches_revocation_again_and_nothing_else(full: Bundle, service: Service) -> None:
    serve(service, full)
    fetched = complete(bare(full), service.client(), now=lambda: AT)
    later = complete(fetched.bundle, service.client(), now=lambda: AT + timedelta(days=1), refresh=True)
    assert {item.type for item in later.added} == {CollateralType.OCSP, CollateralType.CRL}
    assert len(later.bundle.collateral.items) == len(fetched.bundle.collateral.items)


def test_addresses_of_real_evidence(fixtures: Path) -> None:
    found = {(piece.host, piece.path) for piece in missing(Bundle.load(fixtures / "nvidia-gpu" / "h100-595.71.05"))}
    assert ("rim.attestation.nvidia.com", "/v1/rim/NV_GPU_DRIVER_GH100_595.71.05") in found
    assert ("rim.attestation.nvidia.com", "/v1/rim/NV_GPU_VBIOS_1010_0210_886_9600880011") in found
    azure = Bundle.load(fixtures / "sev-snp" / "azure-milan-v3")
    assert ("kdsintf.amd.com", "/vcek/v1/Milan/crl") in {(piece.host, piece.path) for piece in missing(azure)}


# -- what services do -----------------------------------------------------------------------------------------------------


def test_try_again_later_is_tried_again(service: Service) -> None:
    turns = iter([status(429), status(503), body(b"crl")])
    service.answers[PIECE.path] = lambda request, data: next(turns)(request, data)
    assert service.client().get(PIECE) == b"crl"
    assert len(service.asked) == 3


@pytest.mark.parametrize(
    ("answer", "code", "asked"),
    [
        (status(404), "collateral.absent", 1),
        (status(403), "collateral.unreachable", 1),
        (status(500), "collateral.unreachable", 4),
        (status(302, Location="http://127.0.0.1:1/"), "collateral.answer", 1),
        (body(b"x" * (limits.MAX_FETCHED_BYTES + 1)), "collateral.answer", 1),
    ],
)
def test_answers_that_are_none(service: Service, answer: Answer, code: str, asked: int) -> None:
    service.answers[PIECE.path] = answer
    with pytest.raises(CannotDecideError) as refused:
        service.client().get(PIECE)
    assert refused.value.code == code
    assert len(service.asked) == asked


def test_a_service_that_hangs_or_drips_is_left(service: Service) -> None:
    def hang(request: BaseHTTPRequestHandler, _body: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "100000")
        request.end_headers()
        for _ in range(40):
            time.sleep(0.05)
            try:
                request.wfile.write(b"x" * 100)
                request.wfile.flush()
            except OSError:
                return

    service.answers[PIECE.path] = hang
    start = time.monotonic()
    with pytest.raises(CannotDecideError) as refused:
        service.client(timeout=0.2, total=0.5).get(PIECE)
    assert refused.value.code == "collateral.unreachable"
    assert time.monotonic() - start < 3


def test_nobody_there() -> None:
    client = Client(mirrors=MappingProxyType({PIECE.host: "http://127.0.0.1:1"}), pause=0.01)
    with pytest.raises(CannotDecideError) as refused:
        client.get(PIECE)
    assert refused.value.code == "collateral.unreachable"
    assert refused.value.exit_code == 6


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"id":"other","rim":"AAAA"}', b'{"id":"NAME","rim":"A"}', b'{"id":"NAME","id":"NAME","rim":"AAAA"}'],
)
def test_a_rim_service_that_answers_nonsense(full: Bundle, service: Service, data: bytes) -> None:
    serve(service, full)
    name = full.collateral.of_type(CollateralType.RIM)[0].name
    service.answers[f"/v1/rim/{name}"] = body(data.replace(b"NAME", name.encode()))
    fetched = complete(bare(full), service.client(), now=lambda: AT)
    assert ("collateral.answer", name) in [(reason.code, reason.subject) for reason in fetched.missing]
    assert name not in [item.name for item in fetched.bundle.collateral.items]
