"""The transparency log of records: RFC 6962 Merkle tree, C2SP signed checkpoints and tiles, and the proofs that go with them.

:mod:`attest.ledger.store` is the one writer; :mod:`attest.ledger.proof` checks a receipt offline; everything else is the formats.
"""
