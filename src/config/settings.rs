//! From what was written to typed values: which settings there are, where each was given, and how Java reads
//! a value of its kind.
//!
//! Two ways of reading exist in Java and so here. Keys that `QuorumPeerConfig` parses itself are *strict*:
//! what is no number is an error. All others pass through system properties and are *lenient*: what is no
//! number is the default, and what is not "true" is false. Serval keeps that, since a file that Java accepts
//! must start, but says so in a warning.

use super::error::{ConfigError, OneLine, Origin, Place, Problem, Warning};
use super::keys::{self, Given, Part, Treatment};
use super::properties::Property;
use crate::quorum::membership::{MemberLine, is_member_key};
use std::collections::BTreeMap;
use std::path::Path;

/// One value and where it was given.
struct Setting {
    value: String,
    place: Place,
}

/// Every setting, under the name that the table of keys has for it.
pub(super) struct Settings {
    /// The place of what is missing: the file, or the arguments.
    pub whole: Place,
    by_key: BTreeMap<String, Setting>,
    /// Keys that an unknown key looks like, and where that one is.
    misspelt: BTreeMap<&'static str, Place>,
    pub warnings: Vec<Warning>,
    #[cfg(test)]
    pub asked: std::cell::RefCell<std::collections::BTreeSet<String>>,
}

impl Settings {
    /// The settings of a file, and of `-Dname=value` arguments where the file is silent.
    pub fn of_file(path: &Path, properties: Vec<Property>, defines: &[(String, String)]) -> Settings {
        let mut settings = Settings::new(Place::file(path));
        let mut aliases = Vec::new();
        for Property { key, value, line } in properties {
            let place = Place::line(path, line).key(&key);
            if keys::find(&key).is_some() || is_member_key(&key) {
                settings.set(key, Setting { value, place });
            } else if let Some(meant) = keys::alias(&key) {
                settings.warn(&place, format!("Java ignores this name in a file; it is read as {meant}"));
                aliases.push((meant.to_owned(), Setting { value, place }));
            } else {
                let similar = keys::similar(&key);
                let hint = similar.map_or(String::new(), |key| format!(" (did you mean {key}?)"));
                settings.misspelt.extend(similar.map(|key| (key, place.clone())));
                settings.warn(
                    &place,
                    format!(
                        "unknown key{hint}; it would become a Java system property, and has no effect here"
                    ),
                );
            }
        }
        // A key under its own name beats one under another name, wherever they stand.
        for (key, setting) in aliases {
            settings.by_key.entry(key).or_insert(setting);
        }
        settings.add_defines(defines);
        settings
    }

    /// The settings that positional arguments stand for.
    pub fn of_arguments(arguments: &[(&str, String)], defines: &[(String, String)]) -> Settings {
        let whole = Place { origin: Origin::Argument, key: None };
        let mut settings = Settings::new(whole.clone());
        for (key, value) in arguments {
            let setting = Setting { value: value.clone(), place: whole.clone().key(*key) };
            settings.by_key.insert((*key).to_owned(), setting);
        }
        settings.add_defines(defines);
        settings
    }

    fn new(whole: Place) -> Settings {
        Settings {
            whole,
            by_key: BTreeMap::new(),
            misspelt: BTreeMap::new(),
            warnings: Vec::new(),
            #[cfg(test)]
            asked: Default::default(),
        }
    }

    /// The last one wins, as in a Java hash table.
    fn set(&mut self, key: String, setting: Setting) {
        let place = setting.place.clone();
        if let Some(Setting { place: Place { origin: Origin::File { line: Some(line), .. }, .. }, .. }) =
            self.by_key.insert(key, setting)
        {
            self.warn(&place, format!("is set more than once; this line counts, line {line} does not"));
        }
    }

    /// Java turns file keys into system properties after it has taken the -D arguments, so the file wins; of
    /// the same -D twice the last wins; and a name with the prefix beats one without.
    fn add_defines(&mut self, defines: &[(String, String)]) {
        let (prefixed, bare): (Vec<_>, Vec<_>) =
            defines.iter().rev().partition(|(name, _)| name.starts_with("zookeeper."));
        for (name, value) in prefixed.into_iter().chain(bare) {
            let place = Place { origin: Origin::Define, key: Some(name.clone()) };
            let key = name.strip_prefix("zookeeper.");
            let found = keys::find(key.unwrap_or(name));
            let meant = match (key, found.map(|row| row.given)) {
                // Java reads these three before the file, as the defaults of keys that are otherwise strict.
                (Some(key), Some(Given::File)) if key.starts_with("multiAddress.") => key,
                (Some(key), Some(Given::Property | Given::PropertyOrBare | Given::Jvm)) => key,
                (None, Some(Given::PropertyOrBare | Given::Jvm)) => name,
                (Some(_), Some(Given::File)) => {
                    self.warn(&place, "has no effect, as in Java: only a line in the file can set it".into());
                    continue;
                }
                _ => match key.and_then(keys::alias) {
                    Some(meant) => meant,
                    None => {
                        self.warn(&place, "is a Java system property, and has no effect here".into());
                        continue;
                    }
                },
            };
            let setting = Setting { value: value.trim_matches(|c| c <= ' ').to_owned(), place };
            self.by_key.entry(meant.to_owned()).or_insert(setting);
        }
    }

