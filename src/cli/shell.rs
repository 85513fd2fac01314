//! One run of the command line: which session it has, what was typed, and the exit code.
//!
//! Knows nothing of terminals: lines come in, results go to an [`Output`]. [`prompt`](super::prompt) is the
//! loop around it for people, [`run`](super::run) the one for scripts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use jiff::tz::TimeZone;

use super::client::Client;
use super::commands::{self, Builtin, Context, Run};
use super::connect::ConnectString;
use super::error::{Failure, KeeperError, local};
use super::link::Settings;
use super::options::split_words;
use super::output::Output;

/// How the session is to be, from the options of the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionOptions {
    pub timeout: Duration,
    pub read_only: bool,
    /// No command before there is a connection to a server that takes writes.
    pub wait_for_connection: bool,
}

/// How long the first prompt waits for the first connection, so that it can show its state. Commands wait for
/// themselves.
const FIRST_PROMPT_WAIT: Duration = Duration::from_secs(2);
/// `history` shows so many, the line that asks for it among them.
const HISTORY_SHOWN: usize = 11;

/// Whether to read another line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    GoOn,
    Quit,
}

pub struct Shell {
    client: Arc<Client>,
    /// As it was typed; the prompt shows it.
    server: String,
    options: SessionOptions,
    output: Arc<dyn Output>,
    zone: TimeZone,
    prints_watches: Arc<AtomicBool>,
    /// Every line so far, for `history` and `redo`; the index is the number in the prompt.
    lines: Vec<String>,
    exit_code: u8,
}

impl Shell {
    /// Starts a session with `server`, a connect string.
    ///
    /// # Errors
    ///
    /// The connect string is wrong, or there was no connection in time where one was to be waited for.
    pub fn open(
        server: &str,
        options: SessionOptions,
        output: Arc<dyn Output>,
        zone: TimeZone,
    ) -> Result<Shell, Failure> {
        let prints_watches = Arc::new(AtomicBool::new(true));
        let client = connect(server, &options, &output, &prints_watches)?;
        Ok(Shell {
            client: Arc::new(client),
            server: server.to_string(),
            options,
            output,
            zone,
            prints_watches,
            lines: Vec::new(),
            exit_code: 0,
        })
    }

    pub fn client(&self) -> &Arc<Client> {
        &self.client
    }

    /// The code of the last command.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// `[zk: host:port(CONNECTED) 0] `.
    pub fn prompt(&self) -> String {
        format!("[zk: {}({}) {}] ", self.server, self.client.state().name(), self.lines.len())
    }

    /// Gives the first connection a moment, so that the first prompt can tell of it.
    pub fn settle(&self) {
        self.client.wait_first_round(FIRST_PROMPT_WAIT);
    }

    /// If the last command failed because there never was a connection: why, because `ConnectionLoss` alone helps
    /// nobody.
    pub fn explain_failure(&self) {
        if self.exit_code != 0 {
            explain(&self.client, self.output.as_ref());
        }
    }

    /// Ends the session without a word: the program ends with it.
    pub fn leave(&self) {
        self.prints_watches.store(false, Ordering::Relaxed);
        self.client.close();
    }

    /// One line as it was typed. Blank lines are nothing.
    pub fn run_line(&mut self, line: &str) -> Flow {
        let words = split_words(line);
        if words.is_empty() {
            return Flow::GoOn;
        }
        self.lines.push(line.to_string());
        self.run_words(&words)
    }

    /// One command, its name first.
    pub fn run_words(&mut self, words: &[String]) -> Flow {
        match self.execute(words) {
            Ok(flow) => flow,
            Err(failure) => {
                self.complain(&failure);
                Flow::GoOn
            }
        }
    }

    fn complain(&mut self, failure: &Failure) {
        self.exit_code = failure.exit_code();
        match failure {
            // The one failure that Java tells on stdout.
            Failure::NotConnected => self.output.line(&failure.to_string()),
            Failure::UnknownCommand(_) => {
                self.output.complaint(&commands::usage());
                self.output.complaint(&failure.to_string());
            }
            _ => self.output.complaint(&failure.to_string()),
        }
    }

