# `make demo` needs Python 3.11 or newer and a package index. The other targets install what they need the same way.
VENV = .venv
SECONDS = 60
TESTS = tests
PYTHON = $(shell sh .ci/pythons | head -n 1)
BIN = $(VENV)/bin
# Tests wait for programs half of the time, so twice as many processes as cores; each needs seconds to begin, so 8 at most.
JOBS = $(shell cores=$$(getconf _NPROCESSORS_ONLN); [ "$$cores" -lt 4 ] && echo $$((2 * cores)) || echo 8)
# They start hundreds of processes, each of which would compile the same modules again.
PYTEST = PYTHONDONTWRITEBYTECODE= $(BIN)/pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
NODE = tests/e2e/node
CLIENTS = .venv-clients

# A virtual environment holds absolute paths. It is made again when the folder was moved or its Python is gone.
ifneq ($(wildcard $(VENV)/.made-in),)
ifneq ($(shell cat $(VENV)/.made-in; $(BIN)/python -c 'print("starts")' 2>/dev/null),$(CURDIR) starts)
$(shell rm -rf $(VENV))
endif
endif

.PHONY: demo web test check coverage static types installed lowest test-lowest bench bench-envoy fuzz pictures format clean

demo: $(VENV)/.installed
	@$(BIN)/python -m credential_injector.demo

web: $(VENV)/.installed
	@$(BIN)/python -m credential_injector.demo web

test: $(VENV)/.installed-dev $(NODE)/node_modules/.installed $(CLIENTS)/.installed
	$(PYTEST) $(TESTS)

check: static types $(NODE)/node_modules/.installed $(CLIENTS)/.installed
	$(PYTEST) --ignore=tests/e2e --ignore=tests/fuzz --cov --cov-fail-under=92
	$(PYTEST) tests/e2e tests/fuzz

# Of all tests: measuring what runs in mitmproxy makes end-to-end tests take half as long again.
coverage: $(VENV)/.installed-dev $(NODE)/node_modules/.installed $(CLIENTS)/.installed
	$(PYTEST) --cov --cov-fail-under=95

static: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(VENV)/.installed-dev
	$(BIN)/mypy
	$(BIN)/pip check

installed: $(VENV)/.installed-dev $(NODE)/node_modules/.installed $(CLIENTS)/.installed

# The unit tests with the lowest versions that users may have, and the newest test tools.
lowest:
	@$(MAKE) --no-print-directory VENV=$(VENV)-lowest test-lowest

test-lowest: $(VENV)/.installed-lowest
	$(PYTEST) --ignore=tests/e2e --ignore=tests/fuzz

fuzz: $(VENV)/.installed-dev
	-@$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m tests.fuzz $(SECONDS)

bench:
	@benchmarks/run

bench-envoy: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks.envoy

pictures: $(VENV)/.installed-dev
	@$(BIN)/python docs/pictures.py

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv* dist

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv and pip was found. Install one (on Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "$(PYTHON) is not Python 3.11 or newer. Name another one: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
	@echo "$(CURDIR)" > $(VENV)/.made-in

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing mitmproxy and what the add-on needs into $(VENV) (the first time this takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the tests need into $(VENV) (the first time this takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-lowest: pyproject.toml | $(VENV)/bin/python
	@echo "Installing the lowest versions of what the add-on needs into $(VENV) (the first time this takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile --quiet --python $(BIN)/python --resolution lowest-direct --extra redis --extra aws --output-file $(VENV)/lowest.txt pyproject.toml
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --upgrade --constraint $(VENV)/lowest.txt --editable '.[dev]'
	@touch $@

# Tests that need npm's packages are skipped where they are missing.
$(NODE)/node_modules/.installed: $(NODE)/package-lock.json
	@if command -v npm >/dev/null; then \
		echo "Installing npm's packages that the tests need"; \
		(cd $(NODE) && npm ci --silent --no-audit --no-fund && touch node_modules/.installed) \
			|| echo "npm ci failed in $(NODE): the tests that need it are skipped" >&2; \
	fi

# Clients in Python, and Go, that tests drive. What they share with mitmproxy, mitmproxy wants in older versions.
$(CLIENTS)/.installed: tests/e2e/matrix/requirements.txt | $(VENV)/bin/python
	@echo "Installing clients that tests drive into $(CLIENTS)"
	@rm -rf $(CLIENTS)
	@$(BIN)/python -m venv $(CLIENTS)
	@$(CLIENTS)/bin/python -m pip install --quiet --disable-pip-version-check --requirement $<
	@touch $@

$(VENV)/.installed-bench: pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the benchmarks need into $(VENV) (the first time this takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[bench]'
	@touch $@ $(VENV)/.installed
