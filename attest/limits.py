"""Every bound in one place: sizes in bytes, depths and counts as numbers, ages as timedelta.

A bound is checked before the thing it bounds is read. Each says why it has its value.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

# -- text formats ---------------------------------------------------------------------------------------------------------
MAX_JSON_BYTES: Final = 8 << 20  # a bundle of 8 GPUs, a CPU and RIMs is about 0.5 MB
MAX_JSON_DEPTH: Final = 32
MAX_CBOR_BYTES: Final = 1 << 20
MAX_CBOR_DEPTH: Final = 16
MAX_BASE64_BYTES: Final = 8 << 20
MAX_HEX_BYTES: Final = 1 << 20
MAX_XML_BYTES: Final = 256 << 10  # the largest RIM seen has 26 kB

# -- certificates ---------------------------------------------------------------------------------------------------------
MAX_CERTIFICATE_BYTES: Final = 8 << 10  # the largest real one seen has 2.1 kB
MAX_CHAIN_LENGTH: Final = 8
MAX_PEM_BYTES: Final = 64 << 10
MAX_CRL_BYTES: Final = 1 << 20
MAX_OCSP_BYTES: Final = 16 << 10
MAX_TCB_DOCUMENT_BYTES: Final = 256 << 10  # TCB Info and QE Identity; the largest seen has 16 kB
MAX_FETCHED_BYTES: Final = 1 << 20  # any one piece of collateral as a service sends it

# -- evidence and bundles -------------------------------------------------------------------------------------------------
MAX_EVIDENCE_PART_BYTES: Final = 128 << 10
MAX_DEVICES: Final = 64  # an HGX system has 13
MAX_BUNDLE_FILES: Final = 512
MAX_BUNDLE_BYTES: Final = 8 << 20
MAX_NOTE_BYTES: Final = 4 << 10  # a remark for people; a bundle and all else that a record holds must fit into MAX_RECORD_BYTES
NONCE_BYTES: Final = 32

# -- policy (host rule H1: parsers and evaluators of expressions recurse; both bounds hold on a stack of 1 MiB) -------------
MAX_POLICY_BYTES: Final = 256 << 10
MAX_POLICY_NESTING: Final = 32  # brackets inside brackets; the shipped policies have 3
MAX_POLICY_DEPTH: Final = 96  # depth of an expression: brackets and the operators of `a && b && ...` on the way down
MAX_REFERENCE_BYTES: Final = 256 << 10

# -- time -----------------------------------------------------------------------------------------------------------------
MAX_CLOCK_SKEW: Final = timedelta(seconds=60)
MAX_TOKEN_LIFE: Final = timedelta(seconds=60)
TOKEN_LIFE: Final = timedelta(seconds=30)
CHALLENGE_LIFE: Final = timedelta(minutes=5)

# -- ledger (C2SP tlog-tiles: an entry's length is a u16) -------------------------------------------------------------------
MAX_ENTRY_BYTES: Final = 65_535
MAX_RECORD_BYTES: Final = 16 << 20
MAX_CHECKPOINT_BYTES: Final = 128 << 10  # signed-note asks for room for 16 signatures of nearly 5 kB each
MAX_PROOF_HASHES: Final = 63
MAX_TREE_SIZE: Final = 2**63 - 1
MAX_KEY_NAME_BYTES: Final = 255  # a log's name is a URL without its scheme

# -- release --------------------------------------------------------------------------------------------------------------
MAX_TOKEN_BYTES: Final = 8 << 10  # 3 kB with the largest recipient key
MAX_EAR_BYTES: Final = 512 << 10  # a few kB for each device
MAX_KEY_VERSION: Final = 2**31 - 1
MAX_RELEASE_ENTRY_BYTES: Final = 16 << 10  # ledger entries hold digests only; large ones would be somebody's data
MAX_OPEN_CHALLENGES: Final = 100_000  # unused nonces of the last five minutes; 10 MB of database
