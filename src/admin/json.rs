//! JSON in the layout of Jackson's default pretty printer, which Java's AdminServer uses.
//!
//! Scripts cut these answers with `grep`, so the layout counts: `"name" : value` on a line of its own, two blanks per
//! level, lists on one line with blanks inside their brackets. `serde_json` would need a formatter of its own for that,
//! which is as long as this file.

use std::fmt::{self, Display, Write};

use super::java::Double;

/// A value to be written.
#[derive(Clone, Debug, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    Int(i64),
    Real(f64),
    Text(String),
    List(Vec<Json>),
    /// Names in the order in which they are written.
    Object(Vec<(String, Json)>),
}

impl Json {
    pub fn object<N: Into<String>>(fields: impl IntoIterator<Item = (N, Json)>) -> Json {
        Json::Object(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }

    pub fn list(items: impl IntoIterator<Item = Json>) -> Json {
        Json::List(items.into_iter().collect())
    }

    pub fn text(text: impl Into<String>) -> Json {
        Json::Text(text.into())
    }

    /// Java's longs are signed; what does not fit is the largest.
    pub fn int(n: u64) -> Json {
        Json::Int(i64::try_from(n).unwrap_or(i64::MAX))
    }

    /// `level` counts the objects around this value: lists do not indent.
    fn write(&self, f: &mut fmt::Formatter<'_>, level: usize) -> fmt::Result {
        match self {
            Json::Null => f.write_str("null"),
            Json::Bool(b) => b.fmt(f),
            Json::Int(n) => n.fmt(f),
            Json::Real(x) if x.is_finite() => Double(*x).fmt(f),
            Json::Real(x) => write!(f, "\"{}\"", Double(*x)),
            Json::Text(text) => quoted(f, text),
            Json::List(items) => {
                f.write_str("[")?;
                for (i, item) in items.iter().enumerate() {
                    f.write_str(if i == 0 { " " } else { ", " })?;
                    item.write(f, level)?;
                }
                f.write_str(" ]")
            }
            Json::Object(fields) if fields.is_empty() => f.write_str("{ }"),
            Json::Object(fields) => {
                for (i, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if i == 0 { "{" } else { "," })?;
                    write!(f, "\n{:1$}", "", 2 * (level + 1))?;
                    quoted(f, name)?;
                    f.write_str(" : ")?;
                    value.write(f, level + 1)?;
                }
                write!(f, "\n{:1$}}}", "", 2 * level)
            }
        }
    }
}

impl fmt::Display for Json {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(f, 0)
    }
}

fn quoted(f: &mut fmt::Formatter<'_>, text: &str) -> fmt::Result {
    f.write_char('"')?;
    for c in text.chars() {
        match c {
            '"' | '\\' => write!(f, "\\{c}")?,
            '\n' => f.write_str("\\n")?,
            '\r' => f.write_str("\\r")?,
            '\t' => f.write_str("\\t")?,
            '\u{8}' => f.write_str("\\b")?,
            '\u{c}' => f.write_str("\\f")?,
            c if c < ' ' => write!(f, "\\u{:04X}", c as u32)?,
            c => f.write_char(c)?,
        }
    }
    f.write_char('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_jackson() {
        let connection = |n| Json::object([("peer", Json::text("127.0.0.1:1")), ("n", Json::Int(n))]);
        let value = Json::object([
            ("connections", Json::list([connection(1), connection(2)])),
            ("secure", Json::list([])),
            ("ids", Json::object([("7", Json::list([Json::Int(1), Json::Int(2)]))])),
            ("empty", Json::object::<String>([])),
            ("avg", Json::Real(0.0)),
            ("error", Json::Null),
        ]);
        let expected = r#"{
  "connections" : [ {
    "peer" : "127.0.0.1:1",
    "n" : 1
  }, {
    "peer" : "127.0.0.1:1",
    "n" : 2
  } ],
  "secure" : [ ],
  "ids" : {
    "7" : [ 1, 2 ]
  },
  "empty" : { },
  "avg" : 0.0,
  "error" : null
}"#;
        assert_eq!(value.to_string(), expected);
    }

    #[test]
    fn text_is_escaped_as_jackson_escapes_it() {
        assert_eq!(Json::text("a\"b\\c\n\u{1b}/é").to_string(), "\"a\\\"b\\\\c\\n\\u001B/é\"");
        assert_eq!(Json::Real(f64::NAN).to_string(), "\"NaN\"");
    }
}
