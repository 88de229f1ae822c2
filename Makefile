# One word a verb; `make` alone lists them.
FUZZ_SECONDS ?= 60
SWIFT ?= swift
STATIC = .build-static

help:
	@echo 'build test lint format clients demo release bench clean deps'

# Debian packages: libraries, and what the tests and the demo run.
deps:
	@.ci/deps

build: deps
	$(SWIFT) build --product sluice

test: deps
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build
	SLUICE=$(CURDIR)/.build/debug/sluice Tests/clients/run

clients: build
	SLUICE=$(CURDIR)/.build/debug/sluice Tests/clients/run

lint:
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests

format:
	$(SWIFT) format --in-place --recursive Package.swift Sources Tests

demo: build
	@Examples/demo

# A static binary that runs without Swift, stripped.
release: deps
	$(SWIFT) build -c release --product sluice --scratch-path $(STATIC) -Xswiftc -static-executable --static-swift-stdlib
	strip -o sluice $(STATIC)/release/sluice
	@ls -l sluice

bench: deps
	$(SWIFT) build -c release --product sluice
	$(MAKE) -C Benchmarks/load -s 2>/dev/null || true
	Benchmarks/run.py --sluice .build/release/sluice

clean:
	rm -rf .build .build-* sluice results

.PHONY: help deps build test clients lint format demo release bench clean
