//! The program's arguments: Java's two forms, `<zoo.cfg>` and `<port> <dataDir> [tickTime [maxClientCnxns]]`,
//! with options around them. A pure function; what to do about the answer is the program's business.

use getopts::{Fail, Options};
use std::fmt;
use std::path::PathBuf;

/// What the arguments ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    Help,
    Version,
    Run(Start),
    /// Validate the configuration, report, and exit.
    Check(Start),
    /// Delete old snapshots and logs: what `zkCleanup.sh` runs. The arguments are those of Java's `PurgeTxnLog`.
    Purge(Vec<String>),
}

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Start {
    pub source: Source,
    /// `-Dname=value` arguments in order.
    pub defines: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// No arguments: the embedded default.
    Default,
    File(PathBuf),
    Positional {
        port: u16,
        data_dir: String,
        tick_time_ms: Option<i32>,
        max_client_cnxns: Option<i32>,
    },
}

/// Arguments that make no sense. One line; the program adds how to get help.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UsageError(String);

impl UsageError {
    /// Java's INVALID_INVOCATION.
    pub const EXIT_CODE: u8 = 2;
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; try serval --help", self.0)
    }
}

impl std::error::Error for UsageError {}

fn options() -> Options {
    let mut options = Options::new();
    options.optflag("h", "help", "print this help");
    options.optflag("V", "version", "print the version");
    options.optflag("", "check", "validate the configuration and exit");
    options.optmulti(
        "D",
        "",
        "set what Java reads as a system property, as in -Dzookeeper.snapCount=10000",
        "NAME=VALUE",
    );
    options
}

/// What `--help` prints.
pub fn help() -> String {
    options().usage(
        "Usage: serval [options]                  listen on 127.0.0.1:2181, keep data under ./data\n\
        \x20      serval [options] <zoo.cfg>\n\
        \x20      serval [options] <port> <dataDir> [tickTime [maxClientCnxns]]\n\
        \x20      serval purge <dataLogDir> [snapDir] -n <count>",
    )
}

/// Parses the arguments behind the program's name.
///
/// # Errors
/// An unknown option, too many arguments, or one that is no number where a number is due.
pub fn parse<I>(arguments: I) -> Result<Command, UsageError>
where
    I: IntoIterator,
    I::Item: AsRef<std::ffi::OsStr>,
{
    let mut arguments = arguments.into_iter().peekable();
    // As the first word only, and its arguments are its own: `-n` means nothing elsewhere. A configuration file of
    // that name can still be given as `./purge`.
    if arguments.peek().is_some_and(|first| first.as_ref() == "purge") {
        let words = arguments.skip(1).map(|word| word.as_ref().to_string_lossy().into_owned());
        return Ok(Command::Purge(words.collect()));
    }
    let matches = options().parse(arguments).map_err(|fail| UsageError(describe(&fail)))?;
    if matches.opt_present("help") {
        return Ok(Command::Help);
    }
    if matches.opt_present("version") {
        return Ok(Command::Version);
    }
    let defines =
        matches.opt_strs("D").iter().map(|define| parse_define(define)).collect::<Result<_, _>>()?;
    let source = match &matches.free[..] {
        [] => Source::Default,
        // Java takes a single argument for a file even if it is a number; nobody means that.
        [port] if port.parse::<u16>().is_ok() => {
            return Err(UsageError(format!("the data directory is missing after port {port}")));
        }
        [file] => Source::File(PathBuf::from(file)),
        [port, data_dir, rest @ ..] if rest.len() <= 2 => Source::Positional {
            port: number("port", "a number from 0 to 65535", port)?,
            data_dir: data_dir.clone(),
            tick_time_ms: rest.first().map(|text| number("tickTime", "a number of ms", text)).transpose()?,
            max_client_cnxns: rest
                .get(1)
                .map(|text| number("maxClientCnxns", "a number", text))
                .transpose()?,
        },
        more => return Err(UsageError(format!("{} arguments are too many", more.len()))),
    };
    let start = Start { source, defines };
    Ok(if matches.opt_present("check") { Command::Check(start) } else { Command::Run(start) })
}

fn number<T: std::str::FromStr>(name: &str, kind: &str, text: &str) -> Result<T, UsageError> {
    text.parse().map_err(|_| UsageError(format!("{name} is {text:?}, which is not {kind}")))
}

