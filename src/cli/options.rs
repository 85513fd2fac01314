//! Command lines: cut into words as Java's shell does, options parsed as Apache Commons CLI does.
//!
//! Scripts rely on the details: options may stand anywhere, `-sw` is `-s -w`, `-v3` is `-v 3`, `--` ends them,
//! `-5` is a value after an option that takes one and an unknown option elsewhere. The texts of errors begin
//! with the names of Java's exceptions, because that is what Java's shell prints.

/// One option of a command.
#[derive(Clone, Copy, Debug)]
pub struct OptionSpec {
    /// Without the dash; `reconfig` has names longer than a letter.
    pub name: &'static str,
    pub takes_value: bool,
    pub description: &'static str,
}

/// The options of a command.
#[derive(Clone, Copy, Debug)]
pub struct OptionSet {
    pub options: &'static [OptionSpec],
    /// At most one of them may be given.
    pub exclusive: bool,
    /// At least one of them must be given.
    pub required: bool,
}

pub const fn flag(name: &'static str, description: &'static str) -> OptionSpec {
    OptionSpec { name, takes_value: false, description }
}

pub const fn value(name: &'static str, description: &'static str) -> OptionSpec {
    OptionSpec { name, takes_value: true, description }
}

impl OptionSet {
    pub const NONE: OptionSet = OptionSet::of(&[]);

    pub const fn of(options: &'static [OptionSpec]) -> OptionSet {
        OptionSet { options, exclusive: false, required: false }
    }

    /// # Errors
    ///
    /// The text of Commons CLI's exception, its class in front.
    pub fn parse(&self, words: &[String]) -> Result<Parsed, String> {
        let mut parsed = Parsed::default();
        let mut wants_value: Option<&OptionSpec> = None;
        let mut only_arguments = false;
        for word in words {
            if only_arguments {
                parsed.arguments.push(word.clone());
            } else if word == "--" {
                // What Commons CLI makes of an option that still waits for its value is decided at the end.
                only_arguments = true;
            } else if let Some(option) = wants_value.take_if(|_| self.may_be_value(word)) {
                parsed.values.push((option.name, unquoted(word).to_string()));
            } else if word.len() > 1 && word.starts_with('-') {
                if let Some(option) = wants_value {
                    return Err(missing_argument(option));
                }
                wants_value = self.parse_option(word, &mut parsed)?;
            } else {
                parsed.arguments.push(word.clone());
            }
        }
        if let Some(option) = wants_value {
            return Err(missing_argument(option));
        }
        if self.required && parsed.given.is_empty() {
            let all: Vec<_> = self
                .options
                .iter()
                .map(|option| format!("-{} {}", option.name, option.description))
                .collect();
            return Err(format!(
                "org.apache.commons.cli.MissingOptionException: Missing required option: [{}]",
                all.join(", ")
            ));
        }
        Ok(parsed)
    }

    /// A word in the place of a value is one, unless it looks like an option of this command.
    fn may_be_value(&self, word: &str) -> bool {
        let Some(name) = word.strip_prefix('-').filter(|name| !name.is_empty()) else { return true };
        if name.parse::<f64>().is_ok() {
            return true;
        }
        let name = name.split_once('=').map_or(name, |(name, _)| name);
        self.find(name).is_none() && name.chars().next().and_then(|c| self.find_char(c)).is_none()
    }

    /// A word that begins with a dash. The option that now waits for its value, if one does.
    fn parse_option(&self, word: &str, parsed: &mut Parsed) -> Result<Option<&OptionSpec>, String> {
        let unknown =
            || format!("org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: {word}");
        // All our names are "short options", which Commons CLI does not know by two dashes.
        let name = word.strip_prefix('-').filter(|name| !name.starts_with('-')).ok_or_else(unknown)?;
        if let Some(option) = self.find(name) {
            self.give(option, parsed)?;
            return Ok(option.takes_value.then_some(option));
        }
        if let Some((name, value)) = name.split_once('=') {
            let one_letter = name.chars().count() == 1;
            let option =
                self.find(name).filter(|option| one_letter && option.takes_value).ok_or_else(unknown)?;
            self.give(option, parsed)?;
            parsed.values.push((option.name, unquoted(value).to_string()));
            return Ok(None);
        }
        if name.chars().count() == 1 {
            return Err(unknown());
        }
        // Several letters at once, the last of which may have its value behind it.
        for (at, letter) in name.char_indices() {
            let option = self.find_char(letter).ok_or_else(unknown)?;
            self.give(option, parsed)?;
            let rest = &name[at + letter.len_utf8()..];
            if option.takes_value {
                if rest.is_empty() {
                    return Ok(Some(option));
                }
                parsed.values.push((option.name, unquoted(rest).to_string()));
                break;
            }
        }
        Ok(None)
    }

