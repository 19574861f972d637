# Three commands on a fresh machine with Python 3.11: `make run`, `make check` and `make test`. Each sets up .venv itself.
PYTHON ?= python3
PROFILE ?= quick
COHORT ?= auto
ENGINE ?=
JOBS ?=
WORKERS ?= logical
ARGUMENTS ?=
NOTEBOOK ?= 03
SEEDS ?= 0 1
FOLDS ?= 0 1 2
RECORD ?=
LAB ?= lab1
STUDENTS ?=
FROM ?= returned
BOOK ?= build/book
SLIDES ?= build/slides
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(WORKERS) --maxprocesses 4 --dist loadgroup --no-loadscope-reorder

# glibc keeps the memory that a training step frees, instead of faulting it in anew (a twentieth of a step); read at start.
run sweep certify test test-all check benchmark lab: export GLIBC_TUNABLES ?= glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776

.PHONY: run sweep certify check test test-all mutants format report notebooks verify benchmark book slides lab app course collect grade clean

run: .venv/.ready
	$(BIN)/python -m kneel_lib run --profile $(PROFILE) --cohort $(COHORT) $(if $(ENGINE),--engine $(ENGINE)) $(if $(JOBS),--jobs $(JOBS)) \
		$(ARGUMENTS)

# Lint, types, and the tests that train nothing: two to five minutes on two cores.
check: .venv/.ready-test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(PYTEST) -m "not trains"

test: .venv/.ready-test
	$(PYTEST) -m "not slow"

# And those that take many minutes each: the study on the crops, clusters that lose a worker.
test-all: .venv/.ready-test
	$(PYTEST)

# How many small changes of the code the quick tests notice, on a sample (studies/mutants): half an hour.
mutants: .venv/.ready-test
	$(BIN)/python -m studies.mutants $(ARGUMENTS)

format: .venv/.ready-test
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

# A grid of notebooks over seeds and folds, gathered in one table (docs/commands.md).
sweep: .venv/.ready
	$(BIN)/python -m kneel_lib sweep --notebook $(NOTEBOOK) --seeds $(SEEDS) $(if $(FOLDS),--folds $(FOLDS)) --profile $(PROFILE) \
		--cohort $(COHORT) $(ARGUMENTS)

# All notebooks again, held against the tables that RECORD=1 keeps (docs/certificate.md).
certify: .venv/.ready
	$(BIN)/python -m studies.certify $(if $(RECORD),--record --profile $(PROFILE)) $(ARGUMENTS)

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

# The web book: stored notebooks and pages, nothing executed, nothing from another host. A warning is an error.
book: .venv/.ready-book
	$(BIN)/python -m sphinx -q -E -W --keep-going -c docs -d $(BOOK)-read . $(BOOK)
	@echo "the book: $(BOOK)/index.html"

# Chapters 00 to 04 as reveal.js slides.
slides: .venv/.ready-book
	$(BIN)/python docs/slides.py $(SLIDES)

# JupyterLab on the notebooks: this environment's kernel and no other, and no question to the network.
lab: export JUPYTER_PREFER_ENV_PATH = 1
lab: .venv/.ready
	$(BIN)/python -m jupyterlab --ServerApp.root_dir=. --LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb \
		--KernelSpecManager.allowed_kernelspecs="{'python3'}" --LabApp.extension_manager=readonly --LabApp.news_url=None \
		--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate $(ARGUMENTS)

# A page in the browser: drop a radiograph, correct its landmarks, save them (app/README.md). On this machine alone.
app: .venv/.ready-app
	$(BIN)/python -m app $(ARGUMENTS)

.venv/.ready: requirements.txt requirements-nodeps.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(PIP) -r requirements.txt
	$(PIP) --no-deps -r requirements-nodeps.txt
	$(PIP) --no-deps --no-build-isolation -e .
	touch $@

.venv/.ready-course: .venv/.ready requirements-course.txt
	$(PIP) -r requirements.txt -r requirements-course.txt
	touch $@

.venv/.ready-book: .venv/.ready requirements-book.txt
	$(PIP) -r requirements.txt -r requirements-book.txt
	touch $@

.venv/.ready-app: .venv/.ready requirements-app.txt
	$(PIP) -r requirements.txt -r requirements-app.txt
	touch $@

.venv/.ready-test: .venv/.ready requirements-test.txt requirements-course.txt requirements-book.txt requirements-app.txt
	$(PIP) -r requirements.txt -r requirements-course.txt -r requirements-book.txt -r requirements-app.txt -r requirements-test.txt
	touch $@

clean:
	rm -rf .venv build output *.egg-info .mypy_cache .pytest_cache .ruff_cache
