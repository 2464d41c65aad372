# The commands of this repository; `make` alone lists them. Each works on a fresh clone: .venv is made when it is needed.

.DEFAULT_GOAL := help
.PHONY: help demo test test-long soak chaos bench compare overload power-cut lint format up clean

# Tells `make-venv` which Python to use; empty takes the first of python3.13, python3.12, python3.11, python3.
PYTHON ?=
export PYTHON
MINUTES ?= 60

BIN := .venv/bin
INSTALLED := .venv/.demo-installed
DEVELOPED := .venv/.dev-installed

# GNU make exits with 2 after any recipe that fails, and adds a line of its own. So .venv is made while this file is read,
# and where it cannot be, make goes on in question mode: it runs nothing, says nothing and exits with 1.
DEMO := demo up
DEV := test test-long soak chaos bench compare overload power-cut lint format
extra := $(if $(filter $(DEV),$(MAKECMDGOALS)),dev,$(if $(filter $(DEMO),$(MAKECMDGOALS)),demo))
ifeq ($(findstring n,$(firstword -$(MAKEFLAGS)))$(filter clean,$(MAKECMDGOALS)),)
ifneq ($(if $(extra),$(shell PYTHON='$(PYTHON)' .ci/make-venv $(extra) >&2 || echo failed)),)
MAKEFLAGS += --question
endif
endif

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

demo: $(INSTALLED) ## Start everything, train on real digits, answer 1,000 predictions (about a minute)
	@$(BIN)/headrace demo

up: $(INSTALLED) ## Run the service on this machine until Ctrl-C
	@$(BIN)/headrace up

test: lint ## Lint, types, import contracts and the fast tests (at most 10 minutes)
	$(BIN)/pytest -m "not long"

test-long: $(DEVELOPED) ## The tests that need root, containers, another user or minutes
	$(BIN)/pytest -m "long and not soak"

soak: $(DEVELOPED) ## What takes longer still; results under benchmarks/results
	$(BIN)/pytest -m soak
	$(BIN)/python -m benchmarks.soak
	$(BIN)/python -m benchmarks.chaos --minutes $(MINUTES) --store

chaos: $(DEVELOPED) ## Break the running service for MINUTES (60) and check that nothing was lost
	$(BIN)/python -m benchmarks.chaos --minutes $(MINUTES) --store

bench: $(DEVELOPED) ## Measure the cost of a job; results under benchmarks/results
	$(BIN)/python -m benchmarks

compare: $(DEVELOPED) ## Measure a submit beside that of the commit BASE, by turns
	$(BIN)/python -m benchmarks.compare $(BASE)

overload: $(DEVELOPED) ## Offer three times the capacity for five minutes; results under benchmarks/results
	$(BIN)/python -m benchmarks.overload

power-cut: $(DEVELOPED) ## Measure what a power cut of the Redis machine takes; needs strace
	$(BIN)/python -m benchmarks.power_cut

lint: $(DEVELOPED) ## Style, format, types and import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEVELOPED) ## Rewrite the sources in the house format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove .venv and every cache
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .grimp_cache build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Missing only after `make clean` in the same call.
$(DEVELOPED):
	@.ci/make-venv dev

$(INSTALLED):
	@.ci/make-venv demo
