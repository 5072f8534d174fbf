# Everything from a fresh clone: a Python 3.11 or later with venv, a C++ compiler and make are enough. CUDA is used where nvcc is found.
#   make demo    install with every extra and run the demo into demo-output/
#   make test    install with every extra and run the tests, but for the slow ones
#   make test-slow  the tests marked slow: kills, Ray, kernels in the interpreter and in the emulator, compilation
#   make lint    ruff, mypy, clang-format, the order of layers, the numbers of tools/house.py and the stubs, changing nothing
#   make format  apply ruff and clang-format
#   make stubs   write dataprophet/_core.pyi and dataprophet/_cuda.pyi from the compiled modules
#   make commands  write docs/commands.md from the parser
#   make sanitize  the tests of the compiled operations under AddressSanitizer and UndefinedBehaviorSanitizer, then make tsan
#   make tsan    the compiled operations on several threads under ThreadSanitizer, without Python
#   make lowest  some tests with the lowest versions of the base packages, on Python 3.11 or 3.12
#   make bench   the benchmarks, with every peer that installs, and their tables into docs/performance.md
#   make soak    faults at random times while a pool is scored, for about twenty minutes
#   make families  every family of transformers, tiny, into the table of docs/model.md; with torchvision and timm, in an environment of its own
#   make browser  the report's page in a Chromium that is there (CHROMIUM names it), through Playwright, with axe-core
#   make docs    the documentation as a site, into build/site; a link or a name that is not there stops it
#   make gpu     tests marked gpu and the benchmarks on CUDA, with the packages of the Python that is there (no downloads)
#   make release  an sdist and wheels for the Pythons that are here, tried out, into dist/; RELEASE_FLAGS=--cuda: with the CUDA module
#   make clean   remove what the targets above made

PYTHON ?= python3
VENV ?= .venv
GPU_SITE ?= $(CURDIR)/build/gpu
BENCH_OUT ?=
BENCH_FLAGS ?=
GPU_DEVICE ?= cuda
RELEASE_FLAGS ?=
CUDA ?= ON
GPU_BENCHES = $(filter-out metric,$(patsubst bench_%.py,%,$(notdir $(wildcard benchmarks/ops/bench_*.py benchmarks/model/bench_*.py))))
PIP = $(VENV)/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt

SOURCES = pyproject.toml constraints.txt CMakeLists.txt README.md LICENSE $(shell find csrc kernels dataprophet -type f -not -path '*/__pycache__/*' -not -name '*.so')
CPP = $(shell find csrc tests/native tests/cuda_emulator -name '*.cpp' -o -name '*.hpp' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' -o -name '*.inl')
SANITIZED = $(filter-out tests/ops/test_cuda%.py tests/ops/test_estimate.py tests/ops/test_interrupt.py tests/ops/test_large.py tests/ops/test_native.py tests/ops/test_reference.py,$(wildcard tests/ops/test_*.py))
LOWEST = tests/features tests/profiling/test_profile.py tests/profiling/test_unusable_features.py $(patsubst %,tests/metric/test_%.py,transfer noise) $(patsubst %,tests/ops/test_%.py,kmeans directions measure_rows)
PYTHON_FILES = $(wildcard dataprophet kernels tests benchmarks tools notebooks)

.PHONY: demo test test-slow lint format stubs commands sanitize tsan lowest bench soak families browser docs gpu release clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	$(VENV)/bin/dataprophet demo --out demo-output --overwrite

TESTS = $(VENV)/bin/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test: $(VENV)/.installed $(VENV)/.tools
	$(TESTS) -m "not slow"

test-slow: $(VENV)/.installed $(VENV)/.tools
	$(TESTS) -m slow

lint: $(VENV)/.installed $(VENV)/.tools
	$(VENV)/bin/ruff check $(PYTHON_FILES)
	$(VENV)/bin/ruff format --check $(PYTHON_FILES)
	$(VENV)/bin/mypy --strict dataprophet
	$(VENV)/bin/mypy --config-file benchmarks/mypy.ini $(wildcard benchmarks/*.py benchmarks/[!t]*/*.py)
	$(VENV)/bin/clang-format --dry-run -Werror $(CPP)
	cd $(VENV) && bin/lint-imports --no-cache $(CURDIR)/pyproject.toml
	$(VENV)/bin/python -P tools/house.py --check
	$(VENV)/bin/python -P tools/stubs.py --check

# The installed package is read, which has kernels/ in it: -P, and a folder without sources, keep this checkout off the path.
stubs: $(VENV)/.installed $(VENV)/.tools
	$(VENV)/bin/python -P tools/stubs.py

commands: $(VENV)/.installed
	$(VENV)/bin/python -P tools/commands.py

format: $(VENV)/.tools
	$(VENV)/bin/ruff check --fix $(PYTHON_FILES)
	$(VENV)/bin/ruff format $(PYTHON_FILES)
	$(VENV)/bin/clang-format -i $(CPP)

# The build tools live in the environment: builds are then incremental, and of the versions in constraints.txt.
$(VENV)/.build-tools: constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) scikit-build-core pybind11 cmake ninja
	touch $@

