# Two commands for everybody: `make run` and `make test`. Both set up what they need in .venv, from pinned, hashed requirements.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ONLY ?=
FULL ?=
# Compiled loops are cached by source: numba looks only at a function's own file, so the cache's name is all sources together.
export NUMBA_CACHE_DIR := $(CURDIR)/.tools/numba/$(shell find src -name '*.py' -print0 | sort -z | xargs -0 cat | sha1sum | cut -c1-12)

# Compiled modules are kept there, whatever the environment says: without them each process compiles two thousand files anew.
unexport PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX := $(CURDIR)/.tools/pycache

.PHONY: run test test-nightly bench lint types lock tools simbench tpm clean check

run: $(VENV)/.installed
	$(BIN)/walras run examples/rural3.toml --out runs/rural3 --fresh
	$(BIN)/walras audit runs/rural3
	$(BIN)/walras report runs/rural3

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not nightly"

test-nightly: $(VENV)/.installed-dev tools
	WALRAS_NIGHTLY=1 $(BIN)/python -m pytest -n 2 --dist worksteal

bench: $(VENV)/.installed-dev
	$(BIN)/python -m bench $(if $(ONLY),--only $(ONLY)) $(if $(FULL),--full)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-dev
	$(BIN)/mypy

check: lint types test

# node_modules: the Solidity compiler, OpenZeppelin and the anvil node, for contract artifacts and node tests
tools:
	npm ci --no-audit --no-fund

$(VENV)/bin/uv: requirements/bootstrap.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@touch $@

$(VENV)/.installed: $(VENV)/bin/uv requirements/runtime.lock pyproject.toml
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/runtime.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements/dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.lock
	@touch $@

# needs the network; writes hashes and no addresses
lock: $(VENV)/bin/uv
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate requirements/bootstrap.in -o requirements/bootstrap.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml requirements/build.in -o requirements/runtime.lock
	$(BIN)/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate pyproject.toml requirements/build.in --group dev -o requirements/dev.lock
	$(BIN)/uv pip compile -q --no-deps --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate requirements/simbench.in -o requirements/simbench.lock
	$(BIN)/uv pip compile -q --no-deps --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header --no-annotate requirements/tpm.in -o requirements/tpm.lock

# SimBench's own tables, for the tests of the importer (91 MB)
simbench: $(VENV)/bin/uv requirements/simbench.lock
	$(BIN)/uv pip install --quiet --target .tools/simbench --no-deps --require-hashes -r requirements/simbench.lock

# the adapter to a TPM 2.0, built against the system's libraries: apt-get install swtpm swtpm-tools libtss2-dev pkg-config
tpm: $(VENV)/.installed-dev requirements/tpm.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes -r requirements/tpm.lock

clean:
	rm -rf $(VENV) node_modules runs
