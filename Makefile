# Two commands matter: `make demo` and `make test`. Each sets itself up.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed

.PHONY: install demo lint test picture bench lock clean

install: $(INSTALLED)

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed; name one: make PYTHON=python3.12 install")'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

demo: install
	$(BIN)/tenantry demo

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two processes, each with servers of its own: most of the time goes in waiting for a server.
test: install
	$(BIN)/pytest --numprocesses 2

# The picture of the README: a demo's own words.
picture: install
	$(BIN)/python docs/picture.py

# Half an hour on a quiet machine; `make bench ARGS="--only bare-loop --rounds 1"` asks for less.
bench: install
	$(BIN)/python -m tests.benchmarks $(ARGS)

# Pins and hashes, no addresses: the index is whatever the reader's pip is set up with.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra embedded --extra dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv dist
