# Targets carry their help after "##"; `make help` prints them.
SHELL   := /bin/bash
GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/mqadmin/mqadmin/internal/version.Version=$(VERSION)
BUILD   := CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)'
LINT    := $(GO) tool -modfile=scripts/tools/lint.mod golangci-lint

.DEFAULT_GOAL := help
.PHONY: help build demo test race lint fmt proto generated released man cross fuzz nightly bench microbench chaos soak check clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  %-10s %s\n", $$1, $$2}' Makefile

build: ## Build bin/broker and bin/mqadmin, version stamped
	$(BUILD) -o bin/ ./cmd/broker ./cmd/mqadmin

demo: build ## Start a three-node cluster, prove that nothing is lost, leave it running until Ctrl-C
	$(GO) run ./scripts/demo -bin bin

test: ## Run every test
	$(GO) test ./...

race: ## Run every test under the race detector
	$(GO) test -race ./...

lint: ## Check style and likely bugs
	$(GO) vet ./...
	$(LINT) run

fmt: ## Rewrite the sources in the house's format
	$(LINT) fmt

proto: ## Generate Go code and docs/api.md from the .proto files; check that the API only grows
	scripts/proto.sh

generated: proto ## Fail when committed generated code is not current
	@git diff --exit-code -- api docs/api.md internal/meta/metapb internal/cluster/clusterpb || { echo 'generated code is stale: commit what "make proto" wrote' >&2; exit 1; }

released: ## Make the API of now the one that later ones are compared with (for a release)
	$(GO) tool -modfile=scripts/tools/buf.mod buf build proto --exclude-source-info -o proto/released.binpb

man: ## Write the man pages of mqadmin into dist/man
	$(GO) run ./scripts/man dist/man

cross: ## Compile for the other systems that we support
	@for t in linux/arm64 darwin/arm64 windows/amd64; do \
		echo "build $$t"; \
		GOOS=$${t%/*} GOARCH=$${t#*/} CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/broker && \
		GOOS=$${t%/*} GOARCH=$${t#*/} CGO_ENABLED=0 $(GO) build -o /dev/null ./cmd/mqadmin || exit 1; \
	done

fuzz: ## Run every fuzz target for FUZZTIME (5s), two at a time
	scripts/fuzz.sh $(or $(FUZZTIME),5s)

nightly: ## Run every fuzz target for a minute
	scripts/fuzz.sh 60s

bench: ## Measure the broker beside mosquitto and mochi (docs/performance.md); BENCH=-quick for a short one
	$(GO) run ./scripts/bench $(BENCH)

microbench: ## Run the benchmarks of every package
	$(GO) test -run '^$$' -bench . -benchmem ./internal/...

chaos: ## Kill the broker 50 times (KILLS) and cut the disk 3000 times (SEEDS) in the midst of traffic
	$(GO) test -count=1 -v -timeout 30m ./internal/chaos -kills $(or $(KILLS),50)
	$(GO) test -count=1 -timeout 30m -run Crash ./internal/session -seeds $(or $(SEEDS),3000)
	$(GO) test -count=1 -timeout 30m -run Crash ./internal/msgstore -seeds $(or $(SEEDS),3000)

soak: ## Long queues at full length: a million messages (MESSAGES) offline, and in one burst; attacks on a broker process; a thousand clusters (SEEDS) under faults
	$(GO) test -count=1 -v -timeout 60m -run 'Long|Burst' ./internal/queue -messages $(or $(MESSAGES),1000000)
	$(GO) test -count=1 -v -timeout 30m ./internal/hostile -soak
	$(GO) test -count=1 -v -timeout 60m -run RandomWorkload ./internal/simulation -seeds $(or $(SEEDS),1000)

check: test race lint generated cross fuzz ## What CI runs, and the fuzz targets for 5 s each

clean: ## Remove what was built and the demo's data
	rm -rf bin dist data
