//! A write's way from request to transaction: checked here, logged and applied elsewhere.
//!
//! [`Preparer::prepare`] turns a request into the transaction that will be logged, checking it in Java's
//! order (client-protocol.md section 6, Java's `PrepRequestProcessor`) against the tree plus
//! [`outstanding`] changes. A check that fails makes the transaction an error transaction: that, too, takes a
//! zxid and is logged. What is prepared cannot fail later.
//!
//! # Invariants
//!
//! 1. Each prepared transaction has the zxid after the last one's.
//! 2. A failed request leaves no trace in the overlay.

mod outstanding;
mod prepare;

pub use prepare::{Author, Preparer, Rules, World};
