# Every task of a developer, by name. `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: bench build chaos clean demo demo-http deny dev dist docs eif-oracle eif-reproducible fuzz help lint model nitro-cli-oracle report-check scale setup test test-boot test-infra

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: build ## One DynamoDB write becomes a verified enclave, and goes away again
	@scripts/demo

demo-http: build ## An HTTPS service whose certificate its attestation vouches for, and a man in the middle
	@scripts/demo-http

dev: build ## Leave the local cloud up to play with
	@scripts/dev

test: build ## Every test
	@scripts/test

test-infra: build ## The deployment: the real terraform, policies, scripts, without AWS (part of `make test`)
	@scripts/test-infra

test-boot: build ## Real boots: the image under QEMU, then the whole system (builds QEMU once, as root)
	@scripts/setup-boot
	@scripts/test-boot

chaos: build ## Random schedules with faults, on the model and on real processes (long)
	@scripts/chaos

scale: setup ## 1,000 records at once on light hosts: memory, and time from event to launch
	@scripts/scale

model: build ## Every order of events in small worlds, by the lifecycle's own decisions
	@scripts/model

lint: ## Formatting, shell scripts and clippy
	@scripts/lint

docs: ## The API documentation
	@scripts/lint docs

deny: ## Licences, banned crates and sources of the dependencies
	@scripts/deny

bench: build ## What verifying, deciding, measuring and running an agent cost (minutes; installs faketime, libssl-dev)
	@scripts/bench

report-check: build ## The HTML reports in a browser: no request, accessible, readable (installs chromium)
	@scripts/report-check

dist: setup ## Release archives with sums and bills of materials (a quarter of an hour; scripts/dist --help)
	@scripts/dist

eif-oracle: ## Our images and measurements against AWS's own library (minutes; installs libssl-dev)
	@scripts/eif-oracle

nitro-cli-oracle: build ## What nitro-cli's own code says, as we read it; our image, as it reads it (minutes; installs libssl-dev)
	@scripts/nitro-cli-oracle

eif-reproducible: build ## Two builds of one image, in two places and at two dates: the same bytes
	@scripts/eif-reproducible

fuzz: ## The verifier under libFuzzer, 10 minutes a target (FUZZ_SECONDS changes that)
	@scripts/fuzz

setup: ## What building and testing need, once
	@scripts/setup

build: setup ## Programs, responder and test image
	@scripts/build

clean: ## Remove what was built; downloads stay in .cache and .venv
	@cargo clean
