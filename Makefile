# One word a verb; `make` alone lists them.
FUZZ_SECONDS ?= 60
SWIFT ?= swift
STATIC = .build-static
DEBIAN = .build-debian
PACKAGE = .build-package

help:
	@echo 'build check test lint format clients volume soak demo demo-gate release release-check man deb deb-check boot bench bench-sni bench-inspect bench-dns bench-run bench-views screenshots content-figures cgroups escapes fuzz sanitize clean deps'

# Debian packages: libraries, and what the demo runs. The tests run more.
deps:
	@.ci/deps

build: deps
	$(SWIFT) build --product sluice

test: deps
	@.ci/deps tests
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build
	Tests/clients/run

# Before a commit, in a few minutes: the form, all unit tests, and the client tests of the main ways through the gate.
check: lint build
	@.ci/deps tests
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build
	Tests/clients/run -n 4 --dist loadfile test_running.py test_refusals.py test_one_path.py test_exchanges.py \
	  test_transparent.py test_socks.py test_dns.py test_policy_tools.py test_log.py test_run.py

clients: build
	@.ci/deps tests
	Tests/clients/run

# A hundred thousand requests by real clients through inspected tunnels; VOLUME=0.1 is a tenth of it.
volume: build
	@.ci/deps tests
	Tests/clients/run volume.py -s

# Honest and hostile clients on every listener for half an hour, under reloads, rotation and a disk that fills.
soak: build
	@.ci/deps tests
	Tests/clients/run soak.py -s --timeout 100000

lint:
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests Fuzz

format:
	$(SWIFT) format --in-place --recursive Package.swift Sources Tests Fuzz

# An example agent in a sandbox; the gate alone.
demo: build
	@Examples/sandbox

demo-gate: build
	@Examples/gate

# A static binary that runs without Swift, stripped.
release: deps
	$(SWIFT) build -c release --product sluice --scratch-path $(STATIC) -Xswiftc -static-executable --static-swift-stdlib
	strip -o sluice $(STATIC)/release/sluice
	@ls -l sluice

# That binary in a Debian 12 that has nothing but its base.
release-check: release
	@.ci/deps tests debootstrap
	@$(MAKE) $(DEBIAN)
	SLUICE=$$PWD/sluice DEBIAN=$$PWD/$(DEBIAN) Tests/clients/run release.py

# A Debian 12 that has nothing but its base.
$(DEBIAN):
	rm -rf $@.new
	debootstrap --variant=minbase bookworm $@.new
	mv $@.new $@

# Man pages in .build-package/man, out of what the commands say of themselves.
man: build
	@rm -rf $(PACKAGE)/man
	python3 Packaging/man.py .build/debug/sluice $(PACKAGE)/man

# A Debian package of the static binary.
deb: release
	@.ci/deps debhelper
	Packaging/deb $(PACKAGE)
	cp $(PACKAGE)/sluice_*.deb .
	@ls -l sluice_*.deb

# That package, installed, started and purged in an overlay over that Debian, and held to lintian and systemd-analyze.
deb-check: deb
	@.ci/deps tests debootstrap lintian
	@$(MAKE) $(DEBIAN)
	SLUICE=$$PWD/sluice DEBIAN=$$PWD/$(DEBIAN) PACKAGE=$$(ls $$PWD/$(PACKAGE)/sluice_*.deb) Tests/clients/run package.py

# That package in a virtual machine that systemd boots: no KVM; as root.
boot: deb
	@.ci/deps qemu-system-x86 debootstrap e2fsprogs
	PACKAGE=$$(ls $(PACKAGE)/sluice_*.deb) SYSTEM=.build-boot Tests/boot/run

# What users get is what is measured: the static binary.
bench: release
	@.ci/deps squid-openssl tinyproxy haproxy gcc libc6-dev
	python3 Benchmarks/run.py --sluice sluice

