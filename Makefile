# Two commands on a fresh machine with Python 3.11: `make run` and `make test`. Both set up .venv themselves.
PYTHON ?= python3
PROFILE ?= quick
COHORT ?= auto
ENGINE ?= sequential
JOBS ?= 1
ARGUMENTS ?=
BIN := .venv/bin

.PHONY: run test report notebooks verify benchmark clean

run: .venv/.ready
	$(BIN)/python -m kneel_lib run --profile $(PROFILE) --cohort $(COHORT) --engine $(ENGINE) --jobs $(JOBS) $(ARGUMENTS)

test: .venv/.ready
	$(BIN)/python -m pytest

report: .venv/.ready
	$(BIN)/python -m kneel_lib report

notebooks: .venv/.ready
	$(BIN)/python -m kneel_lib notebooks

verify: .venv/.ready
	$(BIN)/python -m kneel_lib verify

benchmark: .venv/.ready
	$(BIN)/python benchmarks/training_speed.py
	$(BIN)/python benchmarks/inference_speed.py

.venv/.ready: requirements.txt requirements-nodeps.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements-nodeps.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	touch $@

clean:
	rm -rf .venv build output *.egg-info
