# weir: build, test, measure. `make test` is the one test command; it installs what it needs when it is root on Debian.
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
LDFLAGS := -s -w -X main.version=$(VERSION)
# Programs that tests and benchmarks run, headers that they need, and the Debian packages they come in.
TOOLS   := tcpdump=tcpdump mergecap=wireshark-common zstd=zstd softflowd=softflowd systemd-analyze=systemd ip=iproute2 \
	nmap=nmap hping3=hping3 masscan=masscan iperf3=iperf3 curl=curl ethtool=ethtool sysctl=procps setpriv=util-linux gcc=gcc pcap-config=libpcap-dev \
	clang=clang /usr/include/bpf/bpf_helpers.h=libbpf-dev xdp-filter=xdp-tools nft=nftables bpftool=bpftool \
	ssh=openssh-client /usr/sbin/sshd=openssh-server \
	chromium=chromium /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf=fonts-dejavu-core node=nodejs npm=npm python3=python3
FUZZTIME ?= 60s
PREFIX  ?= /usr/local

export CGO_ENABLED ?= 0

.PHONY: build weir-pcap test soak bench bench-peers bench-latency fuzz golden generate lint demo install unit dist clean packages

build:
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/weir ./cmd/weir

# The same, capturing through libpcap: for what AF_PACKET cannot do. It needs gcc and libpcap's headers.
weir-pcap:
	CGO_ENABLED=1 $(GO) build -tags libpcap -trimpath -ldflags '$(LDFLAGS)' -o bin/weir-pcap ./cmd/weir

# Everything that can be checked here: all tests, those of packages with goroutines or mapped memory under the race detector, too,
# where a C compiler is at hand, and builds for the other platforms. One package at a time: live tests need the cores. Fuzz targets
# run with their seeds and with what they found before: what they may find by chance is `make fuzz`'s to look for.
test: packages
	test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet ./...
	$(GO) test -p 1 -timeout 30m ./...
	$(GO) test -timeout 30m -tags soak -run 'TestSoak(Day)?$$' -v ./sensor
	$(GO) test -tags soak -run TestLiveClockStep ./sensor/capture
	$(MAKE) unit
	if command -v gcc >/dev/null && command -v pcap-config >/dev/null; then $(MAKE) weir-pcap && CGO_ENABLED=1 $(GO) test -tags libpcap -run Pcap ./sensor/capture; \
	else echo "left out: capture through libpcap (it needs gcc and libpcap-dev)"; fi
	if command -v gcc >/dev/null; then CGO_ENABLED=1 $(GO) test -race -p 1 -timeout 20m -short ./decode/conn \
		$$($(GO) list ./sensor/... | grep -v -e /alert$$ -e /policy$$ -e /traffic); \
	else echo "left out: the race detector (it needs gcc)"; fi
	GOOS=linux GOARCH=arm64 $(GO) build -o /dev/null ./cmd/weir
	GOOS=darwin GOARCH=arm64 $(GO) build -o /dev/null ./cmd/weir

# Installs what the tests run, as root on Debian; else names it: mergecap and tcpdump are references for captures and filters.
packages:
	@missing=; for t in $(TOOLS); do command -v "$${t%%=*}" >/dev/null || [ -e "$${t%%=*}" ] || missing="$$missing $${t#*=}"; done; \
	if [ -z "$$missing" ]; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	else echo "left out: tests that need$$missing; install with: sudo apt-get install$$missing"; fi

# Live for long and under load, as root: a day of event time, ten minutes of everything, then half a minute at 300,000 and at a
# million packets a second.
soak: packages
	$(GO) test -tags soak -run TestSoakDayLive -count=1 -v -timeout 30m ./sensor
	$(GO) test -tags soak -run TestSoak -count=1 -v ./analyzers/hunt
	$(GO) test -tags soak -run TestSoakCost -count=1 -v ./sensor/store
	WEIR_SOAK=10m WEIR_LOAD=30s $(GO) test -tags soak -run 'TestSense(Soak|Load)|TestChaosSoak|TestRunForged' -count=1 -v -timeout 60m ./cmd/weir

bench:
	$(GO) test -run '^$$' -bench . -benchmem ./decode/... ./analyzers/... ./sensor/... ./bpf

# The last part, beside FastNetMon, needs root.
bench-peers: TOOLS += fastnetmon=fastnetmon
bench-peers: packages build
	tools/bench-peers
	$(GO) test -tags soak -run TestRunPeers -count=1 -v -timeout 20m ./cmd/weir

# As root, with histograms: from the packet that crosses a threshold to its alert on NATS, and from a flood's first packet to the
# first one that the gate drops.
bench-latency: packages
	$(GO) test -tags soak -run 'Test(Sense|Run)Latency' -count=1 -v -timeout 20m ./cmd/weir

# Looks for inputs that fail, a minute a target by default. What is found and mended goes under testdata/fuzz, and is a test then.
fuzz:
	tools/fuzz $(FUZZTIME)

# Rewrites the expected alerts of all golden cases and shows what changed: read the diff before you commit it.
golden:
	$(GO) test ./sensor -run TestGolden -update
	git --no-pager diff --stat -- pcaps

generate:
	$(GO) generate ./...

lint:
	cd tools && $(GO) build -o ../bin/ tool
	bin/golangci-lint run ./...

# Shipped captures and the alerts in them; as root also the page for a minute, with a scan in a network namespace of its own.
demo: build
	@tools/demo bin/weir

# The program, its configuration and the services; what is in /etc already is kept. DESTDIR and PREFIX as usual.
install: build
	DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' deploy/install bin/weir

# systemd's own check of the services, and their exposure scores.
unit: build
	tools/unit-check bin/weir

# Tarballs of a static program with all that an operator installs, and their checksums.
dist:
	rm -rf dist
	for arch in amd64 arm64; do \
		d=dist/weir-$(VERSION)-linux-$$arch; mkdir -p $$d && \
		CGO_ENABLED=0 GOOS=linux GOARCH=$$arch $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $$d/weir ./cmd/weir && \
		cp README.md LICENSE CHANGELOG.md deploy/weir.yaml deploy/weir.default deploy/*.service deploy/*.timer deploy/prometheus-rules.yaml deploy/grafana/weir.json deploy/install $$d/ && \
		tar -C dist --owner=0 --group=0 --numeric-owner --sort=name -czf $$d.tar.gz $$(basename $$d) || exit 1; \
	done
	cd dist && sha256sum *.tar.gz | tee SHA256SUMS

clean:
	rm -rf bin dist
