"""From a name to a policy: a folder, or one that ships."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from attest.errors import UsageError

if TYPE_CHECKING:
    from attest.policy.bundle import Policy


def policy_folder(name: str) -> Path:
    """The folder that is named: a path when it is one, otherwise a shipped policy. Raises UsageError."""
    from attest.policy.shipped import shipped_policy

    path = Path(name)
    if path.is_dir():
        return path
    if os.sep in name or name.startswith("."):
        raise UsageError.of(f"there is no policy folder {name}", fix="name a folder, or a policy that ships: attest policy list")
    return shipped_policy(name)


def load_policy(name: str) -> Policy:
    """Load the policy that is named. Raises UsageError, or MalformedError with one reason per error."""
    from attest.policy.bundle import Policy

    return Policy.load(policy_folder(name))
