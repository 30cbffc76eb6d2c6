# The commands that everyone types.

# The main job.
reproduce *ARGS:
    cargo run --release -- reproduce {{ARGS}}

# The main job at its smallest.
quick:
    cargo run --release -- reproduce --preset quick

# All tests.
test:
    cargo test --release

# Formatting and lints.
lint:
    cargo fmt --check
    cargo clippy --release --all-targets -- -D warnings

# What CI runs.
ci:
    .ci/run
