# `make help` prints each target with the text after its ##.
FUZZ_SECONDS ?= 60
SWIFT ?= swift
STATIC = .build-static
DEBIAN = .build-debian
PACKAGE = .build-package
MAIN_CLIENTS = test_running.py test_refusals.py test_one_path.py test_exchanges.py test_transparent.py test_socks.py \
  test_dns.py test_policy_tools.py test_log.py test_run.py
RUN_MAIN_CLIENTS = Tests/clients/run -n 4 --dist loadfile $(MAIN_CLIENTS)

help: ## this list
	@sed -n 's/^\([a-z][a-z-]*\):[^#]*## \(.*\)$$/  \1|\2/p' Makefile | awk -F'|' '{ printf "%-18s %s\n", $$1, $$2 }'

deps: ## Debian packages that building and the demo need (root or sudo)
	@.ci/deps

build: deps ## debug build: .build/debug/sluice
	$(SWIFT) build --product sluice

# The main client tests run on the debug build, which checks the invariants of each exchange after each event. The
# others run on the release binary, which users get, and which takes half the time. The release build keeps one core
# busy for most of its time, so the unit tests run beside it.
test: deps ## unit tests, and client tests with real programs
	@.ci/deps tests
	$(MAKE) -j2 units release
	$(RUN_MAIN_CLIENTS)
	SLUICE=$$PWD/sluice WITHOUT='$(MAIN_CLIENTS)' Tests/clients/run

check: lint units ## lint, unit tests and the main client tests, in a few minutes
	@.ci/deps tests
	$(RUN_MAIN_CLIENTS)

units: deps ## debug build, and its unit tests
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build

clients: build ## the client tests only
	@.ci/deps tests
	Tests/clients/run

clients-page: build ## docs/clients.md out of what clients say in a sandbox (root)
	@.ci/deps tests
	CLIENTS_PAGE=write Tests/clients/run test_clients_table.py

volume: build ## 100,000 requests by real clients through inspected tunnels; VOLUME=0.1 is a tenth of it
	@.ci/deps tests
	Tests/clients/run volume.py -s

soak: build ## honest and hostile clients on every listener for half an hour
	@.ci/deps tests
	Tests/clients/run soak.py -s --timeout 100000

# Ten gates share limits while Redis stops, loses its data, fails over and moves slots. Takes ten minutes on an idle
# machine, and prints a table at the end. FLEET_SOAK=1200 runs a soak of 1200 seconds instead, while Redis comes and
# goes.
fleet: release ## ten gates that share limits, while their Redis fails (root)
	@.ci/deps tests
	SLUICE=$$PWD/sluice Tests/clients/run fleet.py -s --timeout 7200

lint: ## swift format, in strict mode
	$(SWIFT) format lint --strict --recursive Package.swift Sources Tests Fuzz

format: ## swift format, in place
	$(SWIFT) format --in-place --recursive Package.swift Sources Tests Fuzz

demo: build ## an example agent in a sandbox
	@Examples/sandbox

demo-gate: build ## the gate as a proxy, without a sandbox
	@Examples/gate

# link.map names every archive that was linked: release-check compares it with docs/licences.md.
release: deps ## one static binary, stripped: ./sluice
	. Packaging/release/facts && $(SWIFT) build -c release --product sluice --scratch-path $(STATIC) \
	  -Xswiftc -static-executable --static-swift-stdlib -Xlinker -Map=$(STATIC)/link.map
	strip -o sluice $(STATIC)/release/sluice
	@ls -l sluice

release-small: deps ## the same without Foundation, ./sluice-small: about 5 MB less; not fully tested yet
	SWIFT='$(SWIFT)' Packaging/release/build .build-small sluice-small
	@ls -l sluice-small

# The archive has the same bytes for the same commit: Packaging/release/dist says how far that goes.
dist: release ## release archive, checksums and SBOM in dist/
	Packaging/release/dist ./sluice dist

release-check: release ## test the static binary in a minimal Debian 12 without Swift (root)
	@.ci/deps tests debootstrap
	@$(MAKE) $(DEBIAN)
	SLUICE=$$PWD/sluice DEBIAN=$$PWD/$(DEBIAN) Tests/clients/run release.py

# A minimal Debian 12.
$(DEBIAN):
	rm -rf $@.new
	debootstrap --variant=minbase bookworm $@.new
	mv $@.new $@

image: release ## OCI image of the static binary by buildah, the same bytes from the same commit
	@.ci/deps buildah ca-certificates
	Packaging/image/build $(PACKAGE)
	cp $(PACKAGE)/sluice-image.tar .
	@ls -l sluice-image.tar

# Validates the manifests of Examples/kubernetes against the newest schemas, and runs the sidecar pod with podman.
kube: release ## test the image, the Kubernetes manifests and the sidecar pod (root)
	@.ci/deps buildah podman runc catatonit busybox-static ca-certificates iproute2 openssl
	SLUICE=$$PWD/sluice Tests/clients/run-logs kube.py

at-scale: build ## 100,000 lines to a collector that is killed; DuckDB, ClickHouse, rsyslog and the journal on logs of a fleet
	@.ci/deps rsyslog systemd
	Tests/clients/run-logs at_scale.py

# Generated from the help texts of the commands and from docs/policy.md.
man: build ## man pages in .build-package/man
	@rm -rf $(PACKAGE)/man
	python3 Packaging/man.py .build/debug/sluice $(PACKAGE)/man

deb: release ## a Debian package of the static binary
	@.ci/deps debhelper
	Packaging/deb $(PACKAGE)
	cp $(PACKAGE)/sluice_*.deb .
	@ls -l sluice_*.deb

