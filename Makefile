# What people and CI run. `make` lists it.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory --no-builtin-rules

CRD := crds/buckethead.dev_bucketdatabases.yaml
OPENAPI := docs/openapi.json
CACHE := $(or $(BUCKETHEAD_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/buckethead)

.PHONY: help run test deep e2e bench fmt crd openapi rights install-yaml testbench image cluster-up cluster-down clean-tools audit lint book diagrams resource-docs cli-docs metrics-docs \
  lint-fmt lint-clippy lint-deny lint-docs lint-crd lint-openapi lint-book lint-pages lint-chart lint-shell lint-links lint-unsafe lint-version lint-actions version release

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## build and serve examples/ on http://127.0.0.1:8080, data in .buckethead
	@exec cargo run --locked -- dev --manifests examples/ --data .buckethead --listen 127.0.0.1:8080 --s3-listen 127.0.0.1:9100

test: ## all tests; installs etcd, kube-apiserver, MinIO and the rest at the first time
	@testbench/tools.sh all >/dev/null
	@testbench/chart.sh server
	@cargo test --workspace --locked --no-fail-fast

e2e: ## the image, the charts and the operator as a Pod, in a cluster that starts and ends with it (SCENARIO=name for one)
	@e2e/run.sh $(SCENARIO)

deep: ## sanitizers, Miri, chosen schedules and fuzzers on the engine, a thousand kills, histories of clients, and scenarios again and again; more than an hour, not in CI (PART=kills KILLS=200)
	@testbench/deep.sh $(or $(PART),all)

lint: lint-fmt lint-shell lint-links lint-unsafe lint-deny lint-clippy lint-deep lint-docs lint-crd lint-openapi lint-book lint-pages lint-chart lint-version lint-actions ## all checks that run no test

lint-fmt:
	@cargo fmt --all --check

lint-clippy:
	@cargo clippy --quiet --workspace --all-targets --locked -- -D warnings
	@cargo clippy --quiet --workspace --test e2e --locked -- -D warnings

# `make deep` builds parts of the engine by themselves, which a new arrow between its files breaks. Fuzzers have no dependencies of tests.
lint-deep: CHECK = CARGO_TARGET_DIR=$(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/deep-check cargo check --quiet --manifest-path fuzz/Cargo.toml --locked
lint-deep:
	@$(CHECK) --package messages
	@$(CHECK) --package memory --package pages --all-targets

lint-docs:
	@RUSTDOCFLAGS='-D warnings -A rustdoc::private-intra-doc-links' cargo doc --quiet --workspace --no-deps --document-private-items --locked

lint-deny:
	@$$(testbench/tools.sh deny)/cargo-deny --log-level error check --hide-inclusion-graph bans licenses sources

lint-crd:
	@cargo run --quiet --locked -- crd | diff -u $(CRD) - || { echo '$(CRD) is stale: run `make crd`' >&2; exit 1; }

lint-openapi:
	@cargo run --quiet --locked -- openapi | diff -u $(OPENAPI) - || { echo '$(OPENAPI) is stale: run `make openapi`' >&2; exit 1; }
	@$$(testbench/tools.sh openapi)/validate $(OPENAPI)

lint-book:
	@testbench/book.sh check

# Pages that are made of what the code prints.
lint-pages cli-docs: PROGRAM = $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)/debug/buckethead
lint-pages:
	@testbench/book.sh resource | diff -u docs/resource.md - || { echo 'docs/resource.md is stale: run `make resource-docs`' >&2; exit 1; }
	@cargo build --quiet --locked --bin buckethead
	@$(PROGRAM) metrics | diff -u docs/metrics.md - || { echo 'docs/metrics.md is stale: run `make metrics-docs`' >&2; exit 1; }
	@testbench/book.sh cli $(PROGRAM) | diff -u docs/cli.md - || { echo 'docs/cli.md is stale: run `make cli-docs`' >&2; exit 1; }

lint-chart:
	@testbench/chart.sh check

lint-shell:
	@$$(testbench/tools.sh shell)/shellcheck .ci/run testbench/*.sh e2e/*.sh

# The version is written down in many places. Both it and the test look at the lock files, whose crates the parts above have fetched.
lint-version:
	@testbench/release.sh check
	@testbench/release.sh test

lint-actions:
	@$$(testbench/tools.sh actions)/actionlint -shellcheck "$$(testbench/tools.sh shell)/shellcheck" .github/workflows/*.yaml

lint-links:
	@testbench/links.sh

# The compiler denies it, but each file could allow itself.
lint-unsafe:
	@! grep -rnE --include='*.rs' '\bunsafe([[:space:]{(]|$$)|allow\(unsafe_code' src tests e2e | grep -vE '^src/engine/vfs/ffi\.rs:|:[0-9]+: *//' || { echo 'unsafe code belongs into src/engine/vfs/ffi.rs' >&2; exit 1; }

audit: ## look for known vulnerabilities; fetches the advisory database, so it needs the internet
	@$$(testbench/tools.sh deny)/cargo-deny check advisories

bench: ## measure, beside peers in the same run; writes target/bench/AREA.json (AREA=engine, views, durability, sync, controller, http, seed)
	@cargo bench --workspace --locked --bench $(or $(AREA),engine)

fmt: ## format the sources
	@cargo fmt --all

crd: ## write crds/ anew from the code, and the copies of the charts
	@mkdir -p $(dir $(CRD))
	@cargo run --quiet --locked -- crd >$(CRD).new
	@mv $(CRD).new $(CRD)
	@for chart in charts/*/; do cp $(CRD) $${chart}files/; done

openapi: ## write docs/openapi.json anew from the code
	@cargo run --quiet --locked -- openapi >$(OPENAPI).new
	@mv $(OPENAPI).new $(OPENAPI)

book: ## build the guides in docs/ as a book, in target/book
	@testbench/book.sh build

diagrams: ## write docs/diagrams/*.svg anew from the graphs beside them
	@testbench/book.sh diagrams

resource-docs: ## write docs/resource.md anew from crds/
	@testbench/book.sh resource >docs/resource.md.new
	@mv docs/resource.md.new docs/resource.md

cli-docs: ## write docs/cli.md anew from what the commands say of themselves
	@cargo build --quiet --locked --bin buckethead
	@testbench/book.sh cli $(PROGRAM) >docs/cli.md.new
	@mv docs/cli.md.new docs/cli.md

metrics-docs: ## write docs/metrics.md anew from what the code counts
	@cargo run --quiet --locked -- metrics >docs/metrics.md.new
	@mv docs/metrics.md.new docs/metrics.md

rights: ## write the rules of the chart's roles anew from the code
	@for part in namespaces cluster own; do \
	  cargo run --quiet --locked -- rbac --part $$part >charts/buckethead/files/rights/$$part.yaml; done

install-yaml: ## write deploy/ and the charts' examples anew, after a change of a chart or the CRD
	@testbench/chart.sh render

testbench: ## a real API server and MinIO to play with, until Ctrl-C; prints where they are
	@exec testbench/serve.sh

image: ## the operator's image, without Docker, as an archive (PROFILE=dev ARCH=arm64 IMAGE=name:tag PUSH=1)
	@e2e/image.sh

version: ## write VERSION=1.2.3 everywhere, and move what is unreleased in CHANGELOG.md below it
	@testbench/release.sh version '$(VERSION)'

release: ## the files of a release of this commit, in target/release-files; publishes nothing (ARCHES=amd64 for one architecture)
	@testbench/release.sh build

cluster-up: ## a real cluster of one node with MinIO to play with (CLUSTER=name for several; without a Docker engine it needs root)
	@e2e/cluster.sh up

cluster-down: ## end it; nothing of it is left
	@e2e/cluster.sh down

clean-tools: ## delete the programs and images that the tests installed
	@rm -rf '$(CACHE)/tools' '$(CACHE)/images'
