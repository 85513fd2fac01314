//! zkCli: the command line client, as a shell and for one command.
//!
//! The output, down to which stream a line goes to, is that of Java's `zkCli.sh`, so that scripts which read
//! it go on working; `docs/zkcli.md` has the list of what differs on purpose. In reading order:
//!
//! - [`commands`]: the table of commands, and what each does.
//! - [`shell`]: one run: session, history, exit code. [`prompt`], [`complete`]: a person at a terminal.
//! - [`client`]: one blocking call for each operation. [`link`]: the session, over one [`socket`] after the other.
//! - [`connect`], [`event`], [`watches`], [`path`], [`options`], [`mod@format`], [`error`], [`output`]: what they are made of.

pub mod client;
pub mod commands;
pub mod complete;
pub mod connect;
pub mod error;
pub mod event;
#[cfg(test)]
mod fake;
pub mod format;
pub mod link;
pub mod options;
pub mod output;
pub mod path;
pub mod prompt;
#[cfg(test)]
mod session_tests;
pub mod shell;
pub mod socket;
pub mod watches;

use std::io::{BufRead, IsTerminal};
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use output::{Output, Streams};
use shell::{Flow, SessionOptions, Shell};

use crate::version;

/// Bad arguments of the program itself (`ExitCode.INVALID_INVOCATION`).
const INVALID_INVOCATION: u8 = 2;

const HELP: &str = "\
Usage: serval-cli [options] [command [arguments]]

Options:
  -server LIST                host:port[,host:port...][/chroot]; [address]:port for IPv6 (localhost:2181)
  -timeout MS                 session timeout asked for (30000)
  -r                          a read-only server will do
  -waitforconnection          wait for a connection before the first command, at most the timeout
  -client-configuration FILE  properties of the client
  -h, --help, --version       this text, or the version

With a command: runs it and exits with its code (0 done, 1 failed, 127 no such command).
Without one: a shell on a terminal, else commands from standard input, one a line.";

/// What the program was called with.
#[derive(Debug, PartialEq, Eq)]
struct Invocation {
    server: String,
    session: SessionOptions,
    client_configuration: Option<String>,
    /// Empty: read commands from standard input.
    command: Vec<String>,
}

/// Reads the program's arguments: options up to the first word without a dash, which is the command.
///
/// # Errors
///
/// What is wrong with them. (Java ignores options that it does not know, so that a mistyped `-server` leads to
/// the default server.)
fn parse_arguments(arguments: &[String]) -> Result<Invocation, String> {
    let mut invocation = Invocation {
        server: "localhost:2181".into(),
        session: SessionOptions {
            timeout: Duration::from_secs(30),
            read_only: false,
            wait_for_connection: false,
        },
        client_configuration: None,
        command: Vec::new(),
    };
    let mut rest = arguments.iter();
    while let Some(word) = rest.next() {
        let mut value = || rest.next().cloned().ok_or(format!("Error: no argument found for option {word}"));
        match word.as_str() {
            "-server" => invocation.server = value()?,
            "-timeout" => {
                let ms = value()?;
                let ms: u32 =
                    ms.parse().map_err(|_| format!("Error: -timeout {ms} is not a number of ms"))?;
                invocation.session.timeout = Duration::from_millis(ms.into());
            }
            "-r" => invocation.session.read_only = true,
            "-waitforconnection" => invocation.session.wait_for_connection = true,
            "-client-configuration" => invocation.client_configuration = Some(value()?),
            option if option.starts_with('-') => {
                return Err(format!("Error: unknown option {option}; serval-cli --help lists them"));
            }
            _ => {
                invocation.command = std::iter::once(word).chain(rest).cloned().collect();
                break;
            }
        }
    }
    Ok(invocation)
}

/// Refuses what the client configuration asks for and this client cannot do. All else in it is for Java.
///
/// # Errors
///
/// TLS is asked for, or the file cannot be read.
fn check_client_configuration(file: &str) -> Result<(), String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("Error: {file}: {error}"))?;
    for (at, line) in text.lines().enumerate() {
        let Some((key, value)) = line.trim().split_once(['=', ':', ' ']) else { continue };
        let value = value.trim_start_matches(['=', ':', ' ']);
        if key == "zookeeper.client.secure" && value.eq_ignore_ascii_case("true") {
            return Err(format!(
                "Error: {file}, line {}: zookeeper.client.secure=true: TLS is not supported yet; \
                 use the server's plain client port",
                at + 1
            ));
        }
    }
    Ok(())
}

