"""Every case of the corpus: its files, the trust it needs, and what must come out. Used by the tests and by the corpus runner."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from attest.errors import AttestError
from attest.evidence import Collateral, Evidence
from attest.kinds.tpm import TPM
from attest.kinds.tpm.pcrs import encode_pcrs
from attest.kinds.tpm.public import parse_public
from attest.kinds.tpm.report import Selection, parse_quote
from attest.kinds.tpm.signature import with_header
from attest.trust import Enrolment, Origin, TrustStore

AT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Case:
    """One case: how its evidence is put together, and the expected outcome: {} is authentic, or a code, or claims."""

    name: str
    make: Callable[[Path], dict[str, bytes]]
    expected: dict[str, object]
    at: datetime = AT
    enrolled: bool = True
    with_ek: bool = False
    files: tuple[str, ...] = field(default=())


def outcome(case: Case, corpus: Path) -> dict[str, object]:
    """What verification says: the code of the refusal, or every claim with "freshness" and "resident"."""
    folder = corpus / "tpm"
    parts = case.make(folder)
    enrolments: tuple[Enrolment, ...] = ()
    if case.enrolled:
        ak = parse_public(parts["ak"], "ak")
        ek = parse_public((folder / "swtpm/ek.pub").read_bytes(), "ek").name.hex() if case.with_ek else ""
        enrolments = (Enrolment(case.name, ak.name.hex(), ek, ""),)
    production = TrustStore.production()
    trust = TrustStore.of("corpus", Origin.PRODUCTION, production.anchors, enrolments)
    try:
        result = TPM.verify(Evidence.of("tpm", "tpm-0", parts), trust=trust, collateral=Collateral(), at=case.at)
    except AttestError as error:
        return {"code": error.code}
    said: dict[str, object] = {"code": "", "freshness": result.freshness.hex(), "resident": result.resident is not None}
    return said | {
        name: str(value) if not isinstance(value, bool | int | frozenset) else value for name, value in result.claims.values().items()
    }


def swtpm(
    quote: str, key: str, *, pcrs: str = "", attest: str = "", recipient: str = "", **more: str
) -> Callable[[Path], dict[str, bytes]]:
    """Files of the folder swtpm: ``quote`` names attest, sig and pcrs unless they are given."""

    def make(folder: Path) -> dict[str, bytes]:
        own = folder / "swtpm"
        parts = {
            "quote": (own / (attest or f"{quote}.attest")).read_bytes(),
            "signature": (own / f"{quote}.sig").read_bytes(),
            "ak": (own / f"{key}.pub").read_bytes(),
            "pcrs": (own / f"{pcrs or quote}.pcrs").read_bytes(),
        }
        if recipient:
            name = recipient.split(".")[0]
            parts["recipient"] = (own / f"{name}.pub").read_bytes()
            parts["certification"] = (own / f"{recipient}.attest").read_bytes()
            parts["certification-signature"] = (own / f"{recipient}.sig").read_bytes()
        return parts | {part: (own / file).read_bytes() for part, file in more.items()}

    return make


NONCE = "50e2411860ede14532fb61f0cff9a87efcad014aaf6e246d9e4921826c306bc5"

SWTPM = (
    Case("rsassa", swtpm("quote_rsassa", "ak_rsassa"), {"freshness": NONCE, "reset_count": "2", "hierarchy": "endorsement"}, with_ek=True),
    Case("rsapss", swtpm("quote_rsapss", "ak_rsapss"), {"code": ""}, with_ek=True),
    Case("ecdsa", swtpm("quote_ecdsa", "ak_ecdsa"), {"code": ""}, with_ek=True),
    Case("rsassa384", swtpm("quote_rsassa384", "ak_rsassa384"), {"code": "", "pcr_bank": "sha384"}, with_ek=True),
    Case("bank384", swtpm("quote_rsassa_bank384", "ak_rsassa"), {"code": "", "pcr_bank": "sha384"}, with_ek=True),
    Case("multibank", swtpm("quote_rsassa_multibank", "ak_rsassa"), {"code": "", "pcr_bank": "sha384"}, with_ek=True),
    Case("empty nonce", swtpm("quote_rsassa_empty_nonce", "ak_rsassa"), {"code": "", "freshness": ""}),
    Case("only PCR 23", swtpm("quote_rsassa_no_pcrs", "ak_rsassa"), {"code": "", "pcr7": "", "pcr10": ""}),
    Case("PCR 16 like PCR 10", swtpm("quote_rsassa_pcr16_like_pcr10", "ak_rsassa"), {"code": "", "pcr10": ""}),
    Case("after clean reset", swtpm("quote_after_clean_reset", "ak_rsassa"), {"reset_count": "4", "clock_safe": False}, with_ek=True),
    Case("after unclean reset", swtpm("quote_after_unclean_reset", "ak_rsassa"), {"reset_count": "3", "clock_safe": False}, with_ek=True),
    Case("owner hierarchy", swtpm("quote_owner_hierarchy", "ak_owner"), {"code": "", "reset_count": "", "firmware_version": ""}),
    Case("owner hierarchy as endorsement", swtpm("quote_owner_hierarchy", "ak_owner"), {"code": "tpm.qualified-signer"}, with_ek=True),
    Case("SHA-1 bank", swtpm("quote_rsassa_sha1bank", "ak_rsassa"), {"code": "tpm.pcr-bank"}),
    Case("SHA-1 signature", swtpm("quote_sha1sig", "ak_sha1"), {"code": "tpm.signature-hash"}),
    Case("bad magic", swtpm("quote_rsassa", "ak_rsassa", attest="neg_badmagic.attest"), {"code": "tpm.magic"}),
    Case("trailing byte", swtpm("quote_rsassa", "ak_rsassa", attest="neg_trailing.attest"), {"code": "wire.trailing"}),
    Case("relabelled PCR", swtpm("quote_rsassa", "ak_rsassa", pcrs="neg_pcrs_relabelled"), {"code": "tpm.pcr-labels"}),
    Case("NV as quote", swtpm("nv_extend", "ak_rsassa", pcrs="quote_rsassa"), {"code": "tpm.type"}),
    Case("time as quote", swtpm("time", "ak_rsassa", pcrs="quote_rsassa"), {"code": "tpm.type"}),
    Case("certify as quote", swtpm("dec_rsa.certify", "ak_rsassa", pcrs="quote_rsassa"), {"code": "tpm.type"}),
    Case("creation as quote", swtpm("dec_rsa.creation", "ak_rsassa", pcrs="quote_rsassa"), {"code": "tpm.type"}),
    Case("forged by unrestricted key", swtpm("forged_by_unrestricted", "unrestricted", pcrs="quote_rsassa"), {"code": "tpm.ak-attributes"}),
    Case("other key", swtpm("quote_rsassa", "ak_ecdsa"), {"code": "tpm.scheme"}),
    Case("endorsement key as attestation key", swtpm("quote_rsassa", "ek"), {"code": "tpm.scheme"}),
    Case("not enrolled", swtpm("quote_rsassa", "ak_rsassa"), {"code": "tpm.ak-trust"}, enrolled=False),
    Case("certified RSA", swtpm("quote_rsassa", "ak_rsassa", recipient="dec_rsa.certify"), {"resident": True, "recipient_password": True}),
    Case("certified creation", swtpm("quote_rsassa", "ak_rsassa", recipient="dec_rsa.creation"), {"resident": True}),
    Case("certified ECC", swtpm("quote_rsassa", "ak_rsassa", recipient="dec_ecc.certify"), {"recipient_resident": True}),
    Case("exportable", swtpm("quote_rsassa", "ak_rsassa", recipient="exportable_rsa.certify"), {"code": "tpm.recipient-attributes"}),
    Case(
        "certification of another key",
        swtpm("quote_rsassa", "ak_rsassa", recipient="dec_rsa.certify", certification="dec_ecc.certify.attest",
              **{"certification-signature": "dec_ecc.certify.sig"}),
        {"code": "tpm.certified-name"},
    ),
)  # fmt: skip


# -- other people's recordings --------------------------------------------------------------------------------------------


def azure_trusted_launch(*, certificates: bool) -> Callable[[Path], dict[str, bytes]]:
    def make(folder: Path) -> dict[str, bytes]:
        own = folder / "quotes/azure-tl-2026"
        ak = from_spki((own / "ak.pub").read_bytes())
        parts = {"quote": (own / "quote.msg").read_bytes(), "ak": ak, "pcrs": (own / "pcrs.bin").read_bytes()}
        parts["signature"] = with_header((own / "quote.sig").read_bytes(), parse_public(ak, "ak"))
        if certificates:
            leaf = x509.load_der_x509_certificate((own / "akcert_0x01C101D0.der").read_bytes())
            pem = leaf.public_bytes(serialization.Encoding.PEM)
            pem += (own / "global_virtual_tpm_ca_03.pem").read_bytes() + b"\n" + (own / "azure_vtpm_root_2023.pem").read_bytes()
            parts["ak-certificates"] = pem
        return parts

    return make


def from_spki(data: bytes) -> bytes:
    """A public area for an RSA key of which only the key is known: as clouds make attestation keys (RSASSA, SHA-256)."""
    key = serialization.load_pem_public_key(data) if data.startswith(b"-----") else serialization.load_der_public_key(data)
    assert isinstance(key, rsa.RSAPublicKey)
    return area(key.public_numbers().n)


def area(modulus: int) -> bytes:
    body = bytes.fromhex("0001000b00050072") + bytes.fromhex("0000") + bytes.fromhex("0010") + bytes.fromhex("0014000b")
    body += (2048).to_bytes(2, "big") + bytes(4) + (256).to_bytes(2, "big") + modulus.to_bytes(256, "big")
    return len(body).to_bytes(2, "big") + body


def keylime(folder: Path) -> dict[str, bytes]:
    own = folder / "quotes/keylime"
    names = {"quote": "quote.out", "signature": "quotesig.out", "pcrs": "quotepcr.out", "ak": "ak.pub"}
    return {part: (own / file).read_bytes() for part, file in names.items()}


def rust_keylime(folder: Path) -> dict[str, bytes]:
    """Keylime's wire form, SHA-1 throughout; the key is not published beside it, so any key stands in: the hash refuses first."""
    quote, signature, pcrs = (
        base64.b64decode(part) for part in (folder / "quotes/rust-keylime-test-quote.txt").read_bytes().strip()[1:].split(b":")
    )
    ak = bytearray((folder / "swtpm/ak_sha1.pub").read_bytes())
    return {"quote": quote, "signature": signature, "pcrs": pcrs, "ak": bytes(ak)}


