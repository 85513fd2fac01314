//! Every input that fuzzing found worth keeping, replayed: what was fixed stays fixed.
//!
//! The targets are the fuzzer's own, included as they are (`fuzz/src/lib.rs`); they assert by themselves. A corpus
//! grows with `cargo +nightly fuzz run` and is kept small with `fuzz/shrink`.

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};

fn corpus(target: &str) -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let entries = fs::read_dir(&dir).unwrap_or_else(|e| panic!("{}: {e}", dir.display()));
    let mut files: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the directory is readable").path()).collect();
    files.sort();
    files
}

#[test]
fn every_kept_input_passes_its_target() {
    for (name, _) in targets::TARGETS {
        let files = corpus(name);
        assert!(files.len() >= 5, "the corpus of {name} is missing");
        for file in files {
            let bytes = fs::read(&file).expect("the file is readable");
            let outcome = panic::catch_unwind(|| targets::run(name, &bytes));
            assert!(outcome.is_ok(), "target {name} fails on {}", file.display());
        }
    }
}

#[test]
fn every_target_has_a_program_for_the_fuzzer() {
    for (name, _) in targets::TARGETS {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("fuzz/fuzz_targets/{name}.rs"));
        let text = fs::read_to_string(&program).unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        assert!(text.contains(&format!("\"{name}\"")), "{} runs another target", program.display());
    }
}
