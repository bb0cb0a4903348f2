"""What people see: hostile text cannot steer a terminal or a browser, simulation is loud, and the page stands alone."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest

from attest.errors import Outcome, Reason
from attest.evidence import Scope
from attest_cli import html, terminal
from attest_cli.terminal import Page, one_line, safe
from attest_cli.text import headline, span

if TYPE_CHECKING:
    from conftest import Attest

    from attest_cli.documents import VerdictDoc

TRUST = "--trust lab/pki/trust.json"
HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\r\nattest: verified\u202e\u2066\u200b<script>alert(1)</script><img src=//evil>[bold red]x[/]{{7*7}}\x9b31m"
)


@pytest.fixture
def hostile(lab: Path) -> str:
    """A bundle whose every free text is an attack: the note, a kind of evidence, and the name of a file."""
    target = lab / "lab/hostile<b>"
    if not target.exists():
        shutil.copytree(lab / "lab/node", target)
        manifest = json.loads((target / "bundle.json").read_text())
        manifest["note"] = HOSTILE
        manifest["evidence"][0]["kind"] = HOSTILE
        (target / "bundle.json").write_text(json.dumps(manifest))
    return "lab/hostile<b>"


def harmless(text: str) -> None:
    """Lines and printable characters only."""
    assert all(char == "\n" or char.isprintable() for char in text), ascii([char for char in text if not char.isprintable()][:9])
    assert "\u202e" not in text


def test_hostile_text_is_harmless_on_a_terminal(lab: Path, attest: Attest, hostile: str) -> None:
    for line in (f"verify '{hostile}' {TRUST}", f"verify '{hostile}' {TRUST} --explain", f"inspect '{hostile}'"):
        result = attest(line)
        harmless(result.out)
        harmless(result.err)
        assert "\\x1b]0;owned\\x07" in result.out
        assert "[bold red]x[/]" in result.out, "markup is text"
    assert attest(f"verify '{hostile}' {TRUST}").code == 3  # the kind is unknown


def test_hostile_text_is_harmless_in_json(lab: Path, attest: Attest, hostile: str) -> None:
    result = attest(f"verify '{hostile}' {TRUST}", "--json")
    assert result.out.isascii()
    assert "\x1b" not in result.out
    assert result.document["results"][0]["bundle"]["note"] == HOSTILE, "and still says exactly what stood there"


class Elements(HTMLParser):
    """Names of all elements, and all values of attributes that could load something."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.loads: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.add(tag)
        self.loads += [
            f"{name}={value}"
            for name, value in attrs
            if name in {"src", "href", "action", "style", "srcset", "data"} or name.startswith("on")
        ]

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def elements(page: Path) -> Elements:
    found = Elements()
    found.feed(page.read_text(encoding="utf-8"))
    return found


def test_the_page_stands_alone_and_escapes_everything(lab: Path, attest: Attest, hostile: str) -> None:
    attest(f"verify '{hostile}' {TRUST} --html lab/hostile.html")
    text = (lab / "lab/hostile.html").read_text()
    page = elements(lab / "lab/hostile.html")
    harmless(text)
    assert page.loads == []
    assert not page.names & {"script", "img", "iframe", "object", "embed", "link", "form", "base", "b "}
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "{{7*7}}" in text
    assert "hostile&lt;b&gt;" in text
    assert "default-src 'none'" in text


