# Commands of a checkout. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip --disable-pip-version-check --quiet
# Stamps: what was installed, so that a second `make` does nothing.
INSTALLED := $(VENV)/.installed
DEVELOPING := $(VENV)/.developing
TRAINING := $(VENV)/.training
BENCHING := $(VENV)/.benching
# A random model of Qwen3-0.6B's shape, 1.2 GB on disk.
RANDOM_MODEL := training/work/qwen3-0.6b

# LiteLLM's proxy pins what we pin otherwise: it has an environment of its own.
LITELLM := .cache/litellm/bin/litellm

.DEFAULT_GOAL := help
.PHONY: help install demo serve test test-all check fix docs bench bench-engine bench-gateway lock clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## Create .venv and install renga with what the demo needs

demo: $(INSTALLED) ## Start a server with the shipped model and talk to it through the Claude SDK
	$(BIN)/python examples/demo.py

serve: $(INSTALLED) ## Serve until interrupted
	$(BIN)/renga serve

check: $(DEVELOPING) ## Lint, format, types, architecture and docs: under a minute
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/test_architecture.py tests/test_docs.py

test: $(DEVELOPING) $(TRAINING) ## Every test but the long ones: 15 minutes on two cores at most
	$(BIN)/python -m pytest -m "not slow"

test-all: $(DEVELOPING) $(TRAINING) $(BENCHING) ## Every test
	$(BIN)/python -m pytest

fix: $(DEVELOPING) ## Format, and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(DEVELOPING) ## Write the generated parts of the docs anew
	$(BIN)/python -m docs.generate

bench: $(DEVELOPING) ## Measure the server and the machine, in one table
	$(BIN)/python -m benchmarks.serving
	$(BIN)/renga bench http

bench-engine: $(BENCHING) $(RANDOM_MODEL)/model.gguf ## Measure the engine beside its peers: half an hour on idle cores
	-$(BIN)/renga bench engine --against openvino-genai
	$(BIN)/renga bench engine --against openvino-genai,llamacpp --model $(RANDOM_MODEL)

bench-gateway: $(DEVELOPING) $(LITELLM) ## Measure what the gateway adds, beside LiteLLM's proxy
	$(BIN)/renga bench gateway --litellm $(LITELLM)

lock: | $(BIN)/python ## Resolve the dependencies anew, with hashes
	$(PIP) install 'uv>=0.9,<1'
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --extra demo -o requirements.lock pyproject.toml
	$(BIN)/uv pip compile $(LOCK_OPTIONS) --extra dev -c requirements.lock -o requirements-dev.lock pyproject.toml

clean: ## Remove what the tools left behind; .venv stays
	rm -rf build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis .cache

# One lock for every platform; no address of an index in it.
LOCK_OPTIONS := --quiet --upgrade --universal --python-version 3.11 --generate-hashes \
	--no-header --no-emit-index-url --no-emit-find-links

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "renga needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)." \
	    "Name another: make install PYTHON=python3.11" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(INSTALLED): pyproject.toml requirements.lock | $(BIN)/python
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps -e .
	@touch $@

$(DEVELOPING): requirements-dev.lock $(INSTALLED)
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

# torch is never in a lock: its build is the machine's own choice. The pin stands in pyproject.toml.
$(TRAINING): pyproject.toml $(INSTALLED)
	$(PIP) install -e '.[train]'
	@touch $@

$(BENCHING): pyproject.toml $(INSTALLED)
	$(PIP) install -e '.[bench]'
	@touch $@

$(LITELLM):
	$(PYTHON) -m venv .cache/litellm
	.cache/litellm/bin/pip --disable-pip-version-check --quiet install 'litellm[proxy]>=1.80,<2'

$(RANDOM_MODEL)/model.gguf: $(BENCHING)
	$(BIN)/python -m training.random_model --shape qwen3-0.6b --out $(RANDOM_MODEL)
