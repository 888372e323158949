# Run `make` for the list of targets.
.PHONY: help demo test image lint bench clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## push a directory twice, encrypted, to a local store; restore both points and compare
	@tests/demo.sh

test: ## all tests, the integration suite also on a real MinIO (fetched when it is missing)
	@tests/run.sh

image: ## container image IMAGE (default volume-syncing-controller:dev); BUILDER=host compiles outside the engine
	@.ci/image

lint: ## format and clippy, as CI wants them
	cargo fmt --check
	cargo clippy --locked --all-targets -- -D warnings

bench: ## compare with the peers on PATH, on a real MinIO; ARGS=… as in bench/run --help
	cargo build --release --locked
	@bench/run $(ARGS)

clean: ## remove what was built here (fetched tools stay in the cache)
	cargo clean
	rm -rf dist bench/results