def trustee_tpm(folder: Path) -> dict[str, bytes]:
    """A swtpm quote with the key as SPKI and the PCRs as a list of 24."""
    text = json.loads((folder / "quotes/trustee-tpm_evidence.json").read_text())
    quote = base64.b64decode(text["tpm_quote"]["message"])
    return {
        "quote": quote,
        "signature": base64.b64decode(text["tpm_quote"]["signature"]),
        "ak": from_spki(base64.b64decode(text["ak_public"])),
        "pcrs": listed(quote, [bytes.fromhex(value) for value in text["tpm_quote"]["pcrs"]]),
    }


def azure_cvm(name: str) -> Callable[[Path], dict[str, bytes]]:
    """A confidential VM's virtual TPM: the key stands in the HCL report's runtime data, as JWK."""

    def make(folder: Path) -> dict[str, bytes]:
        text = json.loads((folder / "quotes" / name).read_text())
        report = raw(text.get("hcl_report", text.get("report")))
        start = report.index(b'{"keys"')
        keys = json.JSONDecoder().raw_decode(report[start:].decode("latin1"))[0]["keys"]
        modulus = next(key["n"] for key in keys if key["kid"] == "HCLAkPub")
        tpm = text.get("tpm_quote", text.get("quote"))
        quote = raw(tpm["message"])
        ak = area(int.from_bytes(raw(modulus), "big"))
        return {
            "quote": quote,
            "signature": with_header(raw(tpm["signature"]), parse_public(ak, "ak")),
            "ak": ak,
            "pcrs": listed(quote, [raw(value) for value in tpm["pcrs"]]),
        }

    return make