def test_the_page_says_verdict_picture_reasons_and_that_it_is_no_verdict(lab: Path, attest: Attest) -> None:
    attest("simulate node --pki lab/pki --out lab/page-node --defect gpu-ocsp-signature --device gpu-5", expect=0)
    attest(f"verify lab/page-node {TRUST} --policy h100x8-snp --key demo --test-only --html lab/forged.html", expect=4)
    attest("simulate node --pki lab/pki --out lab/old-vbios --set gpu-3.vbios_version=96.00.88.00.11", expect=0)
    attest(f"verify lab/old-vbios {TRUST} --policy h100x8-snp --key demo --test-only --html lab/refused.html", expect=5)
    forged, refused = ((lab / f"lab/{name}.html").read_text() for name in ("forged", "refused"))
    assert "NOT AUTHENTIC" in forged
    assert forged.count('class="box bad"') >= 1
    for text in (
        "SIMULATED",
        ">REFUSED<",
        "gpu-3",
        "96.00.88.00.11",
        "at least 96.00.9F.00.01",
        "update the VBIOS of this GPU",
        "h100x8-snp, serial 1",
        "What no evidence can show",
        "This page is no verdict.",
        "attest verify lab/old-vbios --policy h100x8-snp --key demo --trust lab/pki/trust.json --test-only --at ",
        "certificate 4 (root)",
    ):
        assert text in refused, text
    assert refused.count('class="box good"') == 8
    assert refused.count('class="box bad"') == 1
    assert "accept gpu-0 to gpu-2, gpu-4 to gpu-7" in refused


def test_the_page_of_something_missing_is_grey(lab: Path, attest: Attest) -> None:
    attest("simulate node --pki lab/pki --out lab/no-rim --gpus 2 --defect gpu-rim-driver-missing", expect=0)
    attest(f"verify lab/no-rim {TRUST} --test-only --html lab/no-rim.html", expect=6)
    assert (lab / "lab/no-rim.html").read_text().count('class="box unsure"') == 2


def test_the_page_of_authenticity_alone_is_not_green(lab: Path, attest: Attest) -> None:
    attest("verify fixtures/sev-snp/azure-milan-v3 --html lab/authentic.html", expect=5)
    text = (lab / "lab/authentic.html").read_text()
    assert "no CPU TEE" not in text
    assert '<div class="banner plain"><strong>AUTHENTIC</strong>this is no permission' in text


def test_the_page_of_a_gpu_alone_shows_what_is_missing_and_no_endless_list(lab: Path, attest: Attest) -> None:
    attest("verify fixtures/nvidia-gpu/h100-595.71.05 --policy h100-snp --key demo --html lab/gpu.html", expect=5)
    text = (lab / "lab/gpu.html").read_text()
    assert '<div class="box missing"><b>no CPU TEE</b>' in text
    assert len(re.findall("<li>", text)) == 4
    assert "more: see &#34;Why not&#34;" in text or 'more: see "Why not"' in text


def test_every_scope_of_a_device_is_in_the_picture() -> None:
    template = Path(html.__file__).with_name("templates") / "verify.html.j2"
    scopes = re.search(r"{% for scope in \(([^)]*)\) %}", template.read_text())
    assert scopes is not None
    assert {scope.value for scope in Scope} | {"unknown"} == set(re.findall(r'"([a-z]+)"', scopes[1]))


@pytest.mark.parametrize(
    ("codes", "said"),
    [
        (("floor.debug",), "authentic, but the floor, which no policy lowers, says no"),
        (("policy.refused",), "authentic, but the policy says no"),
        (("policy.refused", "floor.debug"), "authentic, but the floor, which no policy lowers, and the policy say no"),
        (("tdx.tcb",), "authentic, but the floor or the policy says no"),
    ],
)
def test_a_refusal_says_who_refuses(codes: tuple[str, ...], said: str) -> None:
    reasons = [{"code": code, "outcome": "refused"} for code in codes]
    verdict = cast("VerdictDoc", {"policy": {}, "authentic": True, "verdict": "refused", "reasons": reasons})
    assert headline(verdict)[2] == said


def test_the_page_of_a_permit(lab: Path, attest: Attest) -> None:
    nonce = json.loads((lab / "lab/node/bundle.json").read_text())["nonce"]
    attest(f"verify lab/node {TRUST} --policy h100x8-snp --key demo --test-only --nonce {nonce} --html lab/permit.html", expect=0)
    text = (lab / "lab/permit.html").read_text()
    assert '<div class="banner good"><strong>PERMIT</strong>' in text
    assert text.count('class="box good"') == 9
    assert "Why not" not in text


