# heapwright: every target sets itself up; `make` alone lists them.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WORKERS ?= 3

# pytest keeps the tests' rewritten asserts as bytecode, for the workers to come.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install system demo test test-compiled test-interpreted test-checked bench fuzz lint agreement agreement-linux linux-keys advice python flights soak arrays mutants worst-cases tri-colour space-time bitmaps picture golden keys docs examples check wheel lock clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-18s %s\n", $$1, $$2}'

install: $(VENV)/installed ## make .venv with the console script in .venv/bin/heapwright

$(VENV)/installed: requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "heapwright needs Python 3.11 or later; set PYTHON=..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@$(BIN)/python -m compileall -q src # hundreds of processes of the suite import it, some told to keep no bytecode
	@touch $@

system: ## install the real allocators and a browser where that is allowed; say what is missing
	@sh tools/system_libraries.sh

demo: install system ## record a real program, replay it through every manager, write the report
	$(BIN)/heapwright demo

test: install system test-compiled test-interpreted test-checked ## the whole suite, all three ways

# Each test runs compiled in one of two ways: what drives kernels step by step with every array index
# checked, the rest as it is shipped. Tests of one manager go to one worker, which compiles it once.
STEPPED := tests/structures tests/machine tests/allocators tests/collectors tests/managers
CHECKED := tests/compiler/test_bare.py tests/compiler/test_words.py tests/tunnel/test_golden_addresses.py
# A worker that dies ends the run and is named: xdist gives its last test to a new one that waits for ever.
SPREAD := -n $(WORKERS) --dist loadgroup --max-worker-restart 0 --processor-time 12

test-compiled: install ## the suite as it is shipped, but for what test-checked runs
	$(BIN)/pytest $(SPREAD) tests $(STEPPED:%=--ignore=%)

test-interpreted: install ## kernels as plain Python, on smaller traces; real systems are asked once, by test-compiled
	HEAPWRIGHT_INTERPRET=1 $(BIN)/pytest $(SPREAD) $(STEPPED) tests/compiler tests/tunnel tests/adversary tests/trace/test_importers_scanners.py

test-checked: install ## managers and their parts, compiled with every array index checked
	NUMBA_BOUNDSCHECK=1 $(BIN)/pytest $(SPREAD) $(STEPPED) $(CHECKED)

bench: install system ## rates, sizes and start-up, then flights, against the real systems, as JSON
	$(BIN)/python -m benchmarks --output build/benchmarks.json
	$(BIN)/python -m benchmarks.flight --output build/flights.json
	$(BIN)/python -m benchmarks.arrays --output build/arrays.json
	$(BIN)/python -m benchmarks.python_recording
	$(BIN)/python -m benchmarks.takeoff
	$(BIN)/python -m benchmarks.hotspot_rates --json > build/hotspot-rates.json || true

fuzz: install ## 100,000 hostile inputs for each importer; with atheris, guided by coverage
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check atheris
	$(BIN)/python -m fuzz.run

agreement: install system ## regenerate docs/agreement*.md from real recordings; WHEELS=folder with PyTorch's; PANDAS_PYTHONS
	test -d build/recordings/full || $(BIN)/python -m benchmarks.workloads build/recordings/full --scale full
	$(BIN)/python -m benchmarks.agreement build/recordings/full
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check cmeel-mimalloc==3.4.3
	HEAPWRIGHT_TORCH="$(WHEELS)" PYTHONPATH=tests $(BIN)/python -m benchmarks.agreement_mallocs build/recordings/full
	$(BIN)/python -m benchmarks.agreement_glibc build/recordings/full
	$(BIN)/python -m benchmarks.agreement_go build/recordings/full
	$(BIN)/python -m benchmarks.agreement_space
	$(BIN)/python -m benchmarks.agreement_hotspot
	$(BIN)/python -m benchmarks.agreement_android
	$(BIN)/python -m benchmarks.agreement_cpython $(PYTHONS)
	$(BIN)/python -m benchmarks.agreement_pymalloc $(PANDAS_PYTHONS)

agreement-linux: install ## regenerate docs/agreement-linux.md from what linux-keys made; or SAMPLES=folder MEMBLOCK=library
	$(BIN)/python -m benchmarks.agreement_linux $(or $(SAMPLES),build/linux/samples) --memblock $(or $(MEMBLOCK),build/linux/memblock.so)

linux-keys: install ## build and boot real Linux kernels, write their full samples, cut tests/linux/keys: ten minutes, qemu
	$(BIN)/python -m benchmarks.linux_boot build/linux
	$(BIN)/python -m benchmarks.linux_keys build/linux/samples --memblock build/linux/memblock.so

advice: install system ## regenerate docs/advice.md: advice beside what ten programs really held
	$(BIN)/python -m benchmarks.advice -o docs/advice.md

