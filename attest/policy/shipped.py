"""The policies that ship with the project: where they are, and which there are."""

from __future__ import annotations

from pathlib import Path

from attest.errors import UsageError
from attest.policy.finding import MANIFEST, did_you_mean


def shipped_policies() -> Path:
    """The folder of shipped policies: inside the installed package, or beside it in a source tree."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "_policies"
    return installed if installed.is_dir() else package.parent / "policies"


def shipped_names() -> tuple[str, ...]:
    """Names of the shipped policies."""
    return tuple(sorted(path.parent.name for path in shipped_policies().glob(f"*/{MANIFEST}")))


def shipped_policy(name: str) -> Path:
    """Folder of one shipped policy. Raises UsageError for a name that is none of them."""
    names = shipped_names()
    if name not in names:
        raise UsageError.of(f"no policy called {name!r} ships with attest", found=name, fix=did_you_mean(name, names, label="policies"))
    return shipped_policies() / name