def raw(value: object) -> bytes:
    if isinstance(value, list):
        return bytes(value)
    assert isinstance(value, str)
    if len(value) % 2 == 0 and all(char in "0123456789abcdef" for char in value):
        return bytes.fromhex(value)
    return base64.urlsafe_b64decode(value.replace("+", "-").replace("/", "_") + "=" * (-len(value) % 4))


def listed(quote: bytes, values: list[bytes]) -> bytes:
    """A list of PCR values that has no labels, under those of the quote."""
    selections = parse_quote(quote).selections
    return encode_pcrs(selections, [values[pcr] for item in selections for pcr in item.pcrs])


def windows(folder: Path) -> dict[str, bytes]:
    """A dump of a Windows guest: SHA-1 signature, SHA-1 bank, no nonce."""
    text = json.loads((folder / "eventlogs/windows_gcp_shielded_vm.json").read_text())
    quote = text["Quote"]
    selections = parse_quote(base64.b64decode(quote["Quote"])).selections
    values = {item["Index"]: base64.b64decode(item["Digest"]) for item in text["Log"]["PCRs"] if item["DigestAlg"] == 3}
    public = base64.b64decode(text["AK"]["Public"])
    return {
        "quote": base64.b64decode(quote["Quote"]),
        "signature": base64.b64decode(quote["Signature"]),
        "ak": len(public).to_bytes(2, "big") + public,
        "pcrs": encode_pcrs(selections, [values[pcr] for item in selections for pcr in item.pcrs]),
    }