deb-check: deb ## install, start and purge the package in an overlay over a minimal Debian 12 (root)
	@.ci/deps tests debootstrap lintian
	@$(MAKE) $(DEBIAN)
	SLUICE=$$PWD/sluice DEBIAN=$$PWD/$(DEBIAN) PACKAGE=$$(ls $$PWD/$(PACKAGE)/sluice_*.deb) Tests/clients/run package.py

boot: deb ## the same test in a virtual machine with systemd (root)
	@.ci/deps qemu-system-x86 debootstrap e2fsprogs
	PACKAGE=$$(ls $(PACKAGE)/sluice_*.deb) SYSTEM=.build-boot Tests/boot/run

# Benchmarks measure the static binary, since users get that one.
bench: release ## the gate beside a C relay, squid, tinyproxy and HAProxy
	@.ci/deps squid-openssl tinyproxy haproxy gcc libc6-dev
	python3 Benchmarks/run.py --sluice sluice

# Redirected TLS beside nginx, HAProxy and sniproxy, in its own network namespace: needs root.
bench-sni: release ## redirected TLS beside nginx, HAProxy and sniproxy (root)
	@.ci/deps haproxy nginx-light libnginx-mod-stream sniproxy iptables gcc libc6-dev
	python3 Benchmarks/sni.py --sluice sluice

# Inspected TLS beside nginx as a reverse proxy, squid and mitmproxy, in its own network namespace: needs root.
bench-inspect: release ## inspected TLS beside nginx, squid and mitmproxy (root)
	@.ci/deps nginx-light nghttp2-client iptables squid-openssl
	[ -x .venv/bench/bin/mitmdump ] || { python3 -m venv --clear .venv/bench && .venv/bench/bin/pip install -q --disable-pip-version-check mitmproxy; }
	python3 Benchmarks/inspect_tls.py --sluice sluice

# Tests the limits of a sandbox in a virtual machine, since this machine may have cgroup v1. Needs neither KVM nor root.
cgroups: release ## limits of a sandbox, in a virtual machine
	@.ci/deps qemu-system-x86 busybox-static cpio binutils
	SLUICE=$$PWD/sluice Tests/cgroups/run

# Tries ways out of a sandbox inside `sluice run`, inside bubblewrap and without a sandbox: needs root.
escapes: build ## try ways out of a sandbox: in sluice run, in bubblewrap and without one (root)
	@.ci/deps tests
	@SLUICE=$${SLUICE:-$$PWD/.build/debug/sluice} python3 Tests/clients/support/escape_table.py

bench-run: release ## from `sluice run` to the first instruction, beside unshare and bubblewrap (root)
	@.ci/deps bubblewrap gcc libc6-dev util-linux
	python3 Benchmarks/launch.py --sluice sluice

bench-dns: release ## the DNS server beside dnsmasq and unbound
	@.ci/deps dnsmasq-base unbound gcc libc6-dev
	python3 Benchmarks/dns.py --sluice sluice

bench-limits: release ## cost of shared limits, beside limits of one gate (redis-server)
	@.ci/deps tests
	python3 Benchmarks/shared_limits.py --sluice sluice

bench-views: release ## views of a log of a million lines
	python3 Benchmarks/views.py --sluice sluice

screenshots: build ## pictures of the dashboard for docs/
	@.ci/deps tests pngquant
	Tests/clients/run screenshots.py

# Findings of the content checks in the tuned and the held-out corpus, and their CPU time for a response of 100 KiB.
content-figures: release ## hit rates and cost of the content checks on their corpus
	@.ci/deps valgrind
	python3 Benchmarks/content.py --sluice sluice

# Runs each fuzz target for FUZZ_SECONDS. A finding ends the run, with its input in a file.
fuzz: deps ## each fuzz target for FUZZ_SECONDS (60)
	@set -e; for target in $(filter-out Driver, $(notdir $(wildcard Fuzz/*))); do \
	  SLUICE_FUZZ=1 $(SWIFT) build --scratch-path .build-fuzz --product Fuzz$$target; \
	  mkdir -p results/fuzz/$$target; \
	  .build-fuzz/debug/Fuzz$$target -max_total_time=$(FUZZ_SECONDS) -timeout=10 -print_final_stats=1 \
	    -artifact_prefix=results/fuzz/$$target- results/fuzz/$$target Fuzz/$$target/corpus; \
	done

# Runs unit tests and client tests under the address and the thread sanitizer. Leaks count in the gate only,
# since XCTest itself leaks.
sanitize: deps ## unit tests and clients under the address and the thread sanitizer
	@.ci/deps tests
	ASAN_OPTIONS=detect_leaks=0 $(SWIFT) test --sanitize=address --scratch-path .build-address
	TSAN_OPTIONS=suppressions=$$PWD/Tests/clients/thread-sanitizer $(SWIFT) test --sanitize=thread --scratch-path .build-thread
	@set -e; for sanitizer in address thread; do \
	  $(SWIFT) build --product sluice --sanitize=$$sanitizer --scratch-path .build-$$sanitizer; \
	  TSAN_OPTIONS=suppressions=$$PWD/Tests/clients/thread-sanitizer \
	    SLUICE_MORE=--no-self-sandbox SLUICE=$$PWD/.build-$$sanitizer/debug/sluice \
	    Tests/clients/run -m 'not figures and not confined'; \
	done

clean: ## remove everything that was built
	rm -rf .build .build-* sluice sluice-small sluice_*.deb dist sluice-image.tar results

.PHONY: fuzz sanitize help deps build units check test clients clients-page volume soak lint format demo demo-gate release release-small release-check image kube at-scale dist man deb deb-check boot bench bench-sni bench-inspect bench-dns bench-run \
  bench-limits bench-views screenshots content-figures cgroups escapes fleet clean