# Not editable: the tests run what a user installs, and an editable install would not see files added later.
$(VENV)/.installed: $(VENV)/.build-tools $(SOURCES)
	$(PIP) --no-build-isolation ".[all]"
	touch $@

$(VENV)/.tools: $(VENV)/.build-tools pyproject.toml
	$(VENV)/bin/python -c 'import tomllib; extras = tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]; print("\n".join(extras["test"] + extras["lint"]))' > $(VENV)/tools.txt
	$(PIP) -r $(VENV)/tools.txt
	touch $@

# Python itself is not instrumented, so the sanitizer's library comes first; leaks of the interpreter are not ours to report.
# Left out: tests that repeat a computation for other numbers of threads, which tsan watches, and the largest shapes.
SANITIZE_FLAGS = -k "not bits and not 1500 and not 900 and not many_centroids"
sanitize: $(VENV)/.installed $(VENV)/.tools
	$(PIP) --no-build-isolation --no-deps --upgrade --target $(CURDIR)/build/sanitize -C cmake.define.DATAPROPHET_SANITIZE=address,undefined -C cmake.define.DATAPROPHET_CUDA=OFF -C build-dir=build/sanitize-cmake .
	LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" ASAN_OPTIONS=detect_leaks=0 PYTHONPATH=$(CURDIR)/build/sanitize $(VENV)/bin/pytest --capture=sys $(SANITIZE_FLAGS) $(SANITIZED)
	$(MAKE) tsan

# One instruction set: what runs on several threads is the same for all of them.
tsan: $(VENV)/.build-tools
	$(VENV)/bin/cmake -S . -B build/tsan -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(VENV)/bin/ninja -DCMAKE_BUILD_TYPE=Release -DDATAPROPHET_CHECK=ON -DDATAPROPHET_SANITIZE=thread
	$(VENV)/bin/cmake --build build/tsan
	TSAN_OPTIONS=halt_on_error=1 build/tsan/tests/native/check 1100 1

# What pyproject.toml declares, at its lowest. The package is the one in $(VENV): its core knows no version of NumPy.
$(VENV)-lowest/.packages: $(VENV)/.build-tools pyproject.toml
	$(VENV)/bin/python -m venv $(VENV)-lowest
	$(VENV)/bin/python -c 'import tomllib; print("\n".join(each.replace(">=", "==") for each in tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"]))' > $(VENV)-lowest/lowest.txt
	$(VENV)-lowest/bin/python -m pip --disable-pip-version-check install -q --only-binary :all: -r $(VENV)-lowest/lowest.txt $(shell grep -E "^(pytest|hypothesis)==" constraints.txt)
	touch $@

lowest: $(VENV)/.installed $(VENV)-lowest/.packages
	rm -rf $(VENV)-lowest/lib/python3.*/site-packages/dataprophet*
	cp -r $(VENV)/lib/python3.*/site-packages/dataprophet* $(VENV)-lowest/lib/python3.*/site-packages/
	$(VENV)-lowest/bin/pytest $(LOWEST)

$(VENV)/.bench-tools: $(VENV)/.build-tools pyproject.toml
	$(VENV)/bin/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["bench"]))' > $(VENV)/bench.txt
	$(PIP) -r $(VENV)/bench.txt
	touch $@

# Run this on an idle machine. BENCH_FLAGS=--quick tries the benchmarks out, and then the tables stay as they are.
bench: $(VENV)/.installed $(VENV)/.bench-tools
	$(VENV)/bin/python benchmarks/run.py $(BENCH_FLAGS)
	$(if $(findstring --quick,$(BENCH_FLAGS)),,$(VENV)/bin/python benchmarks/render.py)

