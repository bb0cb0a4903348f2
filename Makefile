# Two commands are enough to see what this is and that it works:
#   make demo    real evidence judged, a key released to an attested node, the release audited
#   make test    everything that CI runs
# `make help` lists the others.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: help demo test check corpus flips bench docs-check tpm-fixtures lock clean setup
.DEFAULT_GOAL := help

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

$(STAMP): requirements/dev.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.x")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

setup: $(STAMP)  ## the virtual environment, every package pinned by hash

demo: $(STAMP)  ## real evidence judged, a key released to a simulated node, the release audited offline
	@$(BIN)/python tests/documents.py docs/tutorial.md --show --into build/demo

test: check  ## what CI runs: checks and all tests
	$(BIN)/python -m pytest -q -n 2 --dist worksteal

check: $(STAMP)  ## formatting, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@if grep -rnE 'https?://[^ ]*(packages|simple)/' requirements/; then echo "requirements name a package index"; exit 1; fi

corpus: $(STAMP)  ## every case of ATTEST_CORPUS against its expected verdict
	$(BIN)/python tests/corpus_cases.py

flips: $(STAMP)  ## every bit flip, truncation and extension of the accepted fixtures must be refused
	$(BIN)/python tests/flips.py

bench: $(STAMP)  ## time of verification, decision and the whole command beside the bare signature checks
	$(BIN)/python -m pytest -q -p no:xdist tests/bench --benchmark-enable

tpm-fixtures: $(STAMP)  ## record fixtures/tpm anew on a software TPM (needs swtpm, swtpm-tools, tpm2-tools)
	$(BIN)/python tests/record_tpm_fixtures.py

docs-check: $(STAMP)  ## every command block of the docs, held to its stated exit code
	$(BIN)/python tests/documents.py docs/tutorial.md docs/policies.md docs/audit.md

lock:  ## renew requirements/*.txt (needs uv)
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 pyproject.toml -o requirements/run.txt
	uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --extra dev pyproject.toml -o requirements/dev.txt

clean:  ## remove everything that the targets made
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
