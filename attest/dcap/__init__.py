"""Intel DCAP: ECDSA quotes of SGX enclaves and TDX guests, judged as Intel's own Quote Verification Library judges them.

One core for the kinds `tdx` and `sgx`: the quote's form, the PCK certificate chain, the signed collateral (TCB Info, QE Identity, CRLs),
and the evaluation of the platform's TCB. What a quote's body means is the business of the kinds.
"""
