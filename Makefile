# Two commands for a fresh Debian or Ubuntu machine with Rust: `make demo` and `make test`.
# Everything that links Tor is built in release mode once; the rest of the tests need no Tor and stay in debug mode.

CARGO ?= cargo
LOCKED := --locked

.PHONY: demo test check bench bench-peers soak fuzz build rig wallet

demo: build wallet rig
	$(CARGO) run $(LOCKED) -p rig --bin demo

test: build wallet rig
	tests/rig/setup electrumx
	$(CARGO) build $(LOCKED) --no-default-features --examples
	$(CARGO) test $(LOCKED) --workspace --exclude claustrum-onion --no-default-features
	$(CARGO) test $(LOCKED) --release -p claustrum -p claustrum-onion --lib

check: deny
	$(CARGO) fmt --all --check
	$(CARGO) clippy $(LOCKED) --workspace --all-targets -- -D warnings
	$(CARGO) fmt --manifest-path tests/wallet/Cargo.toml --check
	RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" $(CARGO) doc $(LOCKED) --workspace --no-deps --document-private-items
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) update $(LOCKED) --quiet --workspace --manifest-path fuzz/Cargo.toml

# Figures as tables on standard output, every measurement in target/bench/*.jsonl; docs/performance.md explains them.
bench: build wallet rig
	$(CARGO) build $(LOCKED) --release --no-default-features --example loopback
	$(CARGO) bench $(LOCKED) --no-default-features --bench onion
	$(CARGO) bench $(LOCKED) --no-default-features --bench index
	$(CARGO) bench $(LOCKED) --no-default-features --bench padding
	$(CARGO) bench $(LOCKED) --no-default-features --bench load
	$(CARGO) bench $(LOCKED) --no-default-features --bench mempool

# HOSTS="host:port ..." are asked the same as examples/loopback, in turn; docs/performance.md tells of the others.
bench-peers: rig
	$(CARGO) build $(LOCKED) --release --no-default-features --example loopback
	$(CARGO) run $(LOCKED) --release -p rig --bin bench-peers -- $(if $(NODE_DIR),--node-dir $(NODE_DIR) --node-rpc $(NODE_RPC)) \
		$(if $(SCRIPTS),--scripts $(SCRIPTS)) $(FLAGS) $(HOSTS)

# Faults of the disk at every operation of the index; then SOAK_MINUTES (10) of blocks, reorgs, wallets, bad clients,
# restarts and kills, and the oracle.
soak: build rig
	CLAUSTRUM_ALL_FAULTS=1 $(CARGO) test $(LOCKED) --release --no-default-features --lib index::tests::power
	CLAUSTRUM_ALL_FAULTS=1 $(CARGO) test $(LOCKED) --no-default-features --test all oracle::killed
	$(CARGO) run $(LOCKED) --release -p rig --bin soak

# FUZZ_SECONDS (60) for each target.
fuzz:
	fuzz/run

.PHONY: deny
deny: target/tools/bin/cargo-deny
	target/tools/bin/cargo-deny --locked check licenses bans sources

target/tools/bin/cargo-deny:
	$(CARGO) install --locked --root target/tools --target-dir target/tools/build cargo-deny@0.20.2

build:
	$(CARGO) build $(LOCKED) --release

wallet:
	$(CARGO) build $(LOCKED) --release --manifest-path tests/wallet/Cargo.toml --target-dir target/wallet

rig:
	tests/rig/setup
