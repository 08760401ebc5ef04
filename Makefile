# The commands of a contributor; `make help` lists them. Nothing but make and Python 3.11 or newer is needed.
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
SHELL := /bin/sh
VENV := .venv
BIN := $(VENV)/bin

# Another interpreter: make test PYTHON=python3.13. Without it an existing .venv is kept as it is.
PYTHON ?=

# How many processes run the tests; each starts servers of its own.
PROCESSES ?= 4

.PHONY: help
help:  ## list the commands
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

.PHONY: run
run: .venv-run  ## start a demo: embedded broker, SQLite, simulated devices
	@exec $(BIN)/python main.py run --demo

.PHONY: migrate
migrate: .venv-run  ## bring the database's tables to where the service needs them
	@exec $(BIN)/python main.py migrate

.PHONY: migration
migration: .venv-run  ## write a migration for changed models: make migration msg="add houses"
	@exec $(BIN)/python main.py migrate:make "$(msg)"

.PHONY: rollback
rollback: .venv-run  ## undo the newest migration, or several: make rollback steps=2
	@exec $(BIN)/python main.py migrate:rollback $(or $(steps),1)

.PHONY: test
test: lint servers  ## check everything: linters, types, import contracts, all tests
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --max-worker-restart 0 $(ARGS)

.PHONY: soak
soak: .venv-test servers  ## do hundreds of faults to a service, about ten minutes; rewrites docs/reliability.md (bounds: ARGS="--minutes 10")
	@exec $(BIN)/python -m tests.faults.soak --report docs/reliability.md $(ARGS)

.PHONY: lint
lint: .venv-test  ## check style, types and import contracts
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@PYTHONPATH=. $(BIN)/lint-imports --no-cache --no-logo

.PHONY: format
format: .venv-test  ## rewrite the sources in the project's style
	@$(BIN)/ruff check --fix-only .
	@$(BIN)/ruff format .

.PHONY: bench
bench: .venv-bench servers  ## run the benchmarks
	@exec $(BIN)/python -m benchmarks $(ARGS)

.PHONY: lock
lock: .venv-ci  ## write requirements.lock: requirements.txt with the hashes of all files
	@$(BIN)/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host \
		--output-file requirements.lock requirements.txt

.PHONY: audit
audit: .venv-ci  ## look for known vulnerabilities in what is locked; asks an advisory service
	@$(BIN)/pip-audit --strict --require-hashes --disable-pip --progress-spinner off --requirement requirements.lock \
		|| { echo "Not passed: see above for a known vulnerability, or why the advisory service gave no answer." >&2; exit 1; }

.PHONY: servers
servers:  ## install the servers that the tests start for themselves, where missing
	@tests/servers/install.sh

.PHONY: clean
clean:  ## remove what make and the tools have built; storage/ stays
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Virtual environment. What a stamp records is the interpreter's version and a checksum of the requirements:
# file times mean nothing after a checkout.
.PHONY: .venv-run .venv-test .venv-bench .venv-ci
.venv-run:
	@$(call install,requirements.txt)
.venv-test:
	@$(call install,tests/requirements.txt)
.venv-bench: .venv-test
	@$(call install,benchmarks/requirements.txt)

.venv-ci:
	@$(call install,.ci/requirements.txt)

define install
	$(find_python); \
	version=$$("$$python" -V); \
	if [ "$$($(BIN)/python -V 2>&1)" != "$$version" ]; then \
		rm -rf $(VENV) && "$$python" -m venv $(VENV) || exit 1; \
	fi; \
	wanted="$$version $$(cat requirements.txt $(1) | cksum)"; \
	stamp=$(VENV)/installed-$(subst /,-,$(1)); \
	if [ "$$(cat $$stamp 2>/dev/null)" != "$$wanted" ]; then \
		echo "Installing $(1) into $(VENV) ($$version), once."; \
		$(BIN)/python -m pip install -qq --disable-pip-version-check --requirement $(1) || exit 1; \
		echo "$$wanted" >$$stamp; \
	fi
endef

# An interpreter counts when it really runs, is new enough and can make an environment. A version manager's shim may do
# none of that, hence the second look where pyenv keeps its interpreters.
define find_python
	python=; \
	for name in $(or $(PYTHON),$(BIN)/python python3.13 python3.12 python3.11 python3); do \
		for python in $$name $${PYENV_ROOT:-$$HOME/.pyenv}/versions/*/bin/$$name; do \
			"$$python" -c '$(new_enough); import venv, ensurepip' >/dev/null 2>&1 && break 2; \
			"$$python" -c '$(new_enough)' >/dev/null 2>&1 && incomplete=$$python; \
			python=; \
		done; \
	done; \
	if [ -z "$$python" ] && [ -n "$$incomplete" ]; then \
		echo "$$incomplete cannot make virtual environments: its venv or ensurepip module is missing." >&2; \
		echo "On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; \
		exit 1; \
	fi; \
	if [ -z "$$python" ]; then \
		found=$$($(or $(PYTHON),python3) -V 2>&1 | head -n 1); \
		echo "Mqueduct needs Python 3.11 or newer, but $(or $(PYTHON),python3) says: $$found" >&2; \
		echo "Install one (Debian, Ubuntu: sudo apt-get install python3 python3-venv) or name it: PYTHON=/path/to/python3.13" >&2; \
		exit 1; \
	fi
endef
new_enough := import sys; assert sys.version_info >= (3, 11)