/// The whole program; the exit code.
pub fn run(arguments: &[String]) -> u8 {
    let asks_for_help = |word: &String| matches!(word.as_str(), "-h" | "-help" | "--help");
    if arguments.first().is_some_and(asks_for_help) {
        Streams::default().line(HELP);
        return 0;
    }
    if arguments.first().is_some_and(|word| word == "--version") {
        Streams::default().line(&version::own());
        return 0;
    }
    let checked = parse_arguments(arguments).and_then(|invocation| {
        invocation.client_configuration.as_deref().map_or(Ok(()), check_client_configuration)?;
        Ok(invocation)
    });
    match checked {
        Ok(invocation) => start(invocation),
        Err(error) => {
            Streams::default().complaint(&error);
            INVALID_INVOCATION
        }
    }
}

fn start(invocation: Invocation) -> u8 {
    let interactive =
        invocation.command.is_empty() && std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let mut prompt = if interactive { prompt::Prompt::open().ok() } else { None };
    let output: Arc<dyn Output> = match &mut prompt {
        Some(prompt) => Arc::new(prompt.output()),
        None => Arc::new(Streams::default()),
    };
    output.line(&format!("Connecting to {}", invocation.server));
    // Where the system's zone cannot be found out, the server's own clock is the best there is.
    let zone = TimeZone::try_system().unwrap_or(TimeZone::UTC);
    let opened = Shell::open(&invocation.server, invocation.session, Arc::clone(&output), zone);
    let mut shell = match opened {
        Ok(shell) => shell,
        Err(failure) => {
            output.complaint(&failure.to_string());
            return failure.exit_code();
        }
    };
    if !invocation.command.is_empty() {
        shell.run_words(&invocation.command);
        shell.explain_failure();
        // Java leaves the session to expire; nobody is served by that.
        shell.leave();
        return shell.exit_code();
    }
    output.line("Welcome to ZooKeeper!");
    if let Some(prompt) = prompt {
        output.line("JLine support is enabled");
        return prompt.run(shell);
    }
    output.line("JLine support is disabled");
    let mut stdin = std::io::stdin().lock();
    let mut line = Vec::new();
    // An error of standard input ends it like its end does.
    while stdin.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
        let text = String::from_utf8_lossy(&line);
        if shell.run_line(text.trim_end_matches(['\r', '\n'])) == Flow::Quit {
            return shell.exit_code();
        }
        line.clear();
    }
    shell.explain_failure();
    shell.leave();
    shell.exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Invocation, String> {
        parse_arguments(&options::split_words(line))
    }

    #[test]
    fn options_end_where_the_command_begins() {
        let invocation = parsed("-r -server a:1,b:2/app -timeout 5000 ls -s -server").unwrap();
        assert_eq!(invocation.server, "a:1,b:2/app");
        assert_eq!(invocation.session.timeout, Duration::from_secs(5));
        assert!(invocation.session.read_only && !invocation.session.wait_for_connection);
        assert_eq!(invocation.command, ["ls", "-s", "-server"]);
        assert_eq!(parsed("").unwrap().server, "localhost:2181");
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parsed("-server").unwrap_err(), "Error: no argument found for option -server");
        assert!(parsed("-timeout x ls /").unwrap_err().contains("-timeout x"));
        assert!(parsed("-sever a:1 ls /").unwrap_err().contains("unknown option -sever"));
    }

    #[test]
    fn tls_is_refused_and_other_settings_are_taken() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("client.properties");
        let check = |text: &str| {
            std::fs::write(&file, text).unwrap();
            check_client_configuration(file.to_str().unwrap())
        };
        assert_eq!(check("zookeeper.client.secure=false\nzookeeper.request.timeout=5\n"), Ok(()));
        let error = check("# client\nzookeeper.client.secure = true\n").unwrap_err();
        assert!(error.contains("line 2") && error.contains("TLS is not supported yet"), "{error}");
    }
}