    fn give(&self, option: &OptionSpec, parsed: &mut Parsed) -> Result<(), String> {
        if let Some(first) = parsed.given.first()
            && self.exclusive
            && *first != option.name
        {
            return Err(format!(
                "org.apache.commons.cli.AlreadySelectedException: The option '{}' was specified but an option \
                 from this group has already been selected: '{first}'",
                option.name
            ));
        }
        parsed.given.push(option.name);
        Ok(())
    }

    fn find(&self, name: &str) -> Option<&OptionSpec> {
        self.options.iter().find(|option| option.name == name)
    }

    fn find_char(&self, letter: char) -> Option<&OptionSpec> {
        self.find(letter.encode_utf8(&mut [0; 4]))
    }

    /// The options with what they do, one a line, sorted as `HelpFormatter` does.
    pub fn describe(&self) -> String {
        let mut options: Vec<_> = self.options.iter().collect();
        options.sort_by_key(|option| option.name.to_lowercase());
        let names: Vec<_> = options
            .iter()
            .map(|option| format!(" -{}{}", option.name, if option.takes_value { " <arg>" } else { "" }))
            .collect();
        let width = names.iter().map(String::len).max().unwrap_or(0);
        let lines = names
            .iter()
            .zip(&options)
            .map(|(name, option)| format!("{name:width$}   {}\n", option.description));
        lines.collect()
    }
}

fn missing_argument(option: &OptionSpec) -> String {
    format!("org.apache.commons.cli.MissingArgumentException: Missing argument for option: {}", option.name)
}

/// Values lose one pair of double quotes (`Util.stripLeadingAndTrailingQuotes`).
fn unquoted(word: &str) -> &str {
    match word.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) if !inner.contains('"') => inner,
        _ => word,
    }
}

/// A command's options and arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    given: Vec<&'static str>,
    values: Vec<(&'static str, String)>,
    /// The name of the command is not among them.
    arguments: Vec<String>,
}

impl Parsed {
    /// Arguments that were not parsed, for commands that take them as they are.
    pub fn raw(arguments: &[String]) -> Parsed {
        Parsed { arguments: arguments.to_vec(), ..Parsed::default() }
    }

    pub fn has(&self, option: &str) -> bool {
        self.given.contains(&option)
    }

    /// The value of an option; the first, if it was given twice.
    pub fn value(&self, option: &str) -> Option<&str> {
        self.values.iter().find(|(name, _)| *name == option).map(|(_, value)| value.as_str())
    }

    pub fn arguments(&self) -> &[String] {
        &self.arguments
    }

    pub fn argument(&self, at: usize) -> Option<&str> {
        self.arguments.get(at).map(String::as_str)
    }
}

