//! Why a command failed: the text on stderr and the exit code.
//!
//! Texts are Java's (`KeeperException`, `CliWrapperException`), because scripts compare them.

use std::fmt;

use crate::wire::error::ErrorCode;

/// An answer other than success: the server's code, or one of those that only clients have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeeperError {
    pub code: i32,
    /// The path as the user typed it, without the chroot.
    pub path: Option<String>,
}

/// Codes that no server sends; a client makes them up.
pub mod local {
    pub const CONNECTION_LOSS: i32 = -4;
    pub const OPERATION_TIMEOUT: i32 = -7;
}

impl KeeperError {
    pub fn new(code: i32, path: &str) -> KeeperError {
        KeeperError { code, path: Some(path.to_string()) }
    }

    pub fn is(&self, code: ErrorCode) -> bool {
        self.code == code.code()
    }
}

/// As `CliWrapperException.getMessage` does: a sentence for the common ones, `KeeperErrorCode = …` otherwise.
impl fmt::Display for KeeperError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.row().map(|row| row.sentence) {
            Some(Sentence::WithPath(text)) => write!(f, "{text}{}", self.path.as_deref().unwrap_or("null")),
            Some(Sentence::Whole(text)) => f.write_str(text),
            Some(Sentence::None) | None => f.write_str(&self.plain()),
        }
    }
}

impl KeeperError {
    /// `KeeperException.getMessage`.
    pub fn plain(&self) -> String {
        let text = match self.row() {
            Some(row) => row.text.to_string(),
            None => format!("Unknown error {}", self.code),
        };
        match self.path.as_deref() {
            None | Some("") => format!("KeeperErrorCode = {text}"),
            Some(path) => format!("KeeperErrorCode = {text} for {path}"),
        }
    }

    fn row(&self) -> Option<&'static Row> {
        CODES.iter().find(|row| row.code == self.code)
    }
}

/// One error code: what `KeeperException` calls it, and what the command line makes of it.
struct Row {
    code: i32,
    text: &'static str,
    sentence: Sentence,
}

#[derive(Clone, Copy)]
enum Sentence {
    None,
    WithPath(&'static str),
    Whole(&'static str),
}

const fn row(code: i32, text: &'static str, sentence: Sentence) -> Row {
    Row { code, text, sentence }
}

const NO_QUORUM: &str = "No quorum of new config is connected and up-to-date with the leader of last committed \
                         config - try invoking reconfiguration after new servers are connected and synced";
const RECONFIG_RUNS: &str =
    "Another reconfiguration is in progress -- concurrent reconfigs not supported (yet)";

/// `KeeperException.getCodeMessage` and `CliWrapperException.getMessage`, side by side.
#[rustfmt::skip]
const CODES: &[Row] = &[
    row(-1,   "SystemError",                   Sentence::None),
    row(-2,   "RuntimeInconsistency",          Sentence::None),
    row(-3,   "DataInconsistency",             Sentence::None),
    row(-4,   "ConnectionLoss",                Sentence::None),
    row(-5,   "MarshallingError",              Sentence::None),
    row(-6,   "Unimplemented",                 Sentence::None),
    row(-7,   "OperationTimeout",              Sentence::None),
    row(-8,   "BadArguments",                  Sentence::WithPath("Arguments are not valid : ")),
    row(-13,  "NewConfigNoQuorum",             Sentence::Whole(NO_QUORUM)),
    row(-14,  "ReconfigInProgress",            Sentence::Whole(RECONFIG_RUNS)),
    row(-100, "APIError",                      Sentence::None),
    row(-101, "NoNode",                        Sentence::WithPath("Node does not exist: ")),
    row(-102, "NoAuth",                        Sentence::WithPath("Insufficient permission : ")),
    row(-103, "BadVersion",                    Sentence::WithPath("version No is not valid : ")),
    row(-108, "NoChildrenForEphemerals",       Sentence::WithPath("Ephemerals cannot have children: ")),
    row(-110, "NodeExists",                    Sentence::WithPath("Node already exists: ")),
    row(-111, "Directory not empty",           Sentence::WithPath("Node not empty: ")),
    row(-112, "Session expired",               Sentence::None),
    row(-113, "Invalid callback",              Sentence::None),
    row(-114, "InvalidACL",                    Sentence::WithPath("Acl is not valid : ")),
    row(-115, "AuthFailed",                    Sentence::None),
    row(-118, "Session moved",                 Sentence::None),
    row(-119, "Not a read-only call",          Sentence::WithPath("Not a read-only call: ")),
    row(-120, "Ephemeral node on local session", Sentence::None),
    row(-121, "No such watcher",               Sentence::None),
    row(-123, "Reconfig is disabled",          Sentence::None),
    row(-124, "Session closed because client failed to authenticate", Sentence::None),
    row(-125, "Quota has exceeded",            Sentence::WithPath("Quota has exceeded : ")),
    row(-127, "Op throttled due to high load", Sentence::None),
];

/// Why a command did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    Keeper(KeeperError),
    /// Bad options, arguments or paths, in the words to show.
    Text(String),
    /// No command of that name.
    UnknownCommand(String),
    /// The session is closed, expired or failed to authenticate.
    NotConnected,
}

impl Failure {
    pub fn text(text: impl Into<String>) -> Failure {
        Failure::Text(text.into())
    }

    pub fn exit_code(&self) -> u8 {
        match self {
            Failure::UnknownCommand(_) => 127,
            _ => 1,
        }
    }
}

impl From<KeeperError> for Failure {
    fn from(error: KeeperError) -> Failure {
        Failure::Keeper(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Keeper(error) => error.fmt(f),
            Failure::Text(text) => f.write_str(text),
            // The doubling is Java's: the exception and its message both say it.
            Failure::UnknownCommand(name) => write!(f, "Command not found: Command not found {name}"),
            Failure::NotConnected => f.write_str("Not connected"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_those_that_scripts_look_for() {
        let text = |code, path| KeeperError { code, path }.to_string();
        assert_eq!(text(-101, Some("/a".into())), "Node does not exist: /a");
        assert_eq!(text(-4, Some("/".into())), "KeeperErrorCode = ConnectionLoss for /");
        assert_eq!(text(-123, None), "KeeperErrorCode = Reconfig is disabled");
        assert_eq!(text(-114, None), "Acl is not valid : null");
        assert_eq!(text(-9999, None), "KeeperErrorCode = Unknown error -9999");
    }
}
