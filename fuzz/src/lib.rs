//! What is fuzzed: every place where bytes from outside are taken apart.
//!
//! Each target is a function of bytes that must return. That nothing panics is the least of it: each also asserts
//! what holds for any input, so that a mistake shows without a crash. `fuzz_targets/` hands these functions to
//! libFuzzer; `tests/fuzz_corpus.rs` includes this very file and replays the kept corpus with `cargo test`.
//!
//!     cargo +nightly fuzz run log                 until something is found
//!     fuzz/seeds                                  begins the corpora from tests/data
//!     fuzz/shrink log                             keeps the smallest corpus with the same coverage

mod disk;
mod election;
mod operator;
mod peers;
mod storage;
mod tree;
mod wire;
mod zab;

/// Its name, which is also the name of its corpus directory, and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("config", operator::config),
    ("connect", wire::connect),
    ("election", election::election),
    ("http", operator::http),
    ("leader", zab::leader),
    ("learner", zab::learner),
    ("log", storage::log),
    ("multi", wire::multi),
    ("peers", peers::peers),
    ("request", wire::request),
    ("snapshot", storage::snapshot),
    ("tree", tree::tree),
    ("txn", wire::txn),
    ("word", operator::word),
];

/// Runs the target called `name`.
///
/// # Panics
///
/// If there is none, and if it finds something.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|(known, _)| *known == name);
    (target.expect("the target is in TARGETS").1)(bytes);
}