/// `NAME=VALUE`; without `=VALUE` the value is empty, as for Java.
fn parse_define(define: &str) -> Result<(String, String), UsageError> {
    let (name, value) = define.split_once('=').unwrap_or((define, ""));
    if name.is_empty() {
        return Err(UsageError(format!("-D{define} has no name")));
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn describe(fail: &Fail) -> String {
    match fail {
        Fail::UnrecognizedOption(option) => format!("unknown option {option:?}"),
        Fail::ArgumentMissing(option) => format!("option {option:?} needs an argument"),
        Fail::OptionDuplicated(option) => format!("option {option:?} is given twice"),
        Fail::UnexpectedArgument(option) => format!("option {option:?} takes no argument"),
        Fail::OptionMissing(option) => format!("option {option:?} is missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(source: Source, defines: &[(&str, &str)]) -> Result<Command, UsageError> {
        let defines = defines.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        Ok(Command::Run(Start { source, defines }))
    }

    fn positional(port: u16, tick_time_ms: Option<i32>, max_client_cnxns: Option<i32>) -> Source {
        Source::Positional { port, data_dir: "/data".to_owned(), tick_time_ms, max_client_cnxns }
    }

    #[test]
    fn javas_forms_are_understood() {
        assert_eq!(parse([""; 0]), run(Source::Default, &[]));
        assert_eq!(parse(["conf/zoo.cfg"]), run(Source::File("conf/zoo.cfg".into()), &[]));
        assert_eq!(parse(["2181", "/data"]), run(positional(2181, None, None), &[]));
        assert_eq!(parse(["2181", "/data", "2000"]), run(positional(2181, Some(2000), None), &[]));
        assert_eq!(parse(["0", "/data", "2000", "60"]), run(positional(0, Some(2000), Some(60)), &[]));
    }

    #[test]
    fn options_stand_anywhere() {
        assert_eq!(parse(["--help", "a", "b"]), Ok(Command::Help));
        assert_eq!(parse(["--version"]), Ok(Command::Version));
        let check = Command::Check(Start { source: Source::File("zoo.cfg".into()), defines: Vec::new() });
        assert_eq!(parse(["--check", "zoo.cfg"]), Ok(check.clone()));
        assert_eq!(parse(["zoo.cfg", "--check"]), Ok(check));
    }

    #[test]
    fn purge_takes_all_that_follows_it() {
        let words = ["/log", "/snap", "-n", "3"];
        let purge = Command::Purge(words.map(str::to_owned).to_vec());
        assert_eq!(parse(["purge", "/log", "/snap", "-n", "3"]), Ok(purge));
        assert_eq!(parse(["purge"]), Ok(Command::Purge(Vec::new())));
        assert_eq!(parse(["./purge"]), run(Source::File("./purge".into()), &[]));
    }

    #[test]
    fn defines_are_kept_in_order() {
        assert_eq!(
            parse([
                "-Dzookeeper.snapCount=5",
                "zoo.cfg",
                "-Djute.maxbuffer=0x10=",
                "-D",
                "a",
                "-Dzookeeper.snapCount=6"
            ]),
            run(
                Source::File("zoo.cfg".into()),
                &[
                    ("zookeeper.snapCount", "5"),
                    ("jute.maxbuffer", "0x10="),
                    ("a", ""),
                    ("zookeeper.snapCount", "6")
                ]
            )
        );
    }

    #[test]
    fn what_makes_no_sense_is_refused_in_one_line() {
        for (arguments, says) in [
            (&["--frobnicate"][..], "unknown option \"frobnicate\""),
            (&["-D"], "needs an argument"),
            (&["-D=v"], "has no name"),
            (&["--check=yes"], "takes no argument"),
            (&["2181"], "the data directory is missing after port 2181"),
            (&["x", "/data"], "port is \"x\", which is not a number from 0 to 65535"),
            (&["70000", "/data"], "port is \"70000\""),
            (&["2181", "/data", "fast"], "tickTime is \"fast\""),
            (&["2181", "/data", "2000", "many"], "maxClientCnxns is \"many\""),
            (&["2181", "/data", "2000", "60", "x"], "5 arguments are too many"),
        ] {
            let error = parse(arguments).expect_err("refused").to_string();
            assert!(error.contains(says) && !error.contains('\n'), "{arguments:?}: {error}");
            assert!(error.ends_with("; try serval --help"), "{error}");
        }
    }

    #[test]
    fn the_help_names_every_option_and_form() {
        let help = help();
        for word in [
            "<zoo.cfg>",
            "<port> <dataDir> [tickTime [maxClientCnxns]]",
            "--check",
            "--version",
            "-D NAME=VALUE",
        ] {
            assert!(help.contains(word), "{word} is in:\n{help}");
        }
    }
}
