"""A broker's folder as the command line keeps it: the broker, the key of its own verifier, and the policies of its keys.

Beside the broker's own files (:mod:`attest.release.broker`): ``issuer.key``, which signs tokens and attestation results, and
``policies/DIGEST/``, the files of every policy that a key is or was bound to, by the digest of the policy's identity.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from attest.decision import Permit
from attest.ear import issue_ear
from attest.errors import CannotDecideError, Outcome, Reason, UsageError
from attest.jose import IssuerPrivateKey
from attest.policy.bundle import Policy
from attest.release.broker import Broker, Materials, Release
from attest.release.token import JTI_BYTES, issue
from attest.verifier import Judgement, judge

if TYPE_CHECKING:
    from attest.bundle import Bundle
    from attest.release.keystore.key import KeyInfo
    from attest.trust import TrustStore

_ISSUER_KEY: Final = "issuer.key"
_POLICIES: Final = "policies"
_ISSUER: Final = "attest verifier of"


@dataclass(frozen=True, slots=True)
class Desk:
    """One broker's folder, opened."""

    folder: Path
    broker: Broker

    @classmethod
    def open(cls, folder: Path) -> Desk:
        """Open a folder. Raises UsageError when there is no broker, and what the broker raises."""
        return cls(folder, Broker.open(folder))

    @classmethod
    def open_or_create(cls, folder: Path) -> Desk:
        """Open a folder, or make a broker in it when it is empty or missing."""
        if folder.is_dir() and any(folder.iterdir()):
            return cls.open(folder)
        name = f"broker-{secrets.token_hex(4)}"
        key = IssuerPrivateKey.generate()
        broker = Broker.create(folder, broker=name, issuer=f"{_ISSUER} {name}", issuer_key=key.public, origin=f"{name}/ledger")
        key.save(folder / _ISSUER_KEY)
        return cls(folder, broker)

    # -- policies -------------------------------------------------------------------------------------------------------------

    def keep(self, policy: Policy) -> str:
        """Keep the files of a policy; its digest, which keys are bound to."""
        target = self.folder / _POLICIES / policy.identity.digest
        target.mkdir(parents=True, exist_ok=True)
        for name, data in policy.files.items():
            (target / name).write_bytes(data)
        return policy.identity.digest

    def policy_folder(self, key: KeyInfo) -> Path:
        """Where the files of a key's policy are kept."""
        return self.folder / _POLICIES / key.policy

    def policy(self, key: KeyInfo) -> Policy:
        """The policy that a key is bound to. Raises CannotDecideError when its files are not here, or are those of another one."""
        folder = self.policy_folder(key)
        message, found = "files of the key's policy are not at hand", "no files"
        fix = f"bind the key to a policy again: attest key approve {key.name} --policy NAME"
        if folder.is_dir():
            policy = Policy.load(folder)
            if policy.identity.digest == key.policy:
                return policy
            # The digest is over what the files mean to this software: its schema and engine are part of it.
            message = "the key's policy is not the one that the key was bound to: its files were altered, or attest was upgraded"
            fix = f"compare the files with your own, then bind the key again: attest key approve {key.name} --policy {folder}"
            found = f"{policy.identity.name} serial {policy.identity.serial} under {policy.identity.engine}"
        raise CannotDecideError(
            Reason(
                "broker.policy-files",
                Outcome.CANNOT_DECIDE,
                message,
                subject=key.name,
                where=str(folder),
                found=found,
                expected=f"the policy with digest {key.policy}",
                fix=fix,
            )
        )

    def policy_name(self, key: KeyInfo) -> tuple[str, int]:
        """Name and serial of a key's policy, for people; empty when its files are not here."""
        try:
            identity = self.policy(key).identity
        except (CannotDecideError, UsageError):
            return "", 0
        return identity.name, identity.serial

    # -- release --------------------------------------------------------------------------------------------------------------

    def judge(self, bundle: Bundle, key: KeyInfo, policy: Policy, *, trust: TrustStore, at: datetime) -> Judgement:
        """Judge a bundle for a key, after the broker said that it issued the bundle's nonce. Raises the broker's refusal of the nonce."""
        if bundle.nonce is not None:
            self.broker.expect(bundle.nonce, key.name, at=at)
        return judge(bundle, trust=trust, at=at, policy=policy, key=key.name, use=key.use, nonce=bundle.nonce)

    def release(self, permit: Permit, judgement: Judgement, key: KeyInfo, policy: Policy, *, at: datetime) -> Release:
        """Issue result and token for a permit, and release on it: once, with an entry in the ledger first."""
        signer = IssuerPrivateKey.load(self.folder / _ISSUER_KEY)
        ear = issue_ear(judgement, signer=signer, issued_at=at)
        own = self.broker.configuration
        token = issue(
            permit,
            signer=signer,
            issuer=own.issuer,
            audience=own.broker,
            key_version=key.version,
            issued_at=at,
            jti=secrets.token_bytes(JTI_BYTES),
            ear=ear,
        )
        return self.broker.release(token, Materials(permit, judgement.bundle, policy, ear), at=at)