    pub fn warn(&mut self, place: &Place, text: String) {
        self.warnings.push(Warning { place: place.clone(), text });
    }

    fn get(&self, key: &str) -> Option<&Setting> {
        #[cfg(test)]
        self.asked.borrow_mut().insert(key.to_owned());
        self.by_key.get(key)
    }

    /// Where `key` was given; the file as a whole, and the key, where it was not.
    pub fn place(&self, key: &str) -> Place {
        self.by_key.get(key).map_or_else(|| self.whole.clone().key(key), |setting| setting.place.clone())
    }

    pub fn error(&self, key: &str, problem: Problem) -> ConfigError {
        ConfigError { place: self.place(key), problem }
    }

    /// The error of a key that is not set; it points at the line that may be meant to set it.
    pub fn missing(&self, key: &'static str, problem: Problem) -> ConfigError {
        match self.misspelt.get(key) {
            Some(place) if !self.has(key) => {
                ConfigError { place: place.clone(), problem: Problem::Misspelt { meant: key } }
            }
            _ => self.error(key, problem),
        }
    }

    /// Whether a key was given at all.
    pub fn has(&self, key: &str) -> bool {
        self.get(key).is_some()
    }

    /// The text of a key. Empty is absent, except where a caller asks [`Settings::has`].
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key).map(|setting| setting.value.as_str()).filter(|value| !value.is_empty())
    }

    /// The text of a key, or its default.
    pub fn text_or_default(&self, key: &str) -> &str {
        self.get(key).map_or_else(|| default_of(key), |setting| setting.value.as_str())
    }

    /// All keys that begin with `prefix`, and their values.
    pub fn family<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.by_key.iter().filter(move |(key, _)| key.starts_with(prefix));
        all.map(|(key, setting)| (key.as_str(), setting.value.as_str()))
    }

    /// The lines that say who is in the ensemble, and `version` if it is there.
    pub fn member_lines(&self) -> Vec<(MemberLine<'_>, &Place)> {
        let lines = self.by_key.iter().filter(|(key, _)| is_member_key(key) || *key == "version");
        lines.map(|(key, Setting { value, place })| (MemberLine { key, value }, place)).collect()
    }
}

/// Strict values.
impl Settings {
    /// A number, or its default.
    pub fn int(&self, key: &str) -> Result<i32, ConfigError> {
        parse_int(self.text_or_default(key)).map_err(|problem| self.error(key, problem))
    }

    /// A number, if the key was given.
    pub fn int_if_given(&self, key: &str) -> Result<Option<i32>, ConfigError> {
        if !self.has(key) {
            return Ok(None);
        }
        self.int(key).map(Some)
    }

    /// A port, or its default.
    pub fn port(&self, key: &str) -> Result<u16, ConfigError> {
        let text = self.text_or_default(key);
        let port = match parse_int(text) {
            Err(problem @ Problem::NotANumber { .. }) => Err(problem),
            number => {
                number.ok().and_then(|number| u16::try_from(number).ok()).ok_or_else(|| not_a_port(text))
            }
        };
        port.map_err(|problem| self.error(key, problem))
    }

    /// A port, if the key was given.
    pub fn port_if_given(&self, key: &str) -> Result<Option<u16>, ConfigError> {
        if !self.has(key) {
            return Ok(None);
        }
        self.port(key).map(Some)
    }

    /// `true` or `false` in any case.
    pub fn boolean(&self, key: &str) -> Result<bool, ConfigError> {
        let value = self.text_or_default(key);
        if value.eq_ignore_ascii_case("true") {
            Ok(true)
        } else if value.eq_ignore_ascii_case("false") {
            Ok(false)
        } else {
            Err(self.error(key, Problem::NotABoolean { value: value.to_owned() }))
        }
    }
}

/// Lenient values.
impl Settings {
    /// A whole number of at least `min`; a smaller one becomes `min`.
    pub fn property_int(&mut self, key: &str, min: i32) -> i32 {
        let default = decode(default_of(key)).expect("the table's default is a number");
        self.number_within(key, i64::from(min), i64::from(i32::MAX), default) as i32
    }

