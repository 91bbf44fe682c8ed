//! Compares `bailey-eif` with the implementation that nitro-cli uses; see `tests/`.
