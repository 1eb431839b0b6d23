# `make` explains. The work is done by cargo; this adds what cargo does not know: Debian
# packages, tools, generated files. Cargo's own variables apply: CARGO_TARGET_DIR, RUSTFLAGS, …

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
# One cargo at a time: they would wait for each other's lock anyway.
.NOTPARALLEL:

CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
TOOLS_DIR ?= $(TARGET_DIR)/tools

# Random histories that `make test` tries; everyday runs of cargo try a few hundred.
SEEDS ?= 10000

CARGO_DENY_VERSION := 0.20.2
CARGO_DENY := $(TOOLS_DIR)/cargo-deny-$(CARGO_DENY_VERSION)/bin/cargo-deny

# program=Debian package
BUILD_NEEDS := cargo= cc=build-essential
DEMO_NEEDS := qemu-storage-daemon=qemu-system-common nbdcopy=libnbd-bin
TEST_NEEDS := $(DEMO_NEEDS) qemu-io=qemu-utils mariadbd=mariadb-server-core openssl=openssl \
	python3=python3 pip3=python3-pip

define HELP
volume-daemon keeps CloudStack volumes, their attachments and their NBD exports as declared.

  make demo     watch it work, and survive four disasters: ten seconds, no CloudStack needed
                (make demo ARGS=--keep leaves everything running, to try things on)
  make test     all tests, with a real NBD server, disks that are files, a simulated CloudStack
  make seed SEED=n   tells the story of one random history (make test tries $(SEEDS) of them)
  make point POINT="move dies 17"   tells the story of one trouble at one point of a scenario
  make soak     kills the daemon again and again on either database: KILLS=1000, or as you say; SEED=n as before
  make lint     format, clippy, documentation, dependencies and licences, generated files
  make bench    how long plans, full looks, spec files and the store take, and what the simulator costs
  make build    the release binary: $(TARGET_DIR)/release/volume-daemon
  make fmt      formats the code
  make schema   writes schema/volume.schema.json and docs/spec.md anew, after a change of the spec's types
  make clean    removes what was built here; dependencies and tools stay

They install what they lack of these Debian packages, with sudo if need be:
  $(foreach need,$(TEST_NEEDS),$(lastword $(subst =, ,$(need))))
All that a change must pass, on a clean clone: .ci/run
endef
export HELP

.PHONY: help demo test seed point soak lint bench build fmt schema clean
help:
	@printf '%s\n' "$$HELP"

# Unoptimised: it is built in half the time, and the demo mostly waits for delays on purpose.
demo:
	@.ci/need $(BUILD_NEEDS) $(DEMO_NEEDS)
	$(CARGO) build --locked
	@$(TARGET_DIR)/debug/volume-daemon demo $(ARGS)

test:
	@.ci/need $(BUILD_NEEDS) $(TEST_NEEDS)
	@.ci/timed "test: build" $(CARGO) test --locked --no-run
	@SEEDS=$(SEEDS) .ci/timed "test: run" $(CARGO) test --locked

seed:
	@.ci/need $(BUILD_NEEDS)
	@SEED=$(or $(SEED),$(error which one? make seed SEED=n)) RUST_BACKTRACE=0 \
		$(CARGO) test --locked --quiet --test it seeds::replay -- --nocapture

point:
	@.ci/need $(BUILD_NEEDS)
	@POINT="$(or $(POINT),$(error which one? make point POINT="scenario trouble number"))" \
		RUST_BACKTRACE=0 $(CARGO) test --locked --quiet --test it crash_points::replay -- --nocapture

soak:
	@.ci/need $(BUILD_NEEDS) $(TEST_NEEDS)
	@KILLS=$(or $(KILLS),1000) RUST_BACKTRACE=0 \
		$(CARGO) test --locked --quiet --test it real::soak -- --nocapture

.PHONY: lint-format lint-code lint-docs lint-dependencies lint-generated
lint: lint-format lint-code lint-docs lint-dependencies lint-generated

lint-format:
	@.ci/need $(BUILD_NEEDS)
	@.ci/timed "lint: format" $(CARGO) fmt --check

lint-code:
	@.ci/timed "lint: code" $(CARGO) clippy --locked --all-targets -- -D warnings

# Private items are always documented here, so links to them lead somewhere.
lint-docs:
	@RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" .ci/timed "lint: documentation" \
		$(CARGO) doc --locked --no-deps --document-private-items --quiet

# The manifests of all dependencies are needed, also of those for other systems.
lint-dependencies: $(CARGO_DENY)
	@$(CARGO) fetch --locked --quiet
	@.ci/timed "lint: dependencies" $(CARGO_DENY) --offline --locked check bans licenses sources

lint-generated:
	@.ci/timed "lint: generated files" $(CARGO) build --locked --quiet
	@$(TARGET_DIR)/debug/volume-daemon schema | diff -u schema/volume.schema.json - \
		|| { echo "schema/volume.schema.json is not what the types say: make schema"; exit 1; }
	@$(TARGET_DIR)/debug/volume-daemon schema -o markdown | diff -u docs/spec.md - \
		|| { echo "docs/spec.md is not what the types say: make schema"; exit 1; }

# Unoptimised and without what only advisories need: a fifth of the usual time. Built apart, so
# that it neither uses nor disturbs the profile of this project.
$(CARGO_DENY):
	@CARGO_PROFILE_DEV_DEBUG=0 .ci/timed "lint: install cargo-deny" \
		$(CARGO) install --locked --quiet --debug --no-default-features \
		--root $(TOOLS_DIR)/cargo-deny-$(CARGO_DENY_VERSION) \
		--target-dir $(TOOLS_DIR)/build cargo-deny@$(CARGO_DENY_VERSION)
	@rm -rf $(TOOLS_DIR)/build

bench:
	@.ci/need $(BUILD_NEEDS) mariadbd=mariadb-server-core
	$(CARGO) bench --locked

build:
	@.ci/need $(BUILD_NEEDS)
	$(CARGO) build --locked --release

fmt:
	$(CARGO) fmt

schema:
	$(CARGO) build --locked
	$(TARGET_DIR)/debug/volume-daemon schema > schema/volume.schema.json.new
	mv schema/volume.schema.json.new schema/volume.schema.json
	$(TARGET_DIR)/debug/volume-daemon schema -o markdown > docs/spec.md.new
	mv docs/spec.md.new docs/spec.md

clean:
	$(CARGO) clean --locked --package volume-daemon