    /// Like [`Settings::property_int`], for a key whose default depends on another key.
    pub fn property_int_or(&mut self, key: &str, min: i32, default: i32) -> i32 {
        self.number_within(key, i64::from(min), i64::from(i32::MAX), i64::from(default)) as i32
    }

    /// Like [`Settings::property_int`], for what Java keeps in 64 bits.
    pub fn property_long(&mut self, key: &str, min: i64) -> i64 {
        let default = decode(default_of(key)).expect("the table's default is a number");
        self.number_within(key, min, i64::MAX, default)
    }

    /// A port; what is none becomes the default.
    pub fn property_port(&mut self, key: &str) -> u16 {
        let default = decode(default_of(key)).expect("the table's default is a number");
        self.number_within(key, 0, i64::from(u16::MAX), default) as u16
    }

    fn number_within(&mut self, key: &str, min: i64, max: i64, default: i64) -> i64 {
        let given = self.text_or_default(key);
        let (number, complaint) = match decode(given) {
            Some(number) if number > max => {
                (default, Some(format!("is too large; the default {default} is used")))
            }
            Some(number) if number < min => (min, Some(format!("{number} is too small; {min} is used"))),
            Some(number) => (number, None),
            None => {
                (default, Some(format!("{given:?} is not a whole number; the default {default} is used")))
            }
        };
        if let Some(complaint) = complaint {
            self.warn(&self.place(key), complaint);
        }
        number
    }

    /// A number with a fraction.
    pub fn property_fraction(&mut self, key: &str) -> f64 {
        let given = self.text_or_default(key);
        if let Some(number) = given.parse::<f64>().ok().filter(|number| number.is_finite()) {
            return number;
        }
        let default = default_of(key).parse().expect("the table's default is a number");
        let complaint = format!("{given:?} is not a number; the default {default} is used");
        self.warn(&self.place(key), complaint);
        default
    }

    /// True for "true" in any case, false for all else: `yes`, `1` and `on` are false, which deserves a word.
    pub fn property_boolean(&mut self, key: &str) -> bool {
        let value = self.text_or_default(key);
        let truth = value.eq_ignore_ascii_case("true");
        if !truth && !value.eq_ignore_ascii_case("false") {
            let complaint = format!("{value:?} counts as false, as in Java; write true or false");
            self.warn(&self.place(key), complaint);
        }
        truth
    }

    /// Whether a key has exactly the one word that Java compares it with. `words` are the two a person would
    /// write, first the one that counts.
    pub fn property_word(&mut self, key: &str, words: [&str; 2]) -> bool {
        let value = self.text_or_default(key);
        if !words.contains(&value) {
            let complaint =
                format!("{value:?} counts as {}, as in Java; write {} or {}", words[1], words[0], words[1]);
            self.warn(&self.place(key), complaint);
        }
        self.text_or_default(key) == words[0]
    }
}

/// Warnings about settings without effect.
impl Settings {
    /// One warning for each ignored key that asks for something else than its default, and one for each part
    /// of the server that does not exist yet.
    pub fn warn_of_keys_without_effect(&mut self) {
        let mut waiting: BTreeMap<Part, Vec<String>> = BTreeMap::new();
        let mut warnings = Vec::new();
        for (key, Setting { value, place }) in &self.by_key {
            let Some(row) = keys::find(key) else { continue };
            let asks_for_nothing =
                value == row.default || value.is_empty() || value.eq_ignore_ascii_case("false");
            let part = match (row.treatment, row.name) {
                (_, "authProvider.<n>") => match auth_provider(value) {
                    Some("ip" | "digest") => continue,
                    Some(scheme @ ("sasl" | "x509")) => {
                        let text = format!(
                            "ids of the scheme {scheme} may stand in ACLs, but nobody can authenticate by it yet"
                        );
                        warnings.push(Warning { place: place.clone(), text });
                        continue;
                    }
                    Some(_) => Part::AuthSchemes,
                    None => {
                        let text =
                            format!("the Java class {value:?} cannot be loaded; its scheme does not exist");
                        warnings.push(Warning { place: place.clone(), text });
                        continue;
                    }
                },
                _ if asks_for_nothing => continue,
                (Treatment::NotBuilt(part), _) => part,
                (Treatment::Ignored(reason) | Treatment::NotApplicable(reason), _) => {
                    let text = format!("has no effect: {reason}");
                    warnings.push(Warning { place: place.clone(), text });
                    continue;
                }
                (Treatment::Honoured | Treatment::Ensemble, _) => continue,
            };
            let name = OneLine(key);
            let mention = match &place.origin {
                Origin::File { line: Some(line), .. } => format!("{name} (line {line})"),
                _ => place.to_string(),
            };
            waiting.entry(part).or_default().push(mention);
        }
        for (part, mentions) in waiting {
            let text = format!("{part} is not built yet, so these have no effect: {}", mentions.join(", "));
            warnings.push(Warning { place: self.whole.clone(), text });
        }
        self.warnings.append(&mut warnings);
        // In the order of the file; what has no line comes last, in the order found.
        self.warnings.sort_by_key(|warning| match warning.place.origin {
            Origin::File { line: Some(line), .. } => line,
            _ => u32::MAX,
        });
    }
}

