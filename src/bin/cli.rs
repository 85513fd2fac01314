//! `serval-cli`: see [`serval::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // Arguments that are not UTF-8 cannot name a znode; they are shown back with a replacement character.
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    ExitCode::from(serval::cli::run(&arguments))
}
