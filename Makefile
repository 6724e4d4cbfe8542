# Two commands matter: `make demo` and `make test`. Each sets itself up.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
SERVERS := tests/servers/node_modules
VERSIONS := 14 15 16 17 18

.PHONY: install demo lint test test-full coverage chaos soak mutants servers picture picture-report dashboards \
  preview bench lock clean

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

# Three processes on two cores, each with servers of its own: most of the time goes in waiting for a server. A
# file stays in one process, which shares what its tests begin from; the many small unit tests fill the end.
PROCESSES := --numprocesses 3 --dist loadfile --no-loadscope-reorder
# A test that its own time limit can't end (a thread joined on a lock that the test holds) once kept a whole run for
# 90 minutes: its process prints where it stands and goes.
GUARD := --override-ini faulthandler_timeout=600 --override-ini faulthandler_exit_on_timeout=true

test: install
	$(BIN)/pytest $(PROCESSES) $(GUARD)

# How much of `worker/` and of the stages `make test` goes through, lines and branches, in whatever process: of
# each of the two it has to be 95 %. What is gone through is kept in a SQLite file, whose statements a test that kills
# a command before each of its statements would count as the command's; and the account `nobody` can't write there.
coverage: install
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PROCESSES) $(GUARD) --ignore tests/integration/sqlite/test_killed_runs.py \
	  --deselect tests/integration/test_embedded.py::test_an_ordinary_users_server_runs_straight_from_the_wheel
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/coverage report --include 'worker/*' --format total --fail-under 95
	$(BIN)/coverage report --include 'control/stages/*' --format total --fail-under 95

# Every walk and every kill on the wheel's PostgreSQL, then what a version may do differently on each of them.
test-full: install servers
	$(BIN)/pytest $(PROCESSES) -m "full or not full"
	for version in $(VERSIONS); do \
	  TENANTRY_TEST_POSTGRES=$$version $(BIN)/pytest $(PROCESSES) --exitfirst $$(cat tests/servers/files.txt) || exit; \
	done

# Every fault against a run with a live application, about a quarter of an hour; `SEED=n` strikes elsewhere,
# `ONLY=failover` asks for one, `SOME=3` for so many that the seed chooses. Each fault has servers of its own.
chaos: install
	$(if $(SEED),SEED=$(SEED)) $(if $(SOME),SOME=$(SOME)) $(BIN)/pytest -m chaos --numprocesses 3 --dist load \
	  $(if $(ONLY),-k "$(ONLY)") tests/chaos

# 300 mistakes in the ledger, the paging, the batches and the audit, and how many of them the tests see; `SEED=n`
# makes other ones. They go into a copy of the code, the folder `mutants`.
mutants: install
	$(BIN)/python -m tests.mutants $(if $(SEED),--seed $(SEED))

# A hundred small migrations in a row, on a server and on a file, and what has grown by the end: a quarter of an
# hour; `MIGRATIONS=200` asks for more.
soak: install
	$(if $(MIGRATIONS),MIGRATIONS=$(MIGRATIONS)) $(BIN)/pytest -m soak --numprocesses 2 tests/soak

# PostgreSQL 14 to 18 out of npm; their own install script, which makes links, is called by its name.
servers: $(SERVERS)/.installed

$(SERVERS)/.installed: tests/servers/package-lock.json
	cd tests/servers && npm ci --ignore-scripts --no-audit --no-fund
	for version in $(VERSIONS); do (cd $(SERVERS)/postgres-$$version && node scripts/hydrate-symlinks.js) || exit; done
	touch $@

# The pictures of the documents: a demo's own words, and a run's own screen.
picture: install
	$(BIN)/python docs/picture.py
	$(BIN)/python docs/picture_of_status.py

# What is committed under grafana/dashboards; `make dashboards RUNBOOK=https://…` for where yours is to be read.
dashboards: install
	$(BIN)/python -m grafana.build $(if $(RUNBOOK),--runbook $(RUNBOOK))

# The pictures of docs/dashboards.md, of a migration under a real Prometheus.
preview: install
	$(BIN)/python docs/preview.py

# The picture of docs/report.md: a demo's report in Debian's Chromium.
picture-report: install
	$(BIN)/python docs/picture_report.py

# Half an hour on a quiet machine; `make bench ARGS="--only bare-loop --rounds 1"` asks for less.
bench: install
	$(BIN)/python -m tests.benchmarks $(ARGS)

# Pins and hashes, no addresses: the index is whatever the reader's pip is set up with.
lock:
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --extra embedded --extra dev --output-file requirements.lock pyproject.toml

clean:
	rm -rf .venv dist mutants