def test_simulation_is_loud_in_every_output(lab: Path, attest: Attest) -> None:
    for line in (
        f"verify lab/node {TRUST}",
        "verify lab/node",  # under real roots, the bundle's own word
        "inspect lab/node",
        "simulate node --pki lab/pki --out lab/loud",
        "simulate trust --pki lab/pki",
        f"trust list {TRUST}",
        "token inspect lab/release/token.jwt",
        "fetch-key demo lab/release --recipient lab/pki/recipient.key",
        f"audit record lab/release/record.json {TRUST}",
        f"audit ledger --broker lab/broker {TRUST}",
    ):
        result = attest(line)
        assert "SIMULATED" in result.out, line
    for line in ("verify fixtures/nvidia-gpu/h100-595.71.05", "trust list"):
        assert "SIMULATED" not in attest(line).out
    assert attest(f"verify lab/node {TRUST}", "--json").document["results"][0]["simulated"] is True


def test_inspect_says_unverified_first_and_last(lab: Path, attest: Attest) -> None:
    lines = attest("inspect fixtures/sev-snp/azure-milan-v3", expect=0).out.splitlines()
    assert lines[0].startswith("UNVERIFIED")
    assert lines[-1].startswith("UNVERIFIED")


def test_verify_lists_what_ran_what_did_not_and_what_cannot(lab: Path, attest: Attest) -> None:
    short = attest("verify fixtures/nvidia-gpu/h100-595.71.05 --at 2026-09-19T12:00:00Z", expect=5).out
    for heading in ("Why not", "GPU", "Software", "Floor", "Policy", "Not checked, for want of material", "No evidence can show"):
        assert f"\n{heading}\n" in short, heading
    assert "AUTHENTIC  fixtures/nvidia-gpu/h100-595.71.05" in short
    assert "ocsp-identity-key" in short
    assert "nobody can show that it is not revoked" in short
    assert "floor.attached" in short
    long = attest("verify fixtures/nvidia-gpu/h100-595.71.05 --at 2026-09-19T12:00:00Z --explain", expect=5).out
    assert len(long.splitlines()) > len(short.splitlines())
    for text in ("nvidia-gpu.signature", "claim        driver_version", "595.71.05", "chain 4"):
        assert text in long


def test_evidence_of_other_tools_is_recognised_by_content(lab: Path, attest: Attest) -> None:
    folder = lab / "fixtures/nvidia-gpu/h100-595.71.05/evidence/gpu-0"
    report = bytes.fromhex((folder / "report.hex").read_text().replace("\n", ""))
    (lab / "lab/report.bin").write_bytes(report)
    (lab / "lab/anything.txt").write_text(report.hex())
    for name in ("report.bin", "anything.txt"):
        result = attest(f"verify lab/{name} --with {folder}/certificates.pem", "--json", expect=5)
        (verdict,) = result.document["results"]
        assert verdict["authentic"] is True
        assert verdict["bundle"]["recorded_at"] == verdict["bundle"]["nonce"] == ""
        codes = {reason["code"] for reason in verdict["reasons"]}
        assert {"floor.nonce", "floor.recipient", "floor.fresh", "floor.cpu-tee"} <= codes
    alone = attest("verify lab/report.bin", "--json", expect=3)
    assert alone.document["results"][0]["reasons"][0]["code"] == "nvidia-gpu.evidence"
    (lab / "lab/nvat.json").write_text(
        json.dumps(
            [
                {
                    "arch": "HOPPER",
                    "nonce": "41" * 32,
                    "evidence": b64(report),
                    "certificate": b64((folder / "certificates.pem").read_bytes()),
                }
            ]
        )
    )
    assert attest("verify lab/nvat.json", "--json", expect=5).document["results"][0]["authentic"] is True