# BENCH_FLAGS=--quick tries it out, with a few kills.
soak: $(VENV)/.installed $(VENV)/.tools
	FLIPS=300 CUTS=100 ROUNDS=50 $(VENV)/bin/pytest tests/scoring/test_integrity.py tests/scoring/test_changed_files.py
	WHOLE=1 $(VENV)/bin/pytest tests/store/test_every_interleaving.py -k whole
	RAY_FAULTS=1 SOAK=1 $(VENV)/bin/pytest -m slow tests/scoring/test_ray.py tests/scoring/test_faults.py tests/scoring/test_profile_engine.py tests/transfer/test_selection.py tests/test_constraints.py tests/test_documents.py tests/model/test_load.py
	$(VENV)/bin/python benchmarks/run.py peak_memory soak $(BENCH_FLAGS)

# torchvision loads beside the torch of the same index alone: a pair of their own, with CUDA (5.5 GB), and not the pinned torch.
FAMILIES_TORCH ?= torch==2.14.1 torchvision==0.29.1
FAMILIES_PIP = .venv-families/bin/python -m pip --disable-pip-version-check install -q -c .venv-families/constraints.txt

families:
	$(PYTHON) -m venv .venv-families
	grep -vE '^(torch|torchvision|triton)==' constraints.txt > .venv-families/constraints.txt
	$(FAMILIES_PIP) scikit-build-core pybind11 cmake ninja pytest hypothesis $(FAMILIES_TORCH) timm num2words
	$(FAMILIES_PIP) --no-build-isolation ".[all]"
	.venv-families/bin/python -P tools/families.py --write
	.venv-families/bin/python -P -m pytest tests/model/test_families.py -k further

# Playwright downloads no browser here: `apt-get install chromium`, or CHROMIUM=/path/to/chromium. axe-core lies in the package.
browser: $(VENV)/.installed $(VENV)/.tools
	$(PIP) playwright axe-playwright-python
	$(VENV)/bin/pytest tests/report/test_browser.py

$(VENV)/.docs-tools: $(VENV)/.build-tools pyproject.toml
	$(VENV)/bin/python -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"]))' > $(VENV)/docs.txt
	$(PIP) -r $(VENV)/docs.txt
	touch $@

# Sources are read and nothing is imported, so that the package need not be installed. With --quiet nothing would stop it.
docs: $(VENV)/.docs-tools
	NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict

# Nothing is downloaded: torch, pytest, scikit-build-core, pybind11, cmake and ninja are those of $(PYTHON).
# BENCH_FLAGS=--quick tries the benchmarks out. Tests wait for compilers most of the time: several processes, where xdist
# is there. benchmarks/device.sh does all of this, and more, within ten minutes.
GPU_TESTS = $(shell grep -rl "mark[.]gpu" tests --include="test_*.py")
gpu:
	DATAPROPHET_CUDA=$(CUDA) $(PYTHON) -m pip --disable-pip-version-check install -q --no-index --no-build-isolation --no-deps --upgrade --target $(GPU_SITE) .
	PYTHONPATH=$(GPU_SITE) $(PYTHON) -P -m pytest -m gpu $$($(PYTHON) -P -c 'import xdist; print("-n 8")' 2>/dev/null) $(GPU_TESTS)
	PYTHONPATH=$(GPU_SITE) $(PYTHON) benchmarks/run.py $(GPU_BENCHES) --device $(GPU_DEVICE) $(if $(BENCH_OUT),--out $(BENCH_OUT)) $(BENCH_FLAGS)

$(VENV)-release/.tools: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)-release
	$(PYTHON) -c 'import tomllib; print("\n".join(tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["release"]))' > $(VENV)-release/tools.txt
	$(VENV)-release/bin/python -m pip --disable-pip-version-check install -q -c constraints.txt -r $(VENV)-release/tools.txt
	touch $@

# Nothing is published. The time goes into compiling: about five minutes for each Python on two cores.
release: $(VENV)-release/.tools
	$(VENV)-release/bin/python tools/release.py $(RELEASE_FLAGS)

clean:
	rm -rf $(VENV) .venv-* build dist demo-output .pytest_cache .mypy_cache .ruff_cache .hypothesis
