# What one does with this tree. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
CARGO ?= cargo
export PATH := $(PATH):/usr/sbin:/sbin:$(HOME)/.cargo/bin

.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-all chaos fuzz bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s%s\n", $$1, $$2 }'

setup: ## install what is missing: Debian packages, pkilint, Pebble
	@.ci/setup

build: ## the release binary, target/release/chancery
	$(CARGO) build --release --locked

demo: setup ## the main job on real parts, start to end, in under a minute once built
	$(CARGO) build --locked
	@.ci/demo

test: setup ## every test, against real peers
	$(CARGO) test --locked --workspace --features faults --no-fail-fast

fuzz: setup ## every parser against input that is wrong, each for FUZZ_SECONDS (600), from a new seed
	FUZZ_SECONDS=$${FUZZ_SECONDS:-600} $(CARGO) test --locked --features faults --test fuzz -- --nocapture

chaos: setup ## callers, and kills at random under them, on both engines for CHAOS_SECONDS (600)
	CHAOS_SECONDS=$${CHAOS_SECONDS:-600} $(CARGO) test --locked --features faults --test process chaos -- --nocapture

test-all: ## what CI runs, then ten minutes of kills at random, then every parser fuzzed for a minute from a new seed
	@.ci/run
	@$(MAKE) --no-print-directory chaos
	@FUZZ_SECONDS=60 $(MAKE) --no-print-directory fuzz

bench: setup ## the figures of the README; PEERS=1 runs OpenBao beside, SCALE=1 all of it at a million certificates
	$(CARGO) bench --locked --bench service

clean: ## all that was built or brought here
	rm -rf target
