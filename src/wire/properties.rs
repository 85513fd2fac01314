//! The syntax of `java.util.Properties`, which is the syntax of zoo.cfg and of every file beside it.
//!
//! Bytes become *logical lines* (comments and blank lines dropped, lines that end in a backslash joined
//! with the next), a logical line becomes a key and a value, and both are unescaped. Administrators never
//! read that grammar, so its odd corners are what their files depend on: `tickTime : 2000` and
//! `clientPort 2181` are settings, `maxClientCnxns=5 # five` is the value `5 # five`, and a backslash in a
//! Windows path disappears.
//!
//! Java keeps no positions. Here every property keeps the number of its first line, for messages.
//!
//! # Invariants
//! - Any bytes at all either parse or are a [`MalformedUnicode`]; nothing panics, and nothing is larger than
//!   the input.
//! - Properties come in the order of the file, duplicates included; that the last one wins is the reader's
//!   business, because it wants to say so.

/// One `key = value` of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// Unescaped and trimmed of blanks and control characters, as the server does after loading.
    pub key: String,
    /// Unescaped and trimmed, like the key.
    pub value: String,
    /// The line, counted from 1, on which the key stands.
    pub line: u32,
}

/// A `\u` that four hexadecimal digits do not follow: the one thing that is wrong to write in such a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MalformedUnicode {
    /// The line, counted from 1, on which the key stands.
    pub line: u32,
}

/// Every property in `bytes`, in order.
///
/// # Errors
/// [`MalformedUnicode`] for a broken `\uXXXX`; Java too refuses the whole file then.
pub fn parse(bytes: &[u8]) -> Result<Vec<Property>, MalformedUnicode> {
    let mut properties = Vec::new();
    let mut lines = LogicalLines::of(bytes);
    while let Some((line, text)) = lines.next_line() {
        let (key, value) = split(&text);
        let unescaped = |part| unescape(part).ok_or(MalformedUnicode { line });
        properties.push(Property { key: trim(unescaped(key)?), value: trim(unescaped(value)?), line });
    }
    Ok(properties)
}

/// `bytes` without the properties whose keys `drop` names. All else, comments too, stays byte by byte; the last
/// line is ended, so that another may follow.
///
/// # Errors
/// As [`parse`].
pub fn without(bytes: &[u8], drop: impl Fn(&str) -> bool) -> Result<Vec<u8>, MalformedUnicode> {
    let mut kept = Vec::with_capacity(bytes.len());
    let mut lines = LogicalLines::of(bytes);
    let mut from = 0;
    while let Some((line, text)) = lines.next_line() {
        let unescaped = |part| unescape(part).ok_or(MalformedUnicode { line });
        let (key, value) = split(&text);
        unescaped(value)?;
        if drop(&trim(unescaped(key)?)) {
            kept.extend_from_slice(&bytes[from..lines.start]);
            from = bytes.len() - lines.rest.len();
        }
    }
    kept.extend_from_slice(&bytes[from..]);
    if kept.last().is_some_and(|last| !matches!(last, b'\n' | b'\r')) {
        kept.push(b'\n');
    }
    // A backslash that ends the file would join what follows to its line; an empty line takes it in.
    if kept.trim_ascii_end().ends_with(b"\\") {
        kept.extend_from_slice(b"\n\n");
    }
    Ok(kept)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\x0c')
}

/// `String.trim` of Java: everything up to U+0020 goes, not only white space.
fn trim(text: String) -> String {
    text.trim_matches(|c| c <= ' ').to_owned()
}

/// Cuts the input into logical lines. Still escaped: a backslash in front of a line's end is all it removes.
struct LogicalLines<'a> {
    rest: &'a [u8],
    /// The number of the natural line at the start of `rest`.
    line: u32,
    /// Where the line that was cut off last begins.
    start: usize,
    /// Length of the whole.
    len: usize,
}

