//! What is wrong with a configuration, where, and what to do about it: always one line.

use crate::quorum::membership::Problem as BadMember;
use std::fmt;
use std::path::PathBuf;

/// Where a setting was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A configuration file; `line` counts from 1, and is absent where the file as a whole is meant.
    File { path: PathBuf, line: Option<u32> },
    /// A `-Dname=value` argument.
    Define,
    /// A positional argument, or what the server assumes when it is given none.
    Argument,
}

/// A setting, or the absence of one, that a message is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    pub origin: Origin,
    /// The key as it was written, `None` where the file as a whole is meant.
    pub key: Option<String>,
}

impl Place {
    pub(super) fn file(path: impl Into<PathBuf>) -> Place {
        Place { origin: Origin::File { path: path.into(), line: None }, key: None }
    }

    pub(super) fn line(path: impl Into<PathBuf>, line: u32) -> Place {
        Place { origin: Origin::File { path: path.into(), line: Some(line) }, key: None }
    }

    pub(super) fn key(self, key: impl Into<String>) -> Place {
        Place { key: Some(key.into()), ..self }
    }
}

/// `conf/zoo.cfg:12: tickTime`, `-Dzookeeper.snapCount`, `argument dataDir`.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.origin, &self.key) {
            (Origin::Define, Some(key)) => write!(f, "-D{}", OneLine(key)),
            (Origin::Define, None) => f.write_str("-D"),
            (Origin::Argument, Some(key)) => write!(f, "argument {}", OneLine(key)),
            (Origin::Argument, None) => f.write_str("arguments"),
            (Origin::File { path, line }, key) => {
                write!(f, "{}", OneLine(&path.to_string_lossy()))?;
                if let Some(line) = line {
                    write!(f, ":{line}")?;
                }
                match key {
                    Some(key) => write!(f, ": {}", OneLine(key)),
                    None => Ok(()),
                }
            }
        }
    }
}

/// Text from a file, printed without anything that would break the line or steer a terminal.
pub(super) struct OneLine<'a>(pub &'a str);

impl fmt::Display for OneLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            if c.is_control() {
                write!(f, "{}", c.escape_default())?;
            } else {
                fmt::Write::write_char(f, c)?;
            }
        }
        Ok(())
    }
}

/// Why a server cannot run with this configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub place: Place,
    pub problem: Problem,
}

/// One line: file, line, key, what is wrong with it, what to do.
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl ConfigError {
    /// The exit code with which Java ends in the same situation (`ExitCode`).
    ///
    /// Almost everything is 2, INVALID_INVOCATION. Java finds out that a server is not in its own list only
    /// when it starts the peer, outside of all that it catches, hence 1, UNEXPECTED_ERROR.
    pub fn exit_code(&self) -> u8 {
        match self.problem {
            Problem::NotInServerList { .. } | Problem::IdTooLargeForExtendedTypes { .. } => 1,
            _ => 2,
        }
    }
}

