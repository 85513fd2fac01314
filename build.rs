//! Tells the program which commit it is built from, as `SERVAL_COMMIT` and `SERVAL_DATE`.
//!
//! From the environment where that says so (a build from a tarball), else from git, else unknown. Debug builds
//! are always unknown: they would be compiled anew after every commit.

use std::env;
use std::process::Command;

const UNKNOWN: [&str; 2] = ["0000000000000000000000000000000000000000", "1970-01-01 00:00"];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SERVAL_COMMIT");
    println!("cargo::rerun-if-env-changed=SERVAL_DATE");
    let [commit, date] = given().or_else(from_git).unwrap_or_else(|| UNKNOWN.map(str::to_owned));
    println!("cargo::rustc-env=SERVAL_COMMIT={commit}");
    println!("cargo::rustc-env=SERVAL_DATE={date}");
}

fn given() -> Option<[String; 2]> {
    Some([env::var("SERVAL_COMMIT").ok()?, env::var("SERVAL_DATE").ok()?])
}

fn from_git() -> Option<[String; 2]> {
    if env::var("PROFILE").as_deref() == Ok("debug") {
        return None;
    }
    // The log of HEAD grows with every commit, checkout and pull; HEAD alone does not change with a commit.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    println!("cargo::rerun-if-changed={log}");
    let line = git(&["log", "-1", "--format=%H %cd", "--date=format-local:%Y-%m-%d %H:%M"])?;
    let (commit, date) = line.split_once(' ')?;
    Some([commit.to_owned(), date.to_owned()])
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).env("TZ", "UTC").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success() && !text.trim().is_empty()).then(|| text.trim().to_owned())
}
