"""Documents of the verbs around a release: keys, tokens, the ledger and audits. See :mod:`attest_cli.documents`."""

from __future__ import annotations

from typing import Annotated, Literal, TypedDict

from attest_cli.documents import Hex, ReasonDoc, Time, TrustDoc, VerdictDoc


class RecipientKeyDoc(TypedDict):
    """attest recipient create, attest recipient show"""

    schema: Literal["attest-recipient/1"]
    kem: str
    thumbprint: Annotated[Hex, "SHA-256 over algorithm and public key: what reports bind"]
    jwk: Annotated[dict[str, str], "the public key; the private one is never printed"]
    private_key: Annotated[str, "path of the private key's file, empty when only the public one is known"]
    public_key: Annotated[str, "path of the public key's file, empty when it was not written"]


class KeyVersionDoc(TypedDict):
    """One version of a key. Never the key itself."""

    name: str
    version: int
    state: Literal["enabled", "disabled"]
    use: Literal["production", "test-only"]
    policy: Annotated[Hex, "digest of the one policy identity that may release it"]
    policy_name: Annotated[str, "its name, empty when the broker does not have its files"]
    policy_serial: int
    created_at: Time
    custody: Annotated[str, "who can see the key when it is wrapped"]


class KeysDoc(TypedDict):
    """attest key create, list, show, rotate, disable, enable, approve"""

    schema: Literal["attest-keys/1"]
    broker: Annotated[str, "id of the broker: the audience of its tokens"]
    keys: list[KeyVersionDoc]


class IssuerDoc(TypedDict):
    """attest key issuer"""

    schema: Literal["attest-issuer/1"]
    broker: Annotated[str, "id of the broker: the audience of its tokens"]
    issuer: Annotated[str, "name of the issuer of its tokens"]
    kid: Annotated[str, "JWK thumbprint of the issuer's key (RFC 7638), base64url"]
    jwk: Annotated[dict[str, str], "the issuer's public key"]
    ledger_origin: str
    vkey: Annotated[str, "verifier key of the ledger"]
    file: Annotated[str, "where the JWK was written, empty when it was not"]


class ChallengeDoc(TypedDict):
    """attest challenge"""

    schema: Literal["attest-challenge/1"]
    broker: str
    key: str
    nonce: Annotated[Hex, "32 bytes: collect the evidence for this"]
    expires_at: Time


class ReleaseDoc(TypedDict):
    """attest release"""

    schema: Literal["attest-release/1"]
    exit_code: int
    released: bool
    verdict: VerdictDoc
    key: str
    version: Annotated[int, "0 when nothing was released"]
    custody: str
    token: Annotated[Hex, "SHA-256 of the token"]
    recipient: Hex
    ledger_origin: str
    ledger_index: Annotated[int, "-1 when nothing was released"]
    record: Annotated[Hex, "digest of the ledger entry, which names the record"]
    files: Annotated[dict[str, str], "what was written, by purpose"]


class FetchKeyDoc(TypedDict):
    """attest fetch-key"""

    schema: Literal["attest-fetch-key/1"]
    key: str
    version: int
    confirmation: Annotated[Hex, "first 8 bytes of SHA-256 over a label and the key: equal on every node that has the same key"]
    file: Annotated[str, "where the key was written, empty when it was not"]
    simulated: Annotated[bool, "as the token says: released to a simulated node"]


class TokenDoc(TypedDict):
    """attest token inspect, attest token verify"""

    schema: Literal["attest-token/1"]
    verified: Annotated[bool, "false for inspect: nothing was checked"]
    digest: Hex
    claims: Annotated[dict[str, object], "payload of the token as it stands"]


class LedgerDoc(TypedDict):
    """attest ledger init"""

    schema: Literal["attest-ledger/1"]
    origin: str
    vkey: Annotated[str, "verifier key: what others need, from you and not from the log, to check its receipts"]
    size: int
    root: Hex
    public: Annotated[str, "folder that a web server may serve"]


class FsckDoc(TypedDict):
    """attest ledger fsck"""

    schema: Literal["attest-ledger-fsck/1"]
    origin: str
    size: int
    root: Hex
    tiles: int
    bundles: int
    superseded: int
    ahead: Annotated[list[str], "files of an append that is under way or was cut off"]


class ProofDoc(TypedDict):
    """attest ledger prove"""

    schema: Literal["attest-ledger-proof/1"]
    origin: str
    index: int
    size: int
    root: Hex
    leaf: Annotated[Hex, "SHA-256 leaf hash of the entry"]
    entry: Annotated[str, "path of the entry's file"]
    receipt: Annotated[str, "path of the receipt's file"]


class LinkDoc(TypedDict):
    """One link of an audited release."""

    id: str
    title: str
    status: Literal["proved", "broken", "not-checked"]
    rests_on: Annotated[str, "what has to be believed for it"]
    detail: Annotated[str, "what was found"]
    reason: Annotated[ReasonDoc | None, "why it is not proved; null when it is"]


class RiskDoc(TypedDict):
    """What no evidence can show."""

    id: str
    text: str


class AuditedDoc(TypedDict):
    """One release, audited."""

    exit_code: int
    proved: Annotated[bool, "true only when every link is proved"]
    record: Annotated[Hex, "digest of the ledger entry, which names the record"]
    jti: Hex
    key: str
    version: int
    recipient: Hex
    broker: str
    released_at: Annotated[Time, "as the broker states it"]
    simulated: bool
    links: list[LinkDoc]
    risks: list[RiskDoc]


class AuditRecordDoc(TypedDict):
    """attest audit record"""

    schema: Literal["attest-audit-record/1"]
    exit_code: int
    source: str
    trust: TrustDoc
    ledger_key: Annotated[Literal["pinned", "broker", "none"], "pinned: the auditor brought it; broker: the broker's own word"]
    issuer_key: Annotated[Literal["pinned", "broker", "none"], "likewise"]
    release: AuditedDoc


class LoggedDoc(TypedDict):
    """One entry of a ledger that is a release."""

    index: int
    digest: Hex
    jti: Hex
    nonce: Hex
    key: str
    released_at: Time
    release: Annotated[AuditedDoc | None, "null when the record is missing or is no record"]


class AuditLedgerDoc(TypedDict):
    """attest audit ledger, attest audit key"""

    schema: Literal["attest-audit-ledger/1"]
    exit_code: int
    source: str
    key: Annotated[str, "the key whose history was asked for, empty for the whole ledger"]
    trust: TrustDoc
    ledger_key: Literal["pinned", "broker", "none"]
    issuer_key: Literal["pinned", "broker", "none"]
    origin: str
    size: int
    root: Hex
    releases: list[LoggedDoc]
    findings: Annotated[list[ReasonDoc], "what is wrong with the ledger as a whole"]