/// Cuts a line into words: at blanks, except between quotes that open a word.
///
/// There are no escapes. A quote inside a word is a letter like any other, and one that opens a word but is
/// never closed is dropped: both as in Java (`MyCommandOptions.ARGS_PATTERN`).
pub fn split_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut rest = line.trim_start();
    while let Some(first) = rest.chars().next() {
        if let quote @ ('"' | '\'') = first {
            rest = match rest[1..].split_once(quote) {
                Some((word, after)) => {
                    words.push(word.to_string());
                    after
                }
                None => &rest[1..],
            };
        } else {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            words.push(rest[..end].to_string());
            rest = &rest[end..];
        }
        rest = rest.trim_start();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const SET: OptionSet = OptionSet::of(&[
        flag("s", "Print znode stats additionally"),
        flag("b", "Supply data in base64 format"),
        value("v", "Set with an expected version"),
        value("members", "list"),
    ]);

    fn parse(line: &str) -> Result<Parsed, String> {
        SET.parse(&split_words(line))
    }

    #[test]
    fn options_stand_anywhere_and_together() {
        let parsed = parse("/a -s data -v 3").unwrap();
        assert_eq!(parsed.arguments(), ["/a", "data"]);
        assert!(parsed.has("s") && !parsed.has("b"));
        assert_eq!(parsed.value("v"), Some("3"));
        for line in ["-sbv3 /a", "-sb -v=3 /a", "-bsv 3 /a"] {
            let parsed = parse(line).unwrap();
            assert!(parsed.has("s") && parsed.has("b"), "{line}");
            assert_eq!(
                (parsed.value("v"), parsed.arguments()),
                (Some("3"), &["/a".to_string()][..]),
                "{line}"
            );
        }
    }

    #[test]
    fn values_may_look_like_options_that_there_are_none_of() {
        assert_eq!(parse("-v -5 /a").unwrap().value("v"), Some("-5"));
        assert_eq!(parse("-v -x /a").unwrap().value("v"), Some("-x"));
        assert_eq!(parse("-members server.1=a:1:2;3").unwrap().value("members"), Some("server.1=a:1:2;3"));
        assert_eq!(parse("-v 1 -v 2").unwrap().value("v"), Some("1"));
    }

    #[test]
    fn two_dashes_end_the_options() {
        assert_eq!(parse("/a -- -s -5").unwrap().arguments(), ["/a", "-s", "-5"]);
        assert_eq!(parse("/a -").unwrap().arguments(), ["/a", "-"]);
    }

    #[test]
    fn errors_read_as_javas() {
        let error = |line| parse(line).unwrap_err();
        let unknown = "org.apache.commons.cli.UnrecognizedOptionException: Unrecognized option: ";
        for (line, word) in
            [("-z /a", "-z"), ("/a -5", "-5"), ("-sz", "-sz"), ("--s", "--s"), ("-s=1", "-s=1")]
        {
            assert_eq!(error(line), format!("{unknown}{word}"));
        }
        let missing = "org.apache.commons.cli.MissingArgumentException: Missing argument for option: v";
        assert_eq!(error("/a -v"), missing);
        assert_eq!(error("-v -s"), missing);
    }

    #[test]
    fn a_group_wants_exactly_one() {
        const GROUP: OptionSet =
            OptionSet { options: &[value("n", "num"), value("b", "bytes")], exclusive: true, required: true };
        let parse = |line| GROUP.parse(&split_words(line));
        assert_eq!(parse("-n 1 /a").unwrap().value("n"), Some("1"));
        assert!(parse("-n 1 -b 2").unwrap_err().ends_with(
            "The option 'b' was specified but an option from this \
                                                           group has already been selected: 'n'"
        ));
        assert!(parse("/a").unwrap_err().ends_with("Missing required option: [-n num, -b bytes]"));
    }

    #[test]
    fn options_are_described_in_columns() {
        const SET: OptionSet = OptionSet::of(&[flag("s", "stats"), value("v", "version")]);
        assert_eq!(SET.describe(), " -s         stats\n -v <arg>   version\n");
    }

    #[test]
    fn quotes_keep_blanks_together_and_know_no_escapes() {
        assert_eq!(split_words("set /a \"x  y\" 'it\"s'"), ["set", "/a", "x  y", "it\"s"]);
        assert_eq!(split_words("  create /a \"\"  "), ["create", "/a", ""]);
        assert_eq!(split_words("set /a don't"), ["set", "/a", "don't"]);
        assert_eq!(split_words("set /a \"open end"), ["set", "/a", "open", "end"]);
        assert_eq!(split_words("set /a \"x\"y"), ["set", "/a", "x", "y"]);
        assert_eq!(split_words(" \t "), [""; 0]);
    }
}
