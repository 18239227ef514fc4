# A thin face over CMake and Ninja; CMakeLists.txt knows how things are built, tools/setup.sh what must be installed.
# Every target does its own set-up, and a second call repeats none of it.
#   make            build/tl, the library and its public header
#   make help       the other targets
BUILD ?= build
TYPE ?= RelWithDebInfo
MODEL ?=
ARGS ?=
SECONDS ?= 60
PREFIX ?= /usr/local
JOBS ?= $(shell nproc 2>/dev/null || echo 2)

# Ninja's status line belongs on a terminal; elsewhere (a log) only what goes wrong is of interest.
NINJA = ninja $(if $(MAKE_TERMOUT),,--quiet) -j $(JOBS)
CTEST = ctest --output-on-failure --no-tests=error -j $(JOBS)
comma := ,
# The CUDA kernels (minutes of nvcc, where there is one) are compiled for the plain build only. CUDA=0: not there either.
SANITIZE = -DTL_CUDA=OFF -DCMAKE_BUILD_TYPE=Sanitize -DTL_SANITIZE=
# What malloc would refuse, the sanitizers' allocators refuse too, instead of stopping the program.
export ASAN_OPTIONS = allocator_may_return_null=1
export TSAN_OPTIONS = allocator_may_return_null=1

# $(call configure,DIR,OPTIONS): only where there is no build.ninja; from then on Ninja itself runs CMake when it must.
# A folder that was configured for another source tree (a copied one) is thrown away.
define configure
	@! [ -f $(1)/CMakeCache.txt ] || grep -qxF 'CMAKE_HOME_DIRECTORY:INTERNAL=$(CURDIR)' $(1)/CMakeCache.txt || rm -rf $(1)
	@[ -f $(1)/build.ninja ] || cmake -G Ninja -DCMAKE_BUILD_TYPE=$(TYPE) $(2) $(if $(filter 0,$(CUDA)),-DTL_CUDA=OFF) $(CMAKE_ARGS) -S . -B $(1) >/dev/null
endef

.PHONY: all help build chat test check sanitize clang bench accuracy roofline fuzz check-clean install clean
.NOTPARALLEL: # one build at a time; Ninja uses the cores

all: build

help:
	@echo 'make             build $(BUILD)/tl, the library and its public header'
	@echo 'make chat        the same, fetch the default model (or MODEL=NAME) and talk to it'
	@echo 'make test        all tests, under the sanitizers too, and a build with clang'
	@echo 'make check       the tests of the plain build only'
	@echo 'make bench       compare speed with llama.cpp, in pairs (ARGS="-m FILE ...")'
	@echo 'make accuracy    compare KL divergence from exact arithmetic with llama.cpp'
	@echo 'make roofline    measure this machine: read bandwidth and int8 products'
	@echo 'make fuzz        every fuzzer for SECONDS=60'
	@echo 'make check-clean make chat and make test in a fresh Debian 12 chroot (needs root)'
	@echo 'make install     into PREFIX=/usr/local'
	@echo 'make clean       remove what was built; models and .venv stay'

build:
	@tools/setup.sh build
	$(call configure,$(BUILD))
	@$(NINJA) -C $(BUILD) product

chat: build
	@tools/setup.sh model
	@$(BUILD)/tl pull $(MODEL)
	@$(BUILD)/tl chat $(if $(MODEL),-m $(MODEL)) $(ARGS)

# The plain build comes last, so that its summary ends the output.
test: clang sanitize check

check:
	@tools/setup.sh build model test
	$(call configure,$(BUILD))
	@! grep -q 'TL_TESTS:BOOL=OFF' $(BUILD)/CMakeCache.txt || cmake -DTL_TESTS=ON $(BUILD) >/dev/null
	@$(NINJA) -C $(BUILD)
	@$(BUILD)/tl pull --quiet >/dev/null || echo 'the tests that need the default model are skipped' >&2
	@$(CTEST) --test-dir $(BUILD) $(ARGS)

# Address and undefined-behaviour sanitizers over all but the tests labelled "slow"; the thread sanitizer over those
# labelled "threads".
sanitize:
	@tools/setup.sh build model test
	$(call configure,$(BUILD)-asan,$(SANITIZE)address$(comma)undefined)
	@$(NINJA) -C $(BUILD)-asan
	@$(CTEST) --test-dir $(BUILD)-asan --label-exclude slow
	$(call configure,$(BUILD)-tsan,$(SANITIZE)thread)
	@$(NINJA) -C $(BUILD)-tsan
	@$(CTEST) --test-dir $(BUILD)-tsan --label-regex threads

# gcc builds everything else; here clang must find nothing to warn about either.
clang:
	@tools/setup.sh build model test
	$(call configure,$(BUILD)-clang,-DCMAKE_C_COMPILER=clang -DTL_CUDA=OFF)
	@$(NINJA) -C $(BUILD)-clang

bench: build
	@tools/setup.sh model bench
	@.venv/bin/python bench/compare.py --tl $(BUILD)/tl $(ARGS)

accuracy: build
	@tools/setup.sh model bench
	@.venv/bin/python tests/oracle/kl.py --tl $(BUILD)/tl --llama $(ARGS)

roofline:
	@tools/setup.sh build
	$(call configure,$(BUILD))
	@$(NINJA) -C $(BUILD) roofline
	@$(BUILD)/bench/roofline $(ARGS)

fuzz:
	@tools/setup.sh build model test
	$(call configure,$(BUILD)-fuzz,$(SANITIZE)address$(comma)undefined -DCMAKE_C_COMPILER=clang -DTL_FUZZ=ON)
	@$(NINJA) -C $(BUILD)-fuzz fuzzers
	@tools/fuzz.sh $(BUILD)-fuzz/fuzz $(SECONDS)

check-clean:
	@tools/setup.sh clean-check
	@tools/check_clean.sh $(ARGS)

install: build
	@cmake --install $(BUILD) --prefix $(PREFIX)

clean:
	rm -rf $(BUILD) $(BUILD)-asan $(BUILD)-tsan $(BUILD)-clang $(BUILD)-fuzz
