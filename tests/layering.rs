//! Dependencies run one way: a module may use only those before it in this list.
//!
//! Clippy holds the other half of the sans-IO boundary (`clippy.toml`: no clocks, no randomly ordered maps).

use std::fs;
use std::path::{Path, PathBuf};

/// Every module of the crate, in reading order; those of one row do not use each other.
const LAYERS: &[&[&str]] = &[
    &["ids", "time", "version", "args"],
    &["wire"],
    &["metrics"],
    &["tree", "storage", "session", "auth"],
    &["admin", "quorum"],
    &["pipeline"],
    &["state"],
    &["server", "config"],
    &["member"],
    &["reactor", "sim"],
    &["daemon", "cli"],
];

/// Modules that are machines: they own no socket, file, clock or thread.
const PURE: &[&str] = &[
    "ids", "time", "wire", "metrics", "tree", "session", "auth", "admin", "pipeline", "quorum", "server",
    "member",
];

fn files_of(module: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    let mut dirs = vec![src.join(module)];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    let single = src.join(format!("{module}.rs"));
    files.extend(single.exists().then_some(single));
    files.retain(|path| path.extension().is_some_and(|ext| ext == "rs"));
    files.retain(|path| {
        !path.ends_with("tests.rs") && !path.parent().is_some_and(|dir| dir.ends_with("tests"))
    });
    assert!(!files.is_empty(), "module {module} has no files");
    files
}

/// Lines of code, without comments, up to the module's own tests.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).expect("a source file can be read");
    let lines = text.lines().take_while(|line| !line.contains("#[cfg(test)]"));
    lines.map(|line| line.split("//").next().unwrap_or_default().to_string()).collect()
}

/// The modules that a line names as `crate::module`.
fn named(line: &str) -> impl Iterator<Item = &str> {
    line.split("crate::")
        .skip(1)
        .map(|rest| rest.split(|c: char| !c.is_ascii_lowercase() && c != '_').next().unwrap_or(""))
}

#[test]
fn every_module_is_in_the_list() {
    let lib = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/lib.rs"))
        .expect("lib.rs is there");
    let listed: Vec<&str> = LAYERS.concat();
    let mut declared = 0;
    for module in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';')) {
        assert!(listed.contains(&module), "{module} has no place among the layers");
        declared += 1;
    }
    assert_eq!(declared, listed.len(), "the list names a module that is not there");
}

#[test]
fn modules_use_only_what_is_below_them() {
    for (height, layer) in LAYERS.iter().enumerate() {
        let below = LAYERS[..height].concat();
        for module in *layer {
            for path in files_of(module) {
                for line in code(&path) {
                    for used in named(&line).filter(|used| LAYERS.concat().contains(used)) {
                        assert!(
                            used == *module || below.contains(&used),
                            "{}: {module} must not use {used}: {line}",
                            path.display()
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn machines_own_no_socket_file_or_thread() {
    let banned =
        ["std::fs", "std::thread", "std::net::Tcp", "std::net::Udp", "mio::", "rustix::", "socket2::"];
    for module in PURE {
        for path in files_of(module) {
            for line in code(&path) {
                for word in banned {
                    assert!(!line.contains(word), "{}: {module} is a machine: {line}", path.display());
                }
            }
        }
    }
}

#[test]
fn unsafe_code_lives_in_one_file() {
    let everything = LAYERS.concat();
    for path in everything.iter().flat_map(|module| files_of(module)) {
        if !path.ends_with("storage/map.rs") {
            for line in code(&path) {
                assert!(!line.contains("unsafe "), "{}: {line}", path.display());
            }
        }
    }
}
