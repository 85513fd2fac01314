//! The commands: one table that dispatch, usage and completion read.
//!
//! A row has the name, the usage line, the options and who does it. What a command does to the tree is in
//! [`nodes`], [`access`], [`watching`], [`quota`] and [`ensemble`]; what it does to the shell itself (history,
//! connecting, leaving) is in [`shell`](super::shell).

mod access;
mod ensemble;
mod nodes;
mod quota;
mod watching;

use jiff::tz::TimeZone;

use super::client::Client;
use super::error::Failure;
use super::options::{OptionSet, Parsed, flag, value};
use super::output::Output;

/// What a command works with.
pub struct Context<'a> {
    pub client: &'a Client,
    pub output: &'a dyn Output,
    /// In which dates are shown.
    pub zone: &'a TimeZone,
}

pub type Outcome = Result<(), Failure>;

/// Commands that the shell does itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    Close,
    Connect,
    History,
    PrintWatches,
    Quit,
    Redo,
    Version,
}

/// Who does it.
#[derive(Clone, Copy)]
pub enum Run {
    /// Needs a session.
    Client(fn(&Context<'_>, &Parsed) -> Outcome),
    Shell(Builtin),
}

/// A row of [`COMMANDS`].
pub struct Command {
    pub name: &'static str,
    /// What stands behind the name in the usage.
    usage: &'static str,
    /// `None`: the arguments are taken as they are.
    options: Option<OptionSet>,
    /// Fewest and most arguments; more than Java would look at are ignored, as it does.
    arguments: (usize, usize),
    /// The usage is followed by what each option does.
    describes_options: bool,
    /// An old name, understood but not listed.
    pub hidden: bool,
    pub run: Run,
}

const fn command(
    name: &'static str,
    usage: &'static str,
    options: OptionSet,
    arguments_min: usize,
    run: fn(&Context<'_>, &Parsed) -> Outcome,
) -> Command {
    Command {
        name,
        usage,
        options: Some(options),
        arguments: (arguments_min, usize::MAX),
        describes_options: false,
        hidden: false,
        run: Run::Client(run),
    }
}

const fn builtin(name: &'static str, usage: &'static str, builtin: Builtin) -> Command {
    Command {
        name,
        usage,
        options: None,
        arguments: (0, usize::MAX),
        describes_options: false,
        hidden: false,
        run: Run::Shell(builtin),
    }
}

impl Command {
    const fn exactly(mut self, arguments: usize) -> Command {
        self.arguments = (arguments, arguments);
        self
    }

    const fn described(mut self) -> Command {
        self.describes_options = true;
        self
    }

    const fn raw(mut self) -> Command {
        self.options = None;
        self
    }

    const fn hidden(mut self) -> Command {
        self.hidden = true;
        self
    }

    /// `name arguments`, the line of the list of commands.
    pub fn synopsis(&self) -> String {
        format!("{} {}", self.name, self.usage)
    }

    /// What is shown when the arguments are not enough.
    fn usage_text(&self) -> String {
        match &self.options {
            Some(options) if self.describes_options => format!("{}\n{}", self.synopsis(), options.describe()),
            _ => self.synopsis(),
        }
    }

    /// Checks the words behind the command's name.
    ///
    /// # Errors
    ///
    /// A wrong option, or the usage if there are too few or too many arguments.
    pub fn parse(&self, words: &[String]) -> Result<Parsed, Failure> {
        let parsed = match &self.options {
            Some(options) => options.parse(words).map_err(Failure::Text)?,
            None => Parsed::raw(words),
        };
        let (min, max) = self.arguments;
        if (min..=max).contains(&parsed.arguments().len()) {
            Ok(parsed)
        } else {
            Err(Failure::Text(self.usage_text()))
        }
    }
}

const STATS: OptionSet = OptionSet::of(&[flag("s", "stats")]);
const VERSION: OptionSet = OptionSet::of(&[value("v", "version")]);
const BATCH: OptionSet = OptionSet::of(&[value("b", "batch size")]);
const ADD_WATCH_USAGE: &str = "[-m mode] path # optional mode is one of [PERSISTENT, PERSISTENT_RECURSIVE] - default is PERSISTENT_RECURSIVE";
const RECONFIG_USAGE: &str = "[-s] [-v version] [[-file path] | [-members serverID=host:port1:port2;port3[,...]*]] \
                              | [-add serverId=host:port1:port2;port3[,...]]* [-remove serverId[,...]*]";

/// Every command, sorted by name.
pub const COMMANDS: &[Command] = &[
    command("addWatch", ADD_WATCH_USAGE, OptionSet::of(&[value("m", "")]), 1, watching::add).exactly(1),
    command("addauth", "scheme auth", OptionSet::NONE, 1, access::add_auth),
    builtin("close", "", Builtin::Close),
    command(
        "config",
        "[-c] [-w] [-s]",
        OptionSet::of(&[flag("s", "stats"), flag("w", "watch"), flag("c", "client connection string")]),
        0,
        ensemble::config,
    ),
    builtin("connect", "host:port", Builtin::Connect),
    command(
        "create",
        "[-s] [-e] [-c] [-t ttl] path [data] [acl]",
        OptionSet::of(&[
            flag("e", "ephemeral"),
            flag("s", "sequential"),
            flag("c", "container"),
            value("t", "ttl"),
        ]),
        1,
        nodes::create,
    ),
    command("delete", "[-v version] path", VERSION, 1, nodes::delete),
    command("deleteall", "path [-b batch size]", BATCH, 1, nodes::delete_all),
    command("delquota", "[-n|-b|-N|-B] path", quota::DELETE_OPTIONS, 1, quota::delete),
    builtin("exit", "", Builtin::Quit),
    command(
        "get",
        "[-s] [-w] [-b] [-x] path",
        OptionSet::of(&[
            flag("s", "Print znode stats additionally"),
            flag("w", "Watch for changes on the znode"),
            flag("b", "Output data in base64 format"),
            flag("x", "Output data in hexdump format"),
        ]),
        1,
        nodes::get,
    )
    .described(),
    command("getAcl", "[-s] path", STATS, 1, access::get_acl),
    command("getAllChildrenNumber", "path", OptionSet::NONE, 1, nodes::get_all_children_number),
    command("getEphemerals", "path", OptionSet::NONE, 0, nodes::get_ephemerals),
    builtin("history", "", Builtin::History),
    command("listquota", "path", OptionSet::NONE, 1, quota::list),
    command("ls", "[-s] [-w] [-R] path", nodes::LS_OPTIONS, 0, nodes::ls),
    command("ls2", "path [watch]", OptionSet::NONE, 1, nodes::ls2).hidden(),
    builtin("printwatches", "on|off", Builtin::PrintWatches),
    builtin("quit", "", Builtin::Quit),
    command(
        "reconfig",
        RECONFIG_USAGE,
        OptionSet::of(&[
            flag("s", "stats"),
            value("v", "required current config version"),
            value("file", "path of config file to parse for membership"),
            value("members", "comma-separated list of config strings for non-incremental reconfig"),
            value("add", "comma-separated list of config strings for new servers"),
            value("remove", "comma-separated list of server IDs to remove"),
        ]),
        0,
        ensemble::reconfig,
    ),
    builtin("redo", "cmdno", Builtin::Redo),
    command(
        "removewatches",
        "path [-c|-d|-a] [-l]",
        OptionSet::of(&[
            flag("c", "child watcher type"),
            flag("d", "data watcher type"),
            flag("p", "persistent watcher type"),
            flag("r", "persistent recursive watcher type"),
            flag("a", "any watcher type"),
            flag("l", "remove locally when there is no server connection"),
        ]),
        1,
        watching::remove,
    ),
    command("rmr", "path [-b batch size]", BATCH, 1, nodes::delete_all).hidden(),
    command(
        "set",
        "path data [-s] [-v version] [-b]",
        OptionSet::of(&[
            flag("s", "Print znode stats additionally"),
            value("v", "Set with an expected version"),
            flag("b", "Supply data in base64 format"),
        ]),
        2,
        nodes::set,
    )
    .described(),
    command(
        "setAcl",
        "[-s] [-v version] [-R] path acl",
        OptionSet::of(&[flag("s", "stats"), value("v", "version"), flag("R", "recursive")]),
        2,
        access::set_acl,
    ),
    command("setquota", "-n|-b|-N|-B val path", quota::SET_OPTIONS, 1, quota::set),
    command("stat", "[-w] path", OptionSet::of(&[flag("w", "watch")]), 1, nodes::stat),
    command("sync", "path", OptionSet::NONE, 1, nodes::sync),
    Command { options: Some(OptionSet::NONE), ..builtin("version", "", Builtin::Version).exactly(0) },
    command("whoami", "", OptionSet::NONE, 0, access::who_am_i).raw(),
];

/// The command of that name; names are case-sensitive.
pub fn find(name: &str) -> Option<&'static Command> {
    COMMANDS.iter().find(|command| command.name == name)
}

/// What `help` shows.
pub fn usage() -> String {
    let mut text = String::from("ZooKeeper -server host:port -client-configuration properties-file cmd args");
    for command in COMMANDS.iter().filter(|command| !command.hidden) {
        text.push_str("\n\t");
        text.push_str(&command.synopsis());
    }
    text
}

/// An argument that the row's lower bound guarantees.
fn required(parsed: &Parsed, at: usize) -> &str {
    parsed.argument(at).expect("the table demands this many arguments")
}

/// The version to expect; -1, which fits any, if the option is not given.
fn expected_version(parsed: &Parsed) -> Result<i32, Failure> {
    match parsed.value("v") {
        None => Ok(-1),
        // Java dies of this one with a stack trace.
        Some(text) => text.parse().map_err(|_| Failure::text("-v argument must be an int value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::options::split_words;

    #[test]
    fn names_rise_and_are_found() {
        assert!(COMMANDS.windows(2).all(|w| w[0].name < w[1].name));
        assert!(COMMANDS.iter().all(|command| find(command.name).is_some_and(|c| c.name == command.name)));
        assert!(find("LS").is_none());
    }

    #[test]
    fn too_few_arguments_get_the_usage() {
        let refused = |line: &str| {
            let words = split_words(line);
            find(&words[0]).unwrap().parse(&words[1..]).unwrap_err().to_string()
        };
        assert_eq!(refused("create -s"), "create [-s] [-e] [-c] [-t ttl] path [data] [acl]");
        assert_eq!(refused("addWatch /a /b"), format!("addWatch {ADD_WATCH_USAGE}"));
        assert_eq!(refused("version x"), "version ");
        let described = refused("set /a");
        assert_eq!(described.lines().nth(3), Some(" -v <arg>   Set with an expected version"), "{described}");
        assert!(described.ends_with('\n'));
    }

    #[test]
    fn old_names_work_but_are_not_listed() {
        assert!(find("ls2").is_some() && find("rmr").is_some());
        assert!(!usage().contains("rmr") && usage().contains("\n\tclose \n\tconfig [-c] [-w] [-s]\n"));
    }
}