/// All that can be wrong. Words that Java uses are kept where people search for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    FileMissing,
    FileUnreadable { error: String },
    FileTooLarge { bytes_max: u64 },
    MalformedUnicode,

    NotSet { example: &'static str },
    Misspelt { meant: &'static str },
    NotANumber { value: String },
    NumberTooLarge { value: String },
    NotAPort { value: String },
    NotABoolean { value: String },
    NotAnInterval { value: String },
    NotPositive { value: String },
    AddressWithoutPort { port: &'static str },
    NothingToListenOn,
    SecurePortOnly,
    SessionTimeoutsCross { min_ms: i64, max_ms: i64 },
    UnknownElectionAlg { value: String },
    UnknownMetricsProvider { class: String },
    UnknownCompression { value: String },
    UnsupportedDigestAlg { value: String },
    EnforcedSchemesMissing,
    EnforcedSchemeUnavailable { scheme: String },
    QuorumAuthInconsistent { needs: &'static str },

    MyidMissing,
    MyidNotANumber { value: String },
    NotInServerList { id: i64 },
    IdTooLargeForExtendedTypes { id: i64 },

    Members(BadMember),
    ObserversOnly,
    OneParticipantWithObservers,
    NoParticipants,
    NoWeight,
    DynamicFileMissing { path: PathBuf },
    MembershipBesideDynamicFile,
    ForeignKeyInDynamicFile,
    VersionInDynamicFile,
    ClientAddressesDiffer { here: String, in_server_line: String },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Problem::*;
        // Values come from the file: quoted and escaped, so that a message stays one line.
        match self {
            FileMissing => f.write_str("file is missing; give the path of a zoo.cfg"),
            FileUnreadable { error } => write!(f, "cannot be read: {error}"),
            FileTooLarge { bytes_max } => {
                write!(f, "is larger than {bytes_max} bytes; is it the right file?")
            }
            MalformedUnicode => f.write_str(
                "malformed \\u escape; write four hexadecimal digits after it, or \\\\u for a backslash and \
                 a u",
            ),
            NotSet { example } => write!(f, "is not set; add a line like {example}"),
            Misspelt { meant } => {
                write!(
                    f,
                    "unknown key, and {meant}, which is needed, is not set; write {meant} if you mean that"
                )
            }
            NotANumber { value } => BadMember::NotANumber { value: value.clone() }.fmt(f),
            NumberTooLarge { value } => {
                write!(f, "{value:?} is too large; the largest number is {}", i32::MAX)
            }
            NotAPort { value } => write!(f, "{value:?} is not a port; write a number from 0 to 65535"),
            NotABoolean { value } => {
                write!(f, "{value:?} is neither true nor false; choose 'true' or 'false'")
            }
            NotAnInterval { value } => write!(
                f,
                "{value:?} is not an interval; write hours, or a number with one of ms, s, m, h, d such \
                 as 30m"
            ),
            NotPositive { value } => write!(f, "{value:?} is not positive; write a number above 0"),
            AddressWithoutPort { port } => {
                write!(f, "is set but {port} is not set; add {port} or remove this")
            }
            NothingToListenOn => f.write_str("is not set, so no client could connect; add clientPort=2181"),
            SecurePortOnly => f.write_str(
                "is set without clientPort, and TLS is not built yet, so nothing would listen; add \
                 clientPort",
            ),
            SessionTimeoutsCross { min_ms, max_ms } => write!(
                f,
                "minSessionTimeout must not be larger than maxSessionTimeout, but they are {min_ms} ms and \
                 {max_ms} ms (where not set: 2 and 20 ticks); change one of them"
            ),
            UnknownElectionAlg { value } => {
                write!(f, "{value:?} is no election algorithm; only 3 is supported, remove the line")
            }
            UnknownMetricsProvider { class } => write!(
                f,
                "metrics provider class {class:?} was not found; write \
                 org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider or remove the line"
            ),
            UnknownCompression { value } => {
                write!(f, "{value:?} is no compression; write gz or snappy, or nothing for plain snapshots")
            }
            UnsupportedDigestAlg { value } => write!(
                f,
                "{value:?} is not supported, and with another hash every digest ACL would refuse its owner; \
                 write SHA1, SHA-224, SHA-256, SHA-384 or SHA-512"
            ),
            EnforcedSchemesMissing => f.write_str(
                "is true, but enforce.auth.schemes is not set; list the schemes, such as \
                 enforce.auth.schemes=digest",
            ),
            EnforcedSchemeUnavailable { scheme } => write!(
                f,
                "authentication scheme {scheme:?} is not available, so no session could ever be used; \
                 available are digest and ip"
            ),
            QuorumAuthInconsistent { needs } => {
                write!(f, "{needs} is disabled, so this cannot be enabled; set {needs}=true")
            }
            MyidMissing => {
                f.write_str("myid file is missing; write the number of this server's server line into it")
            }
            MyidNotANumber { value } => write!(
                f,
                "serverid {value:?} is not a number; the first line must be the number alone, without blanks"
            ),
            NotInServerList { id } => {
                write!(f, "my id {id} is not in the peer list; add a server.{id} line or correct myid")
            }
            IdTooLargeForExtendedTypes { id } => write!(
                f,
                "server id {id} is too large for extendedTypesEnabled; use ids from 0 to 254 or switch it off"
            ),
            Members(problem) => problem.fmt(f),
            ObserversOnly => {
                f.write_str("observers without participants are no ensemble; make a server a participant")
            }
            OneParticipantWithObservers => f.write_str(
                "observers need a quorum, and one participant runs standalone; add participants or set \
                 standaloneEnabled=false",
            ),
            NoParticipants => f.write_str(
                "is false, but there is no participant; add server lines (in this file or in \
                 dynamicConfigFile)",
            ),
            NoWeight => f.write_str(
                "every participant has the weight 0, so none could ever be elected; give one a weight above 0",
            ),
            DynamicFileMissing { path } => write!(
                f,
                "{path:?} is missing; give the whole path of the file with the server lines, or remove this and \
                 write them here"
            ),
            MembershipBesideDynamicFile => {
                f.write_str("must be in the separate file that dynamicConfigFile names; move the line there")
            }
            ForeignKeyInDynamicFile => f.write_str(
                "unrecognised parameter; a dynamic file holds server, group and weight lines only, move it \
                 to zoo.cfg",
            ),
            VersionInDynamicFile => f.write_str(
                "a dynamic file should not have a version inside; it is the end of the file's name, remove \
                 the line",
            ),
            ClientAddressesDiffer { here, in_server_line } => write!(
                f,
                "client address {here} differs from {in_server_line} in this server's server line; remove \
                 one of them"
            ),
        }
    }
}

/// What an administrator should know, although the server runs. One line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub place: Place,
    pub text: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, OneLine(&self.text))
    }
}
