"""Fetching collateral: the only room that opens a client connection. Verification never does."""
