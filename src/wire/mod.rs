//! Bytes and values of the protocols; no state.
