# `make` alone says what there is.
SHELL := /usr/bin/env bash
.DEFAULT_GOAL := help
SOAK ?= 3600
RESULTS := target/bench
LOAD := cargo bench --locked --bench load --
export PATH := $(CURDIR)/.cache/tools/bin:$(PATH):$(CURDIR)/.cache/venv/bin

.PHONY: help setup setup-test build demo test interop bench bench-full quality flood fuzz check model deny advisories clean

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

bench: setup ## numbers of this machine, medians and p99, in a few minutes; as JSON in target/bench
	cargo bench --locked --bench gateway --bench store --bench floor
	$(LOAD) --setup --service engine --json $(RESULTS)/setup.json
	$(LOAD) --calls 1,10,50,200 --service echo --json $(RESULTS)/echo.json
	$(LOAD) --calls 1,10,50,200 --service bursts --json $(RESULTS)/bursts.json

bench-full: bench ## 500 calls, TLS, bad networks, bad services, set-ups, and an hour's soak (SOAK=3600 seconds)
	$(LOAD) --calls 1,10,50,200,500 --seconds 60 --service engine --json $(RESULTS)/full-engine.json
	$(LOAD) --calls 1,10,50,200,500 --seconds 60 --service echo --json $(RESULTS)/full-echo.json
	$(LOAD) --calls 1,10,50,200,500 --seconds 60 --service bursts --json $(RESULTS)/full-bursts.json
	$(LOAD) --calls 50,200 --seconds 60 --tls --json $(RESULTS)/full-tls.json
	$(LOAD) --calls 50 --seconds 60 --service stall --troubled 5 --json $(RESULTS)/full-stall.json
	$(LOAD) --calls 50 --seconds 60 --service flood --troubled 5 --json $(RESULTS)/full-flood.json
	$(LOAD) --calls 50 --seconds 60 --service deaf --troubled 5 --json $(RESULTS)/full-deaf.json
	for service in echo bursts; do \
	  $(LOAD) --calls 50 --seconds 60 --service $$service --loss 3 --jitter 30 --reorder 1 --duplicate 1 --drift 200 \
	    --json $(RESULTS)/full-network-$$service.json || exit 1; \
	  $(LOAD) --calls 50 --seconds 20 --service $$service --starve 500 \
	    --json $(RESULTS)/full-starve-$$service.json || exit 1; \
	done
	$(LOAD) --rate 100 --seconds 60 --json $(RESULTS)/full-rate-100.json
	$(LOAD) --rate 500 --seconds 60 --json $(RESULTS)/full-rate-500.json
	$(LOAD) --calls 50 --seconds $(SOAK) --service bursts --drift 200 --json $(RESULTS)/full-soak.json

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
