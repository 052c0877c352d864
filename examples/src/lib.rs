//! See `examples/*.rs`.
