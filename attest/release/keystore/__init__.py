"""Where keys are kept. A keystore wraps a key to a recipient itself: no caller ever holds the key's bytes.

The registry is one dict from URI scheme to class, because a broker must not load code that nobody reviewed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from attest.release.checks import KEYSTORE_SCHEME
from attest.release.keystore.local import LocalKeystore

KEYSTORES: Final = {"local": LocalKeystore}


def open_keystore(uri: str, *, base: Path) -> LocalKeystore:
    """Open the keystore of a URI: ``local:FOLDER``, relative to ``base``.

    Raises the failure of ``keystore.scheme``, or what the keystore raises.
    """
    scheme, _, place = uri.partition(":")
    KEYSTORE_SCHEME.require(scheme in KEYSTORES and bool(place), found=uri[:64], expected=", ".join(f"{name}:..." for name in KEYSTORES))
    return KEYSTORES[scheme].open(base / place)
