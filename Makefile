# filterdb: `make extract analyze` runs the main job, `make test` the tests, `make help` lists the rest.

CONFIG ?= configs/demo.yaml
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
PYTEST := $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help extract analyze figures report probe test test-oracles test-browser soak bench lint format docs notebooks demo-zoo clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16
	@echo "CONFIG=$(CONFIG) chooses the configuration; outputs go to build/<its name>/"

# The environment is the only file that make looks after. The stages decide from hashes whether they are
# fresh, and say so.
$(VENV)/bin/filterdb: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "filterdb needs Python 3.11 or later; name one: make PYTHON=python3.12 ..."; exit 2; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --editable '.[probe]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/filterdb
	$(PIP) --editable '.[test,lint]'
	@touch $@

extract: $(VENV)/bin/filterdb  ## extract the filters of the configured zoo
	@$(BIN)/filterdb extract --config $(CONFIG)

analyze: $(VENV)/bin/filterdb  ## compute quality metrics and distribution shifts
	@$(BIN)/filterdb analyze --config $(CONFIG)

figures: $(VENV)/bin/filterdb  ## draw every figure of the analyzed data set
	@$(BIN)/filterdb figures --config $(CONFIG)

report: $(VENV)/bin/filterdb  ## write one HTML page of findings, figures and tables
	@$(BIN)/filterdb report --config $(CONFIG)

probe: $(VENV)/bin/filterdb  ## run the zoo's models over images: saturation, CKA and sparsity score
	@$(BIN)/filterdb probe saturation --config $(CONFIG)
	@$(BIN)/filterdb probe cka --config $(CONFIG)
	@$(BIN)/filterdb probe sparsity --config $(CONFIG)

test: $(VENV)/.dev  ## run the tests
	@# A test process has one core: threads of BLAS would only wait for each other.
	OPENBLAS_NUM_THREADS=1 $(PYTEST) -m "not soak and not oracle and not browser" -n auto --dist worksteal

$(VENV)-oracles/.ready: pyproject.toml constraints.txt tests/oracles/requirements.txt
	$(PYTHON) -m venv $(VENV)-oracles
	$(VENV)-oracles/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --requirement tests/oracles/requirements.txt --editable '.[test]'
	@touch $@

test-oracles: $(VENV)-oracles/.ready  ## compare with PyTorch and the field's packages (own environment)
	$(VENV)-oracles/bin/python -m pytest -m oracle tests/oracles

$(VENV)/.browser: $(VENV)/.dev
	$(PIP) --editable '.[browser]'
	@touch $@

test-browser: $(VENV)/.browser  ## look at the report in a headless Chromium (Debian: apt-get install chromium)
	$(PYTEST) -m browser tests/browser

soak: $(VENV)/.dev  ## run the long sweeps
	$(PYTEST) -m soak --timeout 7200 -o faulthandler_timeout=7500

bench: $(VENV)/.dev $(VENV)-oracles/.ready  ## measure speed and memory, and write docs/benchmarks.md (PARTS=Probes: only that)
	$(BIN)/python benchmarks/run.py $(PARTS)

lint: $(VENV)/.dev  ## check style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev  ## put the code into its one format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.dev extract analyze  ## write the generated pages
	$(BIN)/python tools/write_docs.py

notebooks: $(VENV)/.dev  ## run the notebooks, and write their outputs into them
	$(BIN)/python tools/run_notebooks.py

demo-zoo:  ## train the shipped zoo again (own environment with PyTorch)
	$(PYTHON) -m venv build/torch
	build/torch/bin/python -m pip install --quiet -r tools/requirements-demo-zoo.txt
	build/torch/bin/python tools/train_demo_zoo.py --out pipeline/filterdb/demo/zoo

clean:  ## remove outputs, caches and the environment
	rm -rf build dist $(VENV) $(VENV)-oracles .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