# Redirected TLS beside nginx, HAProxy and sniproxy, in a network namespace of its own: as root.
bench-sni: release
	@.ci/deps haproxy nginx-light libnginx-mod-stream sniproxy iptables gcc libc6-dev
	python3 Benchmarks/sni.py --sluice sluice

# Inspected TLS beside nginx as a reverse proxy, squid and mitmproxy, in a network namespace of its own: as root.
bench-inspect: release
	@.ci/deps nginx-light nghttp2-client iptables squid-openssl
	[ -x .venv/bench/bin/mitmdump ] || { python3 -m venv --clear .venv/bench && .venv/bench/bin/pip install -q --disable-pip-version-check mitmproxy; }
	python3 Benchmarks/inspect_tls.py --sluice sluice

# Limits of a sandbox in a virtual machine of its own, since this one may have cgroup v1: no KVM, no root.
cgroups: release
	@.ci/deps qemu-system-x86 busybox-static cpio binutils
	SLUICE=$$PWD/sluice Tests/cgroups/run

# Ways out of a sandbox, tried inside `sluice run`, inside bubblewrap and without a sandbox: as root.
escapes: build
	@.ci/deps tests
	@SLUICE=$${SLUICE:-$$PWD/.build/debug/sluice} python3 Tests/clients/support/escape_table.py

# From the start to the command's first instruction, beside unshare and bubblewrap: as root.
bench-run: release
	@.ci/deps bubblewrap gcc libc6-dev util-linux
	python3 Benchmarks/launch.py --sluice sluice

# The DNS responder beside dnsmasq and unbound.
bench-dns: release
	@.ci/deps dnsmasq-base unbound gcc libc6-dev
	python3 Benchmarks/dns.py --sluice sluice

# Views of a log of a million lines.
bench-views: release
	python3 Benchmarks/views.py --sluice sluice

# Pictures of the dashboard for docs/, of a log out of a seed.
screenshots: build
	@.ci/deps tests pngquant
	Tests/clients/run screenshots.py

# What the content checks find in the corpus, tuned and held-out, and what a 100 KiB answer costs.
content-figures: release
	@.ci/deps valgrind
	python3 Benchmarks/content.py --sluice sluice

# Each fuzz target for FUZZ_SECONDS; a finding ends it with the input in a file.
fuzz: deps
	@set -e; for target in $(filter-out Driver, $(notdir $(wildcard Fuzz/*))); do \
	  SLUICE_FUZZ=1 $(SWIFT) build --scratch-path .build-fuzz --product Fuzz$$target; \
	  mkdir -p results/fuzz/$$target; \
	  .build-fuzz/debug/Fuzz$$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
	    -artifact_prefix=results/fuzz/$$target- results/fuzz/$$target Fuzz/$$target/corpus; \
	done

# Unit tests, and the gate itself with all its clients, under the address and the thread sanitizer. Leaks of the gate
# count; those of the unit tests do not, as XCTest itself has some.
sanitize: deps
	@.ci/deps tests
	ASAN_OPTIONS=detect_leaks=0 $(SWIFT) test --sanitize=address --scratch-path .build-address
	TSAN_OPTIONS=suppressions=$$PWD/Tests/clients/thread-sanitizer $(SWIFT) test --sanitize=thread --scratch-path .build-thread
	@set -e; for sanitizer in address thread; do \
	  $(SWIFT) build --product sluice --sanitize=$$sanitizer --scratch-path .build-$$sanitizer; \
	  TSAN_OPTIONS=suppressions=$$PWD/Tests/clients/thread-sanitizer \
	    SLUICE_MORE=--no-self-sandbox SLUICE=$$PWD/.build-$$sanitizer/debug/sluice \
	    Tests/clients/run -m 'not figures and not confined'; \
	done

clean:
	rm -rf .build .build-* sluice sluice_*.deb results

.PHONY: fuzz sanitize help deps build test clients volume soak lint format demo demo-gate release release-check man deb deb-check boot bench bench-sni bench-inspect bench-dns bench-run \
  bench-views screenshots content-figures cgroups escapes clean
