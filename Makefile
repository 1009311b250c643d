# The whole working day. Each command sets up what it needs; `make help` lists them.

# command=Debian package. Needed by test and check only; `make run` needs nothing but Python and this folder.
SYSTEM := chromium=chromium redis-server=redis-server node=nodejs npm=npm curl=curl

PYTHON ?= python3
BIN    := .venv/bin
PYTEST := $(BIN)/python -m pytest

export UV_PYTHON_DOWNLOADS := never

.DEFAULT_GOAL := help
.PHONY: help run test check bench lock clean system

help: ## this list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

run: .venv/run.stamp ## start everything: store, demo website, server; Ctrl-C stops it (PORT=8000)
	@exec $(BIN)/python serve.py

# gevent patches the server's tests as it patches a worker; a browser is driven from an unpatched process. Both mostly
# wait, so they run beside each other.
test: .venv/dev.stamp system ## all tests, the browser's included
	@failed=; said=$$(mktemp); \
	$(PYTEST) tests/browser >$$said 2>&1 & browser=$$!; \
	$(PYTEST) -p tests.patched --ignore=tests/browser --ignore=tests/js tests || failed="$$failed python"; \
	node --test --test-reporter=dot tests/js/*.test.*js || failed="$$failed javascript"; \
	wait $$browser || failed="$$failed browser"; \
	cat $$said; rm -f $$said; \
	if [ -n "$$failed" ]; then echo "make test: failed:$$failed" >&2; exit 1; fi

check: .venv/dev.stamp node_modules/.stamp ## lint, types of Python and JavaScript, documentation
	@failed=; \
	$(BIN)/ruff check . || failed="$$failed ruff"; \
	$(BIN)/mypy || failed="$$failed mypy"; \
	npx --no-install tsc -p . || failed="$$failed tsc"; \
	$(PYTEST) tests/test_docs.py tests/test_docs_protocol.py tests/test_floors.py || failed="$$failed docs"; \
	if [ -n "$$failed" ]; then echo "make check: failed:$$failed" >&2; exit 1; fi

bench: .venv/run.stamp ## this product beside a plain Flask handler, on this machine
	@$(BIN)/python bench/run.py

lock: ## resolve pyproject.toml anew into the two requirements files (needs uv)
	@command -v uv >/dev/null || { echo "make lock: uv is not on PATH. Install it: pip install uv" >&2; exit 1; }
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml -o requirements.txt
	uv pip compile --universal --python-version 3.11 --generate-hashes --no-header --extra dev pyproject.toml -o requirements-dev.txt

clean: ## remove what was installed and built here; data/ stays
	rm -rf .venv node_modules .pytest_cache .mypy_cache .ruff_cache bench/out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# ---- set-up ----

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Parlance needs Python 3.11 or later; '$(PYTHON)' is not. Name another: make PYTHON=python3.12 ..." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { rm -rf .venv; echo "No virtual environment could be made: apt-get install python3-venv" >&2; exit 1; }

# uv is faster but knows nothing of pip's configured indexes, so pip has the last word.
install = { command -v uv >/dev/null && VIRTUAL_ENV=.venv uv pip install --quiet --require-hashes -r $(1) 2>/dev/null; } || \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r $(1)

.venv/run.stamp: requirements.txt | .venv/bin/python
	@echo "Installing what Parlance needs ..."
	@$(call install,requirements.txt)
	@touch $@

.venv/dev.stamp: requirements-dev.txt | .venv/bin/python
	@echo "Installing what Parlance and its tests need ..."
	@$(call install,requirements-dev.txt)
	@touch $@ .venv/run.stamp

node_modules/.stamp: package.json package-lock.json | system
	@npm ci --silent --no-audit --no-fund
	@touch $@

# RUNLEVEL=1: redis-server is installed but not started as a service.
system:
	@missing=; for pair in $(SYSTEM); do \
		command -v $${pair%%=*} >/dev/null || missing="$$missing $${pair##*=}"; \
	done; \
	[ -z "$$missing" ] && exit 0; \
	if ! command -v apt-get >/dev/null; then echo "Please install:$$missing" >&2; exit 1; fi; \
	if [ "$$(id -u)" = 0 ]; then sudo=; elif command -v sudo >/dev/null; then sudo=sudo; \
	else echo "Please install, as root: apt-get install$$missing" >&2; exit 1; fi; \
	echo "Installing$$missing ..."; \
	quiet="env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1"; \
	$$sudo apt-get update -qq && $$sudo $$quiet apt-get install -y -qq --no-install-recommends $$missing
