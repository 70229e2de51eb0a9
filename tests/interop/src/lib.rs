//! Other people's programs read what ours write: the tests of this package hold manifests and keyrings
//! against `pycose` and `zcbor`. Patches are held against `detools` in `wasmbed-delta`.
//!
//! `cargo xtask test` installs the programs and names their interpreter in `WASMBED_PYTHON`; without it these
//! tests say that they were skipped.