def protobuf(data: bytes) -> list[tuple[int, bytes]]:
    """Fields of a protobuf message: number, and bytes (varints as 8 bytes)."""

    def varint() -> int:
        nonlocal position
        value = shift = 0
        while True:
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    fields, position = [], 0
    while position < len(data):
        tag = varint()
        if tag & 7 == 0:
            fields.append((tag >> 3, varint().to_bytes(8, "big")))
        else:
            size = varint()
            fields.append((tag >> 3, data[position : position + size]))
            position += size
    return fields


def gce(name: str, bank: int) -> Callable[[Path], dict[str, bytes]]:
    """go-tpm-tools' Attestation: 1 ak_pub, 2 quotes {1 quote, 2 raw_sig, 3 pcrs {1 hash, 2 map}}, 3 event_log."""

    def make(folder: Path) -> dict[str, bytes]:
        fields = protobuf((folder / "quotes" / name).read_bytes())
        public = next(value for number, value in fields if number == 1)
        for number, value in fields:
            if number != 2:
                continue
            parts = dict(protobuf(value))
            quote = parts[1]
            (selection,) = parse_quote(quote).selections if bank != 4 else (Selection(4, tuple(range(24))),)
            if selection.bank != bank or (bank == 4 and b"\0\0\0\1\0\4\3" not in quote):
                continue
            values = {}
            for entry_number, entry in protobuf(parts[3]):
                if entry_number == 2:
                    pair = dict(protobuf(entry))
                    values[int.from_bytes(pair.get(1, b""), "big")] = pair[2]
            log = next(value for number, value in fields if number == 3)
            return {
                "quote": quote,
                "signature": parts[2],
                "ak": len(public).to_bytes(2, "big") + public,
                "pcrs": encode_pcrs((selection,), [values[pcr] for pcr in selection.pcrs]),
                "event-log": log,
            }
        raise AssertionError("no quote of that bank")

    return make


JULY = datetime(2026, 9, 1, tzinfo=UTC)
NONCE_V2 = "982f5c6e"
OTHERS = (
    Case("Azure trusted launch", azure_trusted_launch(certificates=False), {"code": "", "pcr_bank": "sha256"}),
    Case(
        "Azure certificate of another key", azure_trusted_launch(certificates=True), {"code": "tpm.ak-certificate"}, enrolled=False, at=JULY
    ),
    Case(
        "Azure certificate, expired",
        azure_trusted_launch(certificates=True),
        {"code": "pki.chain.expired"},
        at=datetime(2027, 4, 25, tzinfo=UTC),
    ),
    Case("keylime", keylime, {"code": "", "freshness": "db1db298db6d60e6385b7231743e9c3056a18003"}),
    Case("rust-keylime", rust_keylime, {"code": "tpm.signature-hash"}),
    Case("trustee", trustee_tpm, {"code": ""}),
    Case("Azure SNP v1", azure_cvm("trustee-az-snp-vtpm-evidence-v1.json"), {"code": "", "freshness": b"challenge".hex()}),
    Case("Azure SNP v2", azure_cvm("trustee-az-snp-vtpm-evidence-v2.json"), {"code": ""}),
    Case("Azure SNP Genoa", azure_cvm("trustee-az-snp-vtpm-evidence-genoa.json"), {"code": ""}),
    Case("Azure TDX", azure_cvm("trustee-az-tdx-vtpm-evidence-v1.json"), {"code": "", "freshness": b"challenge".hex()}),
    Case("Windows", windows, {"code": "tpm.signature-hash"}),
    Case(
        "GCE SHA-256",
        gce("gce-cos-85-nonce9009.pb", 0xB),
        {"code": "", "freshness": "9009", "event_log": "replayed", "debug": "off", "secure_boot": "on"},
    ),
    Case("GCE SHA-384", gce("gce-cos-85-nonce9009.pb", 0xC), {"code": "", "event_log": "replayed"}),
    Case("GCE SHA-1", gce("gce-cos-85-nonce9009.pb", 0x4), {"code": "tpm.pcr-bank"}),
    Case("GCE without nonce", gce("gce-cos-85-no-nonce.pb", 0xB), {"code": "", "freshness": ""}),
)

CASES = (*SWTPM, *OTHERS)
