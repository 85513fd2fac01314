//! The table of keys agrees with itself, with the code that reads settings, and with the documentation.

use super::*;
use crate::config::keys::{Given, Treatment};
use std::fmt::Write as _;

#[test]
fn every_key_is_in_the_table_once() {
    let mut names = BTreeSet::new();
    for key in rows() {
        assert!(names.insert(key.name), "{} twice", key.name);
        let found = keys::find(key.name).expect("finds itself");
        assert_eq!(found.name, key.name);
    }
    for (alias, key) in keys::ALIASES {
        assert!(keys::find(alias).is_none(), "{alias} is no key");
        assert_eq!(keys::find(key).expect("the key exists").name, *key);
        assert_eq!(keys::alias(alias), Some(*key));
        assert_eq!(keys::alias(&format!("zookeeper.{alias}")), Some(*key));
    }
}

#[test]
fn families_hold_what_no_row_names() {
    let name = |key| keys::find(key).map(|key| key.name);
    assert_eq!(name("server.1"), Some("server.<id>"));
    assert_eq!(name("metricsProvider.httpPort"), Some("metricsProvider.httpPort"));
    assert_eq!(name("metricsProvider.ssl.keyStore.type"), Some("metricsProvider.ssl.<x>"));
    assert_eq!(name("metricsProvider.other"), Some("metricsProvider.<x>"));
    assert_eq!(name("ssl.quorum.trustStore.password"), Some("ssl.quorum.<x>"));
    assert_eq!((name("server."), name("Server.1")), (None, None));
}

/// The table says "honoured" of exactly the keys that the reader asks for.
#[test]
fn what_the_table_calls_honoured_is_read_and_nothing_else() {
    let mut asked = BTreeSet::new();
    // Some keys are looked at only where others are absent, or set.
    let more = "enforce.auth.enabled=true\nenforce.auth.schemes=ip\njute.maxbuffer.extrasize=2000";
    for text in ["", more] {
        let text = format!("dataDir=/nowhere\nclientPort=1\n{text}");
        let properties = properties::parse(text.as_bytes()).expect("good");
        let mut settings = Settings::of_file(Path::new("zoo.cfg"), properties, &[]);
        read::read_config(&mut settings, None).expect("good");
        asked.append(&mut settings.asked.into_inner());
    }
    for key in rows().filter(|key| !key.name.contains('<') && key.name != "version") {
        // Ports with TLS are checked, and so is SASL between servers, though both wait for their part.
        let checked = matches!(key.treatment, Treatment::NotBuilt(_)) && asked.contains(key.name);
        let honoured = matches!(key.treatment, Treatment::Honoured | Treatment::Ensemble);
        assert_eq!(honoured || checked, asked.contains(key.name), "{}", key.name);
    }
}

// The documentation.

fn given(given: Given) -> &'static str {
    match given {
        Given::File => "file",
        Given::Property => "file, -Dz",
        Given::PropertyOrBare => "file, -Dz, -D",
        Given::Jvm => "file, -D",
    }
}

fn treatment(treatment: Treatment) -> String {
    match treatment {
        Treatment::Honoured => "honoured".into(),
        Treatment::Ensemble => "ensemble".into(),
        Treatment::Ignored(reason) => format!("ignored: {reason}"),
        Treatment::NotApplicable(reason) => format!("not applicable: {reason}"),
        Treatment::NotBuilt(part) => format!("not built yet: {part}"),
    }
}

fn tables() -> String {
    let mut text = String::new();
    let code = |text: &str| if text.is_empty() { String::new() } else { format!("`{text}`") };
    for section in keys::SECTIONS {
        write!(
            text,
            "## {}\n\n| key | default | given | Serval | meaning |\n|---|---|---|---|---|\n",
            section.title
        )
        .expect("to a string");
        for key in section.keys {
            let (name, default) = (code(key.name), code(key.default));
            let (given, treatment) = (given(key.given), treatment(key.treatment));
            writeln!(text, "| {name} | {default} | {given} | {treatment} | {} |", key.meaning)
                .expect("to a string");
        }
        text.push('\n');
    }
    text += "## Names of the administrator's guide\n\n| name | read as |\n|---|---|\n";
    for (alias, key) in keys::ALIASES {
        writeln!(text, "| `{alias}` | `{key}` |").expect("to a string");
    }
    text
}

/// The tables of `docs/configuration.md` are printed from the table in the code. To print them anew:
/// `UPDATE_DOCS=1 cargo test the_documentation_has_the_table_of_keys`.
#[test]
fn the_documentation_has_the_table_of_keys() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let documentation = fs::read_to_string(&path).expect("docs/configuration.md");
    let first = format!("## {}\n", keys::SECTIONS[0].title);
    let prose = documentation.find(&first).map_or(documentation.as_str(), |at| &documentation[..at]);
    let expected = format!("{prose}{}", tables());
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, expected).expect("docs/configuration.md");
        return;
    }
    let wrong = documentation.lines().zip(expected.lines()).find(|(is, should)| is != should);
    assert_eq!(wrong, None, "UPDATE_DOCS=1 prints the tables anew");
    assert_eq!(documentation.len(), expected.len(), "UPDATE_DOCS=1 prints the tables anew");
}
