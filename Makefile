# `make demo` needs only Python 3.11 or newer and a package index; the rest installs what it needs the same way.
VENV ?= .venv
PYTHON ?= $(shell sh .ci/pythons | head -n 1)
BIN = $(VENV)/bin

.PHONY: demo web test check format clean

demo: $(VENV)/.installed
	@$(BIN)/python -m credential_injector.demo

web: $(VENV)/.installed
	@$(BIN)/python -m credential_injector.demo web

test: $(VENV)/.installed-dev
	$(BIN)/pytest --cov

check: $(VENV)/.installed-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pip check
	$(BIN)/pytest --cov

format: $(VENV)/.installed-dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv* dist

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "No Python 3.11 or newer with venv and pip was found. Install one (on Debian: apt-get install python3 python3-venv), or name it: make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "Making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	@echo "Installing mitmproxy and what the add-on needs into $(VENV) (the first time this takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	@echo "Installing what the tests need into $(VENV) (the first time this takes a minute)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.installed
