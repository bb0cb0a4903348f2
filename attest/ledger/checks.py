"""Every check of the ledger: one row per thing that is refused, whose id is the reason code."""

from __future__ import annotations

from typing import Final

from attest.checks import Check
from attest.errors import Outcome

_NOTE: Final = "C2SP signed-note, Format"
_VKEY: Final = "C2SP signed-note, Signatures; vkey encoding of golang.org/x/mod/sumdb/note"
_CHECKPOINT: Final = "C2SP tlog-checkpoint, Note text"
_TILES: Final = "C2SP tlog-tiles, Merkle Tree"
_BUNDLE: Final = "C2SP tlog-tiles, Log entries"
_PROOF: Final = "C2SP tlog-proof, Format"
_INCLUSION: Final = "RFC 9162 section 2.1.3.2"
_CONSISTENCY: Final = "RFC 9162 section 2.1.4.2"
_STORE: Final = "docs/architecture.md, ledger"

_ASK_LOG: Final = "get the file again from the log; when it is still wrong, the log or whoever serves it is at fault"
_FSCK: Final = "run: attest ledger fsck"

# -- keys and notes ---------------------------------------------------------------------------------------------------------
VKEY_FORM: Final = Check(
    "ledger.vkey-form", "form of the verifier key", _VKEY, Outcome.MALFORMED, "a verifier key is <name>+<8 hex digits>+<base64>"
)
VKEY_TYPE: Final = Check(
    "ledger.vkey-type",
    "signature type of the log key",
    "C2SP signed-note, Signature types",
    Outcome.MALFORMED,
    "give the log's own Ed25519 key (type 0x01), not a witness key",
)
VKEY_ID: Final = Check("ledger.vkey-id", "key id of the verifier key", _VKEY, Outcome.MALFORMED, "copy the verifier key again, whole")
KEY_NAME: Final = Check(
    "ledger.key-name",
    "name of the log key",
    _NOTE,
    Outcome.MALFORMED,
    "use a schema-less URL such as example.com/attest/keyrelease/prod: no spaces, no plus sign",
)
NOTE_SIZE: Final = Check("ledger.note-size", "size of the signed note", _NOTE, Outcome.MALFORMED, _ASK_LOG)
NOTE_CHARACTERS: Final = Check("ledger.note-characters", "characters of the signed note", _NOTE, Outcome.MALFORMED, _ASK_LOG)
NOTE_FORM: Final = Check("ledger.note-form", "form of the signed note", _NOTE, Outcome.MALFORMED, _ASK_LOG)
NOTE_DUPLICATE: Final = Check(
    "ledger.note-duplicate", "one signature for each known key", "C2SP signed-note, Signatures", Outcome.MALFORMED, _ASK_LOG
)
NOTE_UNSIGNED: Final = Check(
    "ledger.note-unsigned",
    "signature by the log key",
    "C2SP signed-note, Signatures",
    fix="check that the verifier key belongs to this log",
)
NOTE_SIGNATURE: Final = Check(
    "ledger.note-signature", "Ed25519 signature of the note", "C2SP signed-note, Ed25519 signatures; RFC 8032 section 5.1.7", fix=_ASK_LOG
)

# -- checkpoints ------------------------------------------------------------------------------------------------------------
CHECKPOINT_FORM: Final = Check("ledger.checkpoint-form", "form of the checkpoint", _CHECKPOINT, Outcome.MALFORMED, _ASK_LOG)
CHECKPOINT_SIZE: Final = Check("ledger.checkpoint-size", "tree size of the checkpoint", _CHECKPOINT, Outcome.MALFORMED, _ASK_LOG)
CHECKPOINT_ROOT: Final = Check("ledger.checkpoint-root", "root hash of the checkpoint", _CHECKPOINT, Outcome.MALFORMED, _ASK_LOG)
CHECKPOINT_EXTENSION: Final = Check(
    "ledger.checkpoint-extension",
    "no extension lines in the checkpoint",
    "C2SP tlog-checkpoint, Note text, 4 (not recommended: no monitor can audit them)",
    Outcome.MALFORMED,
    "a log of this kind has no extension lines; ask its operator what they mean",
)
CHECKPOINT_ORIGIN: Final = Check(
    "ledger.checkpoint-origin",
    "origin of the checkpoint",
    "C2SP tlog-checkpoint, Signatures",
    fix="check that checkpoint and verifier key belong to the same log",
)

# -- proofs -----------------------------------------------------------------------------------------------------------------
INCLUSION_INDEX: Final = Check("ledger.inclusion-index", "index inside the tree", f"{_INCLUSION}, step 1", fix=_ASK_LOG)
INCLUSION_LENGTH: Final = Check("ledger.inclusion-length", "length of the inclusion proof", _INCLUSION, fix=_ASK_LOG)
INCLUSION_ROOT: Final = Check(
    "ledger.inclusion-root",
    "inclusion of the entry",
    _INCLUSION,
    fix="use the entry's bytes as they were logged: an entry that was written again with the same meaning is another entry",
)
CONSISTENCY_SIZES: Final = Check("ledger.consistency-sizes", "order of the two tree sizes", _CONSISTENCY, fix=_ASK_LOG)
CONSISTENCY_LENGTH: Final = Check("ledger.consistency-length", "length of the consistency proof", _CONSISTENCY, fix=_ASK_LOG)
CONSISTENCY_OLD_ROOT: Final = Check("ledger.consistency-old-root", "old root in the consistency proof", _CONSISTENCY, fix=_ASK_LOG)
CONSISTENCY_NEW_ROOT: Final = Check("ledger.consistency-new-root", "new root in the consistency proof", _CONSISTENCY, fix=_ASK_LOG)
OTHER_LOG: Final = Check("ledger.other-log", "both checkpoints from one log", "C2SP tlog-checkpoint, Note text, 1")
ROLLBACK: Final = Check(
    "ledger.rollback",
    "no checkpoint older than the last one seen",
    "C2SP tlog-checkpoint, Signatures",
    fix="an older state was put back; find out who did it before anything else is written",
)
SPLIT_VIEW: Final = Check(
    "ledger.split-view",
    "one root for one tree size",
    "C2SP tlog-checkpoint, Signatures",
    fix="keep both checkpoints: together they prove that the log, or whoever holds its key, lied",
)
RECEIPT_FORM: Final = Check("ledger.receipt-form", "form of the receipt", _PROOF, Outcome.MALFORMED, "give a .tlog-proof file, unaltered")
RECEIPT_EXTRA: Final = Check(
    "ledger.receipt-extra",
    "no unauthenticated extra data in the receipt",
    "C2SP tlog-proof, Format (not authenticated)",
    Outcome.MALFORMED,
    "remove the line that begins with 'extra': nothing vouches for it",
)
RECEIPT_INDEX: Final = Check("ledger.receipt-index", "index in the receipt", _PROOF, Outcome.MALFORMED)
RECEIPT_HASH: Final = Check("ledger.receipt-hash", "hashes in the receipt", _PROOF, Outcome.MALFORMED)