python: install system ## regenerate docs/python-memory.md: five Python programs, predicted and run
	$(BIN)/python -m benchmarks.python_memory -o docs/python-memory.md

flights: install system ## wright in flight beside the real allocators: the tables of docs/wright.md
	$(BIN)/python -m benchmarks.flight --only churn,resize --page docs/wright.md
	$(BIN)/python -m benchmarks.flight --only programs,settings --runs 3 --page docs/wright.md
	$(BIN)/python -m benchmarks.keeping --page docs/wright.md
	$(BIN)/python -m benchmarks.misuse --page docs/wright.md

soak: install ## wright in flight for half an hour: 8 threads, phases, ends, forks (MINUTES=30)
	$(BIN)/python -m benchmarks.soak --minutes $(or $(MINUTES),30)

arrays: install system ## NumPy's arrays by four managers: the table of docs/numpy.md
	$(BIN)/python -m benchmarks.arrays --page docs/numpy.md

worst-cases: install ## regenerate docs/worst-case.md: the worst program for each manager
	$(BIN)/python -m benchmarks.worst_cases

tri-colour: install ## regenerate docs/tri-colour.md: every schedule of small programs
	$(BIN)/python -m benchmarks.tri_colour

space-time: install ## regenerate docs/space-time.md: what collectors cost at heaps of several sizes
	$(BIN)/python -m benchmarks.space_time

bitmaps: install ## regenerate docs/bitmap-cache.md: what a cache of bitmaps saves and what it costs
	$(BIN)/python -m benchmarks.bitmaps

picture: install system ## regenerate the README's picture from a real recording
	$(BIN)/python docs/make_picture.py

golden: install ## rewrite tests/golden: where every manager puts the objects of a small trace
	PYTHONPATH=tests $(BIN)/python tests/golden_addresses.py

keys: install system ## rewrite tests/managers/keys: what real mallocs and Pythons answered; LIBPYTHONS="..." PYTHONS="..."
	PYTHONPATH=tests $(BIN)/python tests/pymalloc_programs.py $(LIBPYTHONS)
	PYTHONPATH=tests $(BIN)/python tests/collector_programs.py $(PYTHONS)
	PYTHONPATH=tests $(BIN)/python tests/malloc_programs.py
	HEAPWRIGHT_GLIBC="$${HEAPWRIGHT_GLIBC:-$$($(BIN)/python -m benchmarks.glibc_packages)}" PYTHONPATH=tests $(BIN)/python tests/glibc_versions.py
	PYTHONPATH=tests $(BIN)/python tests/hotspot_programs.py
	PYTHONPATH=tests $(BIN)/python tests/java_programs.py
	PYTHONPATH=tests $(BIN)/python tests/nginx_programs.py
	PYTHONPATH=tests $(BIN)/python tests/direct_programs.py
	PYTHONPATH=tests $(BIN)/python tests/android_programs.py
	$(if $(WHEELS),PYTHONPATH=tests $(BIN)/python tests/cuda_programs.py $(WHEELS))

mutants: install ## put small faults into the code; at most one in twenty may stay unseen
	$(BIN)/python tools/mutants.py --count $(or $(COUNT),60) --seed $(or $(SEED),1)

docs: install ## the documents as a site in build/site; nothing in it comes from the network
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "build/site/index.html; with search: python3 -m http.server --directory build/site"

examples: install ## run the commands of the documents and put what they print there
	$(BIN)/python tools/examples.py README.md docs/index.md docs/tutorials/*.md docs/how-to/*.md

wheel: install ## the wheel and the source distribution, in dist/
	$(BIN)/python -m hatchling build

# What needs no compiled kernel, interpreted: see CONTRIBUTING for the time it takes.
FAST := tests/test_house.py tests/test_closure.py tests/test_docs.py tests/structures tests/machine \
  tests/insight tests/report tests/managers/test_contract.py tests/cli/test_root.py

check: lint ## the inner loop: lint, and the tests that need no compiler
	HEAPWRIGHT_INTERPRET=1 $(BIN)/pytest -q $(SPREAD) $(FAST) --deselect tests/cli/test_root.py::test_a_command_that_compiles_nothing_imports_no_compiler -k "not browser"

lint: install ## ruff and mypy
	$(BIN)/ruff check src tests benchmarks fuzz tools hatch_build.py
	$(BIN)/ruff format --check src tests benchmarks fuzz tools hatch_build.py
	$(BIN)/mypy

lock: ## renew requirements.lock from pyproject.toml
	rm -rf build/lock && $(PYTHON) -m venv build/lock
	build/lock/bin/python -m pip install --quiet --upgrade --editable '.[memray,optimise,test,lint,docs]'
	build/lock/bin/python -m pip freeze --exclude-editable --exclude heapwright > requirements.lock

clean: ## remove what the other targets made
	rm -rf $(VENV) build heapwright-demo