def test_a_bare_snp_report_with_its_certificates_and_issuers(lab: Path, attest: Attest) -> None:
    folder = lab / "fixtures/sev-snp/azure-milan-v3"
    (lab / "lab/snp.bin").write_bytes(bytes.fromhex((folder / "evidence/cpu/report.hex").read_text().replace("\n", "")))
    line = f"verify lab/snp.bin --with {folder}/evidence/cpu/certificates.pem --with {folder}/collateral/certificates/milan-ask-ark.pem"
    (verdict,) = attest(line, "--json", expect=5).document["results"]
    assert verdict["authentic"] is True
    assert "--with" in verdict["again"]
    assert attest("verify lab/snp.bin", "--json", expect=6).document["results"][0]["reasons"][0]["code"] == "sev-snp.leaf"


def b64(data: bytes) -> str:
    import base64

    return base64.b64encode(data).decode()


# -- pieces ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text, even ünïcode 漢字", "plain text, even ünïcode 漢字"),
        ("a\nb\tc\r", "a\\x0ab\\x09c\\x0d"),
        ("\x1b[31m\x9b", "\\x1b[31m\\x9b"),
        ("\u202eabc\u2066\ufeff\u200b", "\\u202eabc\\u2066\\ufeff\\u200b"),
        ("\u2028\ue000\U000e0041", "\\u2028\\ue000\\U000e0041"),
        ("\ud800", "\\ud800"),
    ],
)
def test_safe(text: str, shown: str) -> None:
    assert safe(text) == shown


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ((), ""),
        (("cpu",), "cpu"),
        (("gpu-0", "gpu-1"), "gpu-0, gpu-1"),
        (("gpu-0", "gpu-1", "gpu-2", "cpu"), "gpu-0 to gpu-2, cpu"),
        (("gpu-0", "gpu-2", "gpu-3", "gpu-4"), "gpu-0, gpu-2 to gpu-4"),
        (("gpu-9", "gpu-10", "gpu-11"), "gpu-9 to gpu-11"),
        (("a-1", "b-2", "c-3"), "a-1, b-2, c-3"),
        (("1", "2", "3"), "1, 2, 3"),
    ],
)
def test_span(names: tuple[str, ...], shown: str) -> None:
    assert span(names) == shown


def test_one_line_keeps_abbreviations_and_lowers_sentences() -> None:
    def reason(message: str) -> Reason:
        return Reason("a.b", Outcome.REFUSED, message, found="x", expected="y", where="z")

    assert one_line(reason("Chain of the key failed")) == "chain of the key failed at z: found x, expected y [a.b]"
    assert one_line(reason("CRL failed").about("cpu")) == "cpu: CRL failed at z: found x, expected y [a.b]"


class Terminal:
    """Standard output that says that it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_styles_on_a_terminal_only_and_markup_never(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    Page().line(("PERMIT", "bold green"), "  [bold red]not markup[/]", " \x1b[5m")
    assert "\x1b[1;32mPERMIT" in screen.text
    assert "[bold red]not markup[/]" in screen.text
    assert "\\x1b[5m" in screen.text


def test_errors_are_coloured_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.delenv("NO_COLOR", raising=False)
    terminal.say_error("no\x1b", ["do this"])
    assert screen.text == "\x1b[1;31mattest: error:\x1b[0m no\\x1b\n\x1b[1;36mattest: hint:\x1b[0m do this\n"
    screen.text = ""
    monkeypatch.setenv("NO_COLOR", "1")
    terminal.say_error("no")
    assert screen.text == "attest: error: no\n"


def test_progress_is_for_terminals_and_says_nothing_of_what_is_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm-256color")
    with terminal.progress("something quick"):
        pass
    assert screen.text == ""
    monkeypatch.setattr(terminal, "_PROGRESS_AFTER", 0.0)
    with terminal.progress("making\x1b keys"):
        time.sleep(0.3)
    assert "making\\x1b keys" in screen.text
    screen.text = ""
    monkeypatch.setattr(Terminal, "isatty", lambda _: False)
    with terminal.progress("into a file"):
        time.sleep(0.05)
    assert screen.text == ""