# -- tiles and bundles ------------------------------------------------------------------------------------------------------
TILE_PATH: Final = Check(
    "ledger.tile-path", "path of the tile", _TILES, Outcome.MALFORMED, "nothing but tiles belongs into the folder tile"
)
TILE_SIZE: Final = Check("ledger.tile-size", "number of hashes in the tile", _TILES, Outcome.MALFORMED, _ASK_LOG)
TILE_MISSING: Final = Check("ledger.tile-missing", "presence of the tile", _TILES, Outcome.CANNOT_DECIDE, _ASK_LOG)
TILE_HASH: Final = Check("ledger.tile-hash", "hashes in the tile", _TILES, fix=_ASK_LOG)
BUNDLE_TRUNCATED: Final = Check("ledger.bundle-truncated", "entries of the bundle, whole", _BUNDLE, Outcome.MALFORMED, _ASK_LOG)
BUNDLE_TRAILING: Final = Check("ledger.bundle-trailing", "nothing after the bundle's entries", _BUNDLE, Outcome.MALFORMED, _ASK_LOG)
TREE_ROOT: Final = Check("ledger.tree-root", "root of the stored tree", "RFC 6962 section 2.1", fix=_FSCK)

# -- the writer -------------------------------------------------------------------------------------------------------------
ENTRY_SIZE: Final = Check(
    "ledger.entry-size",
    "size of the entry",
    f"{_BUNDLE} (u16 length)",
    Outcome.REFUSED,
    "log a digest of what is large, not the thing itself",
)
ENTRY_INDEX: Final = Check(
    "ledger.entry-index", "presence of the entry", _STORE, Outcome.CANNOT_DECIDE, "the log has no entry of that index yet"
)
EXISTS: Final = Check(
    "ledger.exists", "empty place for a new ledger", _STORE, Outcome.REFUSED, "open the ledger that is there, or choose another folder"
)
MISSING: Final = Check("ledger.missing", "presence of the ledger", _STORE, Outcome.CANNOT_DECIDE, "make one with: attest ledger init")
CHECKPOINT_MISSING: Final = Check(
    "ledger.checkpoint-missing",
    "presence of the checkpoint",
    _STORE,
    Outcome.CANNOT_DECIDE,
    "put the newest checkpoint back; a log with entries never starts over",
)
KEY_FILE: Final = Check("ledger.key-file", "form of the signing key file", _STORE, Outcome.MALFORMED, "put the log's signing key file back")
KEY_MODE: Final = Check(
    "ledger.key-mode",
    "signing key readable by its owner only",
    _STORE,
    Outcome.REFUSED,
    "chmod 600 the file; if others could read it, change the key",
)
TORN: Final = Check("ledger.torn", "unfinished bundle begins with the logged entries", _STORE, fix=_FSCK)
STORAGE: Final = Check(
    "ledger.storage",
    "access to the ledger's storage",
    _STORE,
    Outcome.CANNOT_DECIDE,
    "repair the storage and open the ledger again: what was cut off is finished first",
)

LEDGER_CHECKS: Final[tuple[Check, ...]] = (
    VKEY_FORM, VKEY_TYPE, VKEY_ID, KEY_NAME, NOTE_SIZE, NOTE_CHARACTERS, NOTE_FORM, NOTE_DUPLICATE, NOTE_UNSIGNED, NOTE_SIGNATURE,
    CHECKPOINT_FORM, CHECKPOINT_SIZE, CHECKPOINT_ROOT, CHECKPOINT_EXTENSION, CHECKPOINT_ORIGIN,
    INCLUSION_INDEX, INCLUSION_LENGTH, INCLUSION_ROOT, CONSISTENCY_SIZES, CONSISTENCY_LENGTH, CONSISTENCY_OLD_ROOT, CONSISTENCY_NEW_ROOT,
    OTHER_LOG, ROLLBACK, SPLIT_VIEW, RECEIPT_FORM, RECEIPT_EXTRA, RECEIPT_INDEX, RECEIPT_HASH,
    TILE_PATH, TILE_SIZE, TILE_MISSING, TILE_HASH, BUNDLE_TRUNCATED, BUNDLE_TRAILING, TREE_ROOT,
    ENTRY_SIZE, ENTRY_INDEX, EXISTS, MISSING, CHECKPOINT_MISSING, KEY_FILE, KEY_MODE, TORN, STORAGE,
)  # fmt: skip
"""All of the above, in the order in which docs/checks.md lists them."""
