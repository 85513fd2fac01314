//! `serval`: command line, configuration, reactor; nothing else.

use std::io::Write;
use std::process::ExitCode;

use serval::args::{self, Command, Source, Start, UsageError};
use serval::config::{Config, ConfigError, Loaded};
use serval::{daemon, storage, version};

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info"))
        .format_timestamp_millis()
        .format_target(false)
        .init();
    // What zkCleanup.sh calls: Java's PurgeTxnLog, a tool of its own that shares only the program file.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("purge", rest)) = arguments.split_first().map(|(first, rest)| (first.as_str(), rest)) {
        return ExitCode::from(u8::try_from(storage::purge::purge_command(rest)).unwrap_or(1));
    }
    let command = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(error) => return fail(error, UsageError::EXIT_CODE),
    };
    match command {
        Command::Help => say(&args::help()),
        Command::Version => say(&version::own()),
        Command::Check(start) => match load(&start) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    eprintln!("warning: {warning}");
                }
                say("The configuration is valid.");
            }
            Err(error) => return fail(&error, error.exit_code()),
        },
        Command::Purge(arguments) => {
            return ExitCode::from(u8::try_from(storage::purge_command(&arguments)).unwrap_or(1));
        }
        Command::Run(start) => return run(&start),
    }
    ExitCode::SUCCESS
}

fn run(start: &Start) -> ExitCode {
    let loaded = match load(start) {
        Ok(loaded) => loaded,
        Err(error) => return fail(&error, error.exit_code()),
    };
    for warning in &loaded.warnings {
        log::warn!("{warning}");
    }
    match daemon::run(&loaded, say) {
        Ok(()) => ExitCode::SUCCESS,
        Err(stopped) => {
            // Into the log with its time, since this may come after months of running.
            if log::log_enabled!(log::Level::Error) {
                log::error!("{}; exiting with code {}", stopped.line, stopped.exit_code);
                return ExitCode::from(u8::try_from(stopped.exit_code).unwrap_or(1));
            }
            fail(&stopped.line, u8::try_from(stopped.exit_code).unwrap_or(1))
        }
    }
}

fn load(start: &Start) -> Result<Loaded, ConfigError> {
    let defines = &start.defines;
    match &start.source {
        Source::Default => Config::embedded_default(defines),
        Source::File(path) => Config::load(path, defines),
        Source::Positional { port, data_dir, tick_time_ms, max_client_cnxns } => {
            Config::from_args(*port, data_dir, *tick_time_ms, *max_client_cnxns, defines)
        }
    }
}

/// One line on stdout. Nobody may be reading; that is no reason to stop.
fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{}", line.trim_end());
}

fn fail(why: impl std::fmt::Display, exit_code: u8) -> ExitCode {
    eprintln!("serval: {why}");
    ExitCode::from(exit_code)
}