    fn execute(&mut self, words: &[String]) -> Result<Flow, Failure> {
        let (name, arguments) = words.split_first().ok_or_else(|| Failure::text("No command entered"))?;
        let command = commands::find(name).ok_or_else(|| Failure::UnknownCommand(name.clone()))?;
        match command.run {
            Run::Client(run) => {
                if !self.client.state().is_alive() {
                    return Err(Failure::NotConnected);
                }
                let parsed = command.parse(arguments)?;
                let context =
                    Context { client: &self.client, output: self.output.as_ref(), zone: &self.zone };
                run(&context, &parsed)?;
            }
            Run::Shell(Builtin::Quit) => {
                self.client.close();
                return Ok(Flow::Quit);
            }
            Run::Shell(Builtin::Redo) => return self.redo(arguments),
            Run::Shell(builtin) => {
                let parsed = command.parse(arguments)?;
                self.run_builtin(builtin, parsed.arguments())?;
            }
        }
        self.exit_code = 0;
        Ok(Flow::GoOn)
    }

    fn run_builtin(&mut self, builtin: Builtin, arguments: &[String]) -> Result<(), Failure> {
        match builtin {
            Builtin::Close if !self.client.state().is_alive() => return Err(Failure::NotConnected),
            Builtin::Close => self.client.close(),
            Builtin::Connect => {
                let server = arguments.first().unwrap_or(&self.server).clone();
                // A typing error must not cost the session that there is.
                ConnectString::parse(&server).map_err(Failure::Text)?;
                self.client.close();
                self.server.clone_from(&server);
                let client = connect(&server, &self.options, &self.output, &self.prints_watches)?;
                self.client = Arc::new(client);
                self.settle();
            }
            Builtin::History => {
                let first = self.lines.len().saturating_sub(HISTORY_SHOWN);
                for (number, line) in self.lines.iter().enumerate().skip(first) {
                    self.output.line(&format!("{number} - {line}"));
                }
            }
            Builtin::PrintWatches => match arguments.first() {
                None => {
                    let on = self.prints_watches.load(Ordering::Relaxed);
                    self.output.line(&format!("printwatches is {}", if on { "on" } else { "off" }));
                }
                Some(word) => self.prints_watches.store(word == "on", Ordering::Relaxed),
            },
            Builtin::Version => {
                self.output.line(&format!("ZooKeeper CLI version: {}", crate::version::compatible()))
            }
            Builtin::Quit | Builtin::Redo => unreachable!("they decide on the flow, in `execute`"),
        }
        Ok(())
    }

    /// Runs a line again, under the number of the `redo`.
    fn redo(&mut self, arguments: &[String]) -> Result<Flow, Failure> {
        // Without a number Java does nothing, which helps nobody.
        let number = arguments.first().ok_or_else(|| Failure::text("redo cmdno"))?;
        let out_of_range = || Failure::text("Command index out of range");
        let number: usize = number.parse().map_err(|_| out_of_range())?;
        // The line that is running is the last one, and redoing it would never end.
        if number + 1 >= self.lines.len() {
            return Err(out_of_range());
        }
        let line = self.lines[number].clone();
        let words = split_words(&line);
        if words.first().is_some_and(|word| word == "redo") {
            return Err(Failure::text("No redoing redos"));
        }
        if let Some(last) = self.lines.last_mut() {
            *last = line;
        }
        self.execute(&words)
    }
}

fn connect(
    server: &str,
    options: &SessionOptions,
    output: &Arc<dyn Output>,
    prints_watches: &Arc<AtomicBool>,
) -> Result<Client, Failure> {
    let connect = ConnectString::parse(server).map_err(Failure::Text)?;
    let (sink, prints_watches) = (Arc::clone(output), Arc::clone(prints_watches));
    let client = Client::open(Settings {
        connect,
        session_timeout: options.timeout,
        read_only: options.read_only,
        watcher: Arc::new(move |event| {
            if prints_watches.load(Ordering::Relaxed) {
                sink.event(&format!("\nWATCHER::\n\n{event}"));
            }
        }),
    });
    if options.wait_for_connection && !client.wait_connected(options.timeout) {
        explain(&client, output.as_ref());
        client.close();
        return Err(KeeperError { code: local::CONNECTION_LOSS, path: None }.into());
    }
    Ok(client)
}

/// What the system said about the server that was tried last, if none ever answered.
fn explain(client: &Client, output: &dyn Output) {
    if !client.was_connected()
        && let Some(trouble) = client.trouble()
    {
        output.complaint(&format!("No server answered; last: {trouble}"));
    }
}
