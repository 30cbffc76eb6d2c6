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

# Type-checks `--features cuda`, without a GPU: nvcc comes from PyPI.
check-cuda:
    .ci/check-cuda

# What CI runs.
ci:
    .ci/run

# Fuzzes one reader (fuzz/README.md): needs cargo-fuzz and a nightly toolchain.
fuzz TARGET *FLAGS:
    mkdir -p fuzz/corpus/{{TARGET}}
    cargo +nightly fuzz run --sanitizer none {{TARGET}} fuzz/corpus/{{TARGET}} fuzz/seeds/{{TARGET}} -- -rss_limit_mb=2048 -malloc_limit_mb=1024 -timeout=20 {{FLAGS}}

# The pictures of the gallery anew.
gallery *CLAIMS:
    figures/gallery/make {{CLAIMS}}

# The page of the showcase, as report.html.
report:
    cargo run --release -- report checkpoints/showcase/looped checkpoints/showcase/vanilla --measure --out report.html
