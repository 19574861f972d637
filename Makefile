# Three commands on a fresh machine with Python 3.11: `make run`, `make check` and `make test`. Each sets up .venv itself.
PYTHON ?= python3
PROFILE ?= quick
COHORT ?= auto
ENGINE ?= sequential
JOBS ?= 1
WORKERS ?= logical
ARGUMENTS ?=
LAB ?= lab1
STUDENTS ?=
FROM ?= returned
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

# glibc keeps the memory that a training step frees, instead of faulting it in anew (a twentieth of a step); read at start.
run test check benchmark: export GLIBC_TUNABLES ?= glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776

.PHONY: run check test mutants format report notebooks verify benchmark course collect grade clean

run: .venv/.ready
	$(BIN)/python -m kneel_lib run --profile $(PROFILE) --cohort $(COHORT) --engine $(ENGINE) --jobs $(JOBS) $(ARGUMENTS)

# Lint, types, and the tests that train nothing: two minutes on two cores.
check: .venv/.ready-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(PYTEST) -m "not trains"

test: .venv/.ready-test
	$(PYTEST)

# How many small changes of the code the quick tests notice, on a sample (studies/mutants): half an hour.
mutants: .venv/.ready-test
	$(BIN)/python -m studies.mutants $(ARGUMENTS)

format: .venv/.ready-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

report: .venv/.ready
	$(BIN)/python -m kneel_lib report

notebooks: .venv/.ready
	$(BIN)/python -m kneel_lib notebooks

verify: .venv/.ready
	$(BIN)/python -m kneel_lib verify

benchmark: .venv/.ready
	$(BIN)/python -m studies.speed

# The labs (course/README.md): student versions of all six; what came back of one; its grades.
course: .venv/.ready-course
	$(BIN)/python -m course build $(if $(STUDENTS),--students $(STUDENTS))

collect: .venv/.ready-course
	$(BIN)/python -m course collect $(LAB) $(FROM)

grade: .venv/.ready-course
	$(BIN)/python -m course grade $(LAB)

.venv/.ready: requirements.txt requirements-nodeps.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -r requirements-nodeps.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

.venv/.ready-course: .venv/.ready requirements-course.txt
	$(PIP) -r requirements.txt -r requirements-course.txt
	touch $@

.venv/.ready-test: .venv/.ready requirements-test.txt requirements-course.txt
	$(PIP) -r requirements.txt -r requirements-course.txt -r requirements-test.txt
	touch $@

clean:
	rm -rf .venv build output *.egg-info .mypy_cache .pytest_cache .ruff_cache