impl<'a> LogicalLines<'a> {
    fn of(bytes: &'a [u8]) -> LogicalLines<'a> {
        LogicalLines { rest: bytes, line: 1, start: 0, len: bytes.len() }
    }

    /// The next line that is neither blank nor a comment, with its number.
    fn next_line(&mut self) -> Option<(u32, Vec<u8>)> {
        let mut text = Vec::new();
        let mut first_line = self.line;
        let mut begins = 0;
        loop {
            let start = self.len - self.rest.len();
            let Some((line, natural)) = self.natural_line() else { break };
            let natural = &natural[natural.iter().take_while(|b| is_blank(**b)).count()..];
            // Comments are recognised only where a logical line has nothing yet: a continuation that starts
            // with '#' is part of the value.
            if text.is_empty() && (natural.is_empty() || matches!(natural[0], b'#' | b'!')) {
                continue;
            }
            if text.is_empty() {
                first_line = line;
                begins = start;
            }
            // Only an odd run of backslashes escapes the line's end; an even one is escaped backslashes.
            let backslashes = natural.iter().rev().take_while(|b| **b == b'\\').count();
            let continues = backslashes % 2 == 1;
            text.extend_from_slice(&natural[..natural.len() - usize::from(continues)]);
            if !continues {
                break;
            }
        }
        self.start = begins;
        (!text.is_empty()).then_some((first_line, text))
    }

    /// The next line as an editor shows it, ended by `\n`, `\r` or `\r\n`.
    fn natural_line(&mut self) -> Option<(u32, &[u8])> {
        if self.rest.is_empty() {
            return None;
        }
        let end = self.rest.iter().position(|b| matches!(b, b'\n' | b'\r')).unwrap_or(self.rest.len());
        let (natural, after) = self.rest.split_at(end);
        let terminator = if after.starts_with(b"\r\n") { 2 } else { after.len().min(1) };
        self.rest = &after[terminator..];
        let line = self.line;
        self.line = line.saturating_add(1);
        Some((line, natural))
    }
}

/// Key and value of a logical line, both still escaped. The key ends at the first `=`, `:` or blank that no
/// backslash protects; blanks around one `=` or `:` are part of neither.
fn split(line: &[u8]) -> (&[u8], &[u8]) {
    let mut escaped = false;
    let mut key_end = line.len();
    for (at, byte) in line.iter().enumerate() {
        if !escaped && (is_blank(*byte) || matches!(byte, b'=' | b':')) {
            key_end = at;
            break;
        }
        escaped = *byte == b'\\' && !escaped;
    }
    let (key, mut value) = line.split_at(key_end);
    let mut separated = false;
    while let Some((first, rest)) = value.split_first() {
        match first {
            b'=' | b':' if !separated => separated = true,
            blank if is_blank(*blank) => {}
            _ => break,
        }
        value = rest;
    }
    (key, value)
}

/// The text that the escapes stand for, or `None` for a malformed `\u`.
///
/// The file is ISO-8859-1, so a byte is a character; `\uXXXX` are UTF-16 units, so that two of them can make
/// one character. A lone surrogate, which a Java string may hold and a Rust one may not, becomes U+FFFD.
fn unescape(text: &[u8]) -> Option<String> {
    let mut units: Vec<u16> = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        rest = after;
        if byte != b'\\' {
            units.push(u16::from(byte));
            continue;
        }
        // A backslash that ends the text escapes nothing and is dropped.
        let Some((&escape, after)) = rest.split_first() else { break };
        rest = after;
        units.push(match escape {
            b't' => u16::from(b'\t'),
            b'n' => u16::from(b'\n'),
            b'r' => u16::from(b'\r'),
            b'f' => 0x0c,
            b'u' => {
                let (digits, after) = rest.split_at_checked(4)?;
                rest = after;
                digits.iter().try_fold(0, |unit, digit| {
                    let digit = char::from(*digit).to_digit(16)?;
                    Some(unit << 4 | digit as u16)
                })?
            }
            other => u16::from(other),
        });
    }
    Some(String::from_utf16_lossy(&units))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        let parsed = parse(text.as_bytes()).expect("well formed");
        parsed.into_iter().map(|p| (p.key, p.value)).collect()
    }

    fn pair(text: &str) -> (String, String) {
        let mut all = pairs(text);
        assert_eq!(all.len(), 1, "{text:?} is one property: {all:?}");
        all.remove(0)
    }

    fn is(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn equals_colon_and_blank_separate() {
        for text in ["k=v", "k = v", "k:v", "k : v", "k v", "k\tv", "k\x0cv", "  k   =   v", "k\t:\tv"] {
            assert_eq!(pair(text), is("k", "v"), "{text:?}");
        }
    }

    #[test]
    fn only_one_separator_is_taken() {
        assert_eq!(pair("k==v"), is("k", "=v"));
        assert_eq!(pair("k=:v"), is("k", ":v"));
        assert_eq!(pair("k : = v"), is("k", "= v"));
        assert_eq!(pair("server.1=a:2888:3888;2181"), is("server.1", "a:2888:3888;2181"));
    }

    #[test]
    fn keys_without_a_value_and_values_without_a_key() {
        assert_eq!(pair("k"), is("k", ""));
        assert_eq!(pair("k="), is("k", ""));
        assert_eq!(pair("k   "), is("k", ""));
        assert_eq!(pair("=v"), is("", "v"));
    }

    #[test]
    fn comments_stand_on_lines_of_their_own() {
        assert_eq!(pair("# a\n  ! b\n\n \t\nk=v # not one\n#end"), is("k", "v # not one"));
        assert_eq!(pairs("#only\\\nk=v"), [is("k", "v")], "a comment does not continue");
    }

    #[test]
    fn an_odd_backslash_continues_and_an_even_one_does_not() {
        assert_eq!(pair("k=a\\\n   b\\\r\n\tc"), is("k", "abc"));
        assert_eq!(pairs("k=a\\\\\nb=c"), [is("k", "a\\"), is("b", "c")]);
        assert_eq!(pair("k=a\\\n#b"), is("k", "a#b"));
        assert_eq!(pairs("k=a\\\n\nb=c"), [is("k", "a"), is("b", "c")], "a blank line ends it");
        assert_eq!(pair("k=a\\"), is("k", "a"));
        assert_eq!(pairs("\\\n#b\nk=v"), [is("k", "v")], "nothing yet, so still a comment");
    }

    #[test]
    fn every_line_end_counts() {
        assert_eq!(pairs("a=1\rb=2\r\nc=3\nd=4"), [is("a", "1"), is("b", "2"), is("c", "3"), is("d", "4")]);
    }

    #[test]
    fn escapes_are_undone_in_keys_and_values() {
        assert_eq!(pair(r"a\ b\=c\:d=x"), is("a b=c:d", "x"));
        assert_eq!(pair(r"k=a\tb\nc\rd\fe"), is("k", "a\tb\nc\rd\x0ce"));
        assert_eq!(pair(r"dir=C:\\zk\data"), is("dir", r"C:\zkdata"));
        assert_eq!(pair(r"k=\#\!\q"), is("k", "#!q"));
    }

    #[test]
    fn unicode_escapes_are_utf16_units() {
        assert_eq!(pair(r"k=\u00e9\u00E9"), is("k", "éé"));
        assert_eq!(pair(r"k=\ud83d\ude00"), is("k", "😀"));
        assert_eq!(pair(r"k=\ud83d!"), is("k", "\u{fffd}!"));
        assert_eq!(parse(b"a=b\n\nk=\\u12"), Err(MalformedUnicode { line: 3 }));
        assert_eq!(parse(b"k=\\u12g4"), Err(MalformedUnicode { line: 1 }));
        assert_eq!(parse(b"k=\\u+123"), Err(MalformedUnicode { line: 1 }));
    }

    #[test]
    fn bytes_are_iso_8859_1() {
        let parsed = parse(b"k=caf\xe9").expect("well formed");
        assert_eq!(parsed[0].value, "café");
        assert_eq!(parse("k=é".as_bytes()).expect("well formed")[0].value, "Ã©", "as in Java");
    }

    #[test]
    fn keys_and_values_are_trimmed_after_unescaping() {
        assert_eq!(pair("clientPort=2181  \t"), is("clientPort", "2181"));
        assert_eq!(pair("\\ k\\ =\\u0020v\\t"), is("k", "v"));
    }

    #[test]
    fn a_property_knows_its_first_line_and_duplicates_stay_in_order() {
        let parsed = parse(b"# one\na=1\\\n 2\r\n\r\nb=3\na=4").expect("well formed");
        let seen: Vec<_> = parsed.iter().map(|p| (p.key.as_str(), p.value.as_str(), p.line)).collect();
        assert_eq!(seen, [("a", "12", 2), ("b", "3", 5), ("a", "4", 6)]);
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        /// Bytes from the alphabet that the grammar is about reach its corners far more often.
        #[test]
        fn any_file_of_special_characters_parses_or_is_refused(
            bytes in proptest::collection::vec(
                proptest::sample::select(b" \t\x0c\r\n\\=:#!u0fk".to_vec()), 0..200),
        ) {
            if let Ok(properties) = parse(&bytes) {
                let lines = 1 + bytes.iter().filter(|b| matches!(b, b'\n' | b'\r')).count();
                for property in properties {
                    prop_assert!(property.line >= 1 && property.line as usize <= lines);
                }
            }
        }

        /// Nothing but the dropped properties is lost, whatever was before and behind them, and more can be added.
        #[test]
        fn what_is_dropped_is_gone_and_nothing_else(
            bytes in proptest::collection::vec(
                proptest::sample::select(b" \t\r\n\\=#aabb".to_vec()), 0..200),
        ) {
            let dropped = |key: &str| key.starts_with('a');
            let pairs = |bytes: &[u8]| -> Vec<(String, String)> {
                parse(bytes).expect("well formed").into_iter().map(|p| (p.key, p.value)).collect()
            };
            let mut expected = pairs(&bytes);
            expected.retain(|(key, _)| !dropped(key));
            expected.push(is("new", "1"));
            let rest = [&without(&bytes, dropped).expect("well formed")[..], b"new=1\n"].concat();
            prop_assert_eq!(pairs(&rest), expected, "{:?}", String::from_utf8_lossy(&rest));
        }

        /// What `Properties.store` of Java would write comes back.
        #[test]
        fn escaped_text_comes_back(key in "[ -~]{1,20}", value in "[ -~é\u{1F600}]{0,20}") {
            let escape = |text: &str| -> String {
                text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect()
            };
            let file = format!("{}={}\n", escape(&key), escape(&value));
            let parsed = parse(file.as_bytes()).expect("well formed");
            prop_assert_eq!(parsed.len(), 1);
            prop_assert_eq!(&parsed[0].key, key.trim());
            prop_assert_eq!(&parsed[0].value, value.trim());
        }
    }
}