/// What is told of the settings after they were read.
impl Settings {
    /// Where each setting was given, by key.
    pub fn places(&self) -> BTreeMap<String, Place> {
        self.by_key.iter().map(|(key, setting)| (key.clone(), setting.place.clone())).collect()
    }

    /// What the HTTP command `system_properties` shows: every key that was given, and the defaults of those that
    /// were not, by their full names.
    pub fn in_force(&self) -> Vec<(String, String)> {
        let rows = keys::SECTIONS.iter().flat_map(|section| section.keys);
        let defaults = rows.filter(|row| matches!(row.treatment, Treatment::Honoured | Treatment::Ensemble));
        let defaults = defaults.filter(|row| !row.default.is_empty()).map(|row| (row.name, row.default));
        let given = self.by_key.iter().map(|(key, setting)| (key.as_str(), setting.value.as_str()));
        let all: BTreeMap<&str, &str> = defaults.chain(given).collect();
        let named = all.into_iter().map(|(key, value)| {
            let lower = key.to_ascii_lowercase();
            // Java shows passwords and the super user's digest to everybody who can reach the port.
            let secret = lower.contains("password") || lower.contains("superdigest");
            let prefix = match keys::find(key).map(|row| row.given) {
                Some(Given::Property | Given::PropertyOrBare) => "zookeeper.",
                Some(Given::File | Given::Jvm) | None => "",
            };
            (format!("{prefix}{key}"), if secret { "(hidden)" } else { value }.to_owned())
        });
        named.collect()
    }
}

/// The scheme of a class that comes with ZooKeeper; any other would be an operator's own Java code.
pub(super) fn auth_provider(class: &str) -> Option<&'static str> {
    match class.strip_prefix("org.apache.zookeeper.server.auth.")? {
        "IPAuthenticationProvider" => Some("ip"),
        "DigestAuthenticationProvider" => Some("digest"),
        "SASLAuthenticationProvider" => Some("sasl"),
        "X509AuthenticationProvider" => Some("x509"),
        "EnsembleAuthenticationProvider" => Some("ensemble"),
        "KeyAuthenticationProvider" => Some("key"),
        _ => None,
    }
}

fn default_of(key: &str) -> &'static str {
    keys::find(key).expect("only keys of the table are read").default
}

fn not_a_port(value: &str) -> Problem {
    Problem::NotAPort { value: value.to_owned() }
}

/// `Integer.parseInt`.
pub(super) fn parse_int(text: &str) -> Result<i32, Problem> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    text.parse::<i32>().map_err(|error| match error.kind() {
        PosOverflow | NegOverflow => Problem::NumberTooLarge { value: text.to_owned() },
        _ => Problem::NotANumber { value: text.to_owned() },
    })
}

/// `Long.decode`, by which Java reads numbers of system properties: decimal, `0x` and `#` hexadecimal (people
/// do write `jute.maxbuffer=0x9fffff`), and octal with a leading zero.
fn decode(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    let hex = digits.strip_prefix("0x").or(digits.strip_prefix("0X")).or(digits.strip_prefix('#'));
    let octal = digits.strip_prefix('0').filter(|digits| !digits.is_empty());
    let (digits, radix) = match (hex, octal) {
        (Some(digits), _) => (digits, 16),
        (None, Some(digits)) => (digits, 8),
        (None, None) => (digits, 10),
    };
    // `from_str_radix` would take a second sign.
    if !digits.starts_with(|c: char| c.is_ascii_hexdigit()) {
        return None;
    }
    let magnitude = i128::from(u64::from_str_radix(digits, radix).ok()?);
    i64::try_from(if negative { -magnitude } else { magnitude }).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_decode_like_java_integers() {
        for (text, number) in [
            ("0", Some(0)),
            ("4194304", Some(4_194_304)),
            ("-1", Some(-1)),
            ("+7", Some(7)),
            ("0x9fffff", Some(0x9f_ffff)),
            ("-0X10", Some(-16)),
            ("#ff", Some(255)),
            ("010", Some(8)),
            ("-9223372036854775808", Some(i64::MIN)),
            ("9223372036854775808", None),
            ("089", None),
            ("", None),
            ("-", None),
            ("0x", None),
            ("--1", None),
            ("0x-1", None),
            ("1 # x", None),
            ("1_000", None),
        ] {
            assert_eq!(decode(text), number, "{text:?}");
        }
    }
}
