# Everything starts here: `make demo` and `make test` need Python 3.11 or newer and make, nothing else.

PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name))))
PIP_VERSION := 26.3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEMO := build/demo
# Where to take torch from instead of pip's own index, for example the index of its CPU wheels.
TORCH_INDEX ?=
# Processes that run the tests; 0: the one that is started runs them itself, one after another.
PYTEST_WORKERS ?= 2
PYTEST_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test check format lock protos protos-released bench wheel clean

help: ## Say what each target does
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## Import data, train, evaluate, serve and rank, in a workspace at build/demo
	$(BIN)/recsys demo --workspace $(DEMO)

test: $(INSTALLED) ## Run the tests
	$(BIN)/pytest -n $(PYTEST_WORKERS) $(PYTEST_ARGS)

check: $(INSTALLED) ## Format, lint, types, layers, protos, then the tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	cd protos && ../$(BIN)/buf lint && ../$(BIN)/buf breaking --against released.binpb
	$(BIN)/python protos/generate.py --check
	@$(MAKE) --no-print-directory test

format: $(INSTALLED) ## Format the code and apply safe fixes
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

protos: $(INSTALLED) ## Write the stubs of recsys.v1 anew
	$(BIN)/python protos/generate.py

protos-released: $(INSTALLED) ## Hold later changes of the protos against those of now: at a release
	cd protos && ../$(BIN)/buf build --exclude-source-info -o released.binpb

bench: $(INSTALLED) ## Run the benchmarks
	@set -e; for file in benchmarks/*.py; do echo "== $$file"; $(BIN)/python $$file; done

wheel: $(INSTALLED) ## Build the distribution into dist/
	$(BIN)/python -m hatchling build -t wheel

lock: ## Write constraints.txt anew: the newest versions that pyproject.toml allows
	rm -rf build/lock
	$(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet pip==$(PIP_VERSION)
	build/lock/bin/python -m pip install --quiet --group dev
	build/lock/bin/python -m pip install --quiet --no-build-isolation --editable .
	@echo '# Exact versions of everything that is installed; written by `make lock`.' > build/constraints.txt
	build/lock/bin/python -m pip freeze --all --exclude-editable --exclude pip \
		| sed 's/+[a-z0-9.]*$$//' >> build/constraints.txt
	mv build/constraints.txt constraints.txt
	rm -rf build/lock

clean: ## Remove everything that make wrote, the virtual environment included
	rm -rf $(VENV) build dist .hypothesis .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
	find recsys plugins tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml constraints.txt Makefile
	@test -n "$(PYTHON)" && "$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed; name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet pip==$(PIP_VERSION)
ifneq ($(TORCH_INDEX),)
	$(BIN)/python -m pip install --constraint constraints.txt --index-url $(TORCH_INDEX) --no-deps torch
endif
	@.ci/torch-notice $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-build-isolation --editable .
	@touch $@
