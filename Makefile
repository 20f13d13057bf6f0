# `make` alone says what there is.
SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help
export PATH := $(CURDIR)/.cache/tools/bin:$(PATH):$(CURDIR)/.cache/venv/bin

.PHONY: help setup setup-test build demo test interop bench quality flood fuzz check model deny advisories clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what the build needs
	@scripts/setup.sh build

setup-test:
	@scripts/setup.sh test

build: setup ## release build: target/release/trunkline
	cargo build --release --locked

demo: build ## a spoken call on this machine, from REST request to transcript
	target/release/trunkline demo

test: setup-test ## everything that a change must pass
	@scripts/gate.sh

interop: ## other people's programs against the box: a line of result for each peer
	@scripts/setup.sh interop
	@scripts/interop.sh

bench: setup ## numbers of this machine, medians and p99
	cargo bench --locked --bench gateway --bench store

quality: setup-test ## speech through the box and back, scored after ITU-T P.862: every voice, more sentences
	QUALITY_LONG=1 cargo test --locked --test e2e speech_quality:: -- --nocapture --test-threads=1

fuzz: setup ## every fuzz target with libFuzzer, FUZZ_SECONDS=300 each
	@scripts/fuzz.sh $(or $(FUZZ_SECONDS),300)

flood: setup-test ## 20,000 requests a second from forged sources while twenty calls talk
	FLOOD_SECONDS=15 cargo test --locked --test e2e flood:: -- --nocapture --test-threads=1

check: setup ## fast feedback: format, lints, unit tests
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo test --workspace --locked --lib

model: setup ## fetch the speech model into .cache/model
	scripts/fetch-model.sh .cache/model

deny: setup-test ## licences, bans and sources of the dependencies
	cargo deny --offline check licenses bans sources

advisories: setup-test ## known vulnerabilities of the dependencies (fetches the advisory database)
	cargo deny check advisories

clean: ## remove what was built and fetched
	cargo clean
	rm -rf .cache demo-out
