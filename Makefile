# `make demo` and `make test` do everything on a fresh machine with Python 3.11, make and git.
PYTHON ?= python3.11
VENV := $(CURDIR)/.venv
# Stages run whatever `python` is first on the PATH.
export PATH := $(VENV)/bin:$(PATH)
export DVC_NO_ANALYTICS := 1
export MLFLOW_DISABLE_TELEMETRY := true
STAMP := .venv/.installed

.PHONY: demo repro test lint explore ui train mask-control rehearsal clean

$(STAMP): requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is not on the PATH; install Python 3.11 or name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	python -m pip install --quiet --disable-pip-version-check --no-build-isolation --no-deps --editable .
	touch $@

demo: repro ## set up, run the pipeline on the embedded default, show the comparison

repro: $(STAMP)
	dvc repro --quiet

test: $(STAMP) ## set up, all tests
	python -m pytest

lint: $(STAMP) ## style, types, floors
	ruff check .
	ruff format --check .
	mypy
	lint-imports

explore: $(STAMP) ## the explorer
	bokeh serve dashboards/explorer --show

ui: $(STAMP) ## the runs
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false mlflow ui --workers 1

train: $(STAMP) ## train the embedded default's networks anew (about half an hour)
	python -m stages.prepare
	python -m stages.train
	dvc commit --force train

mask-control: $(STAMP) ## what a mask controls, as a table
	python -m modescope.control dmd2

rehearsal: $(STAMP) ## the ImageNet-64 profile from end to end, without ImageNet
	python -m benchmarks.rehearsal $(if $(SMALL),--small)

clean: ## remove what can be made again, the environment included
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis
