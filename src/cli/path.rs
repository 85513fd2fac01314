//! What Java's client checks of a path before it sends anything (`PathUtils.validatePath`).
//!
//! The server checks again and answers BADARGUMENTS without saying why; these texts say why, and scripts
//! have come to look for them.

/// Why `path` cannot name a znode, in Java's words.
///
/// # Errors
///
/// The text to show. Positions in it count UTF-16 units, as Java's do.
pub fn validate(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err("Path length must be > 0".into());
    }
    if !path.starts_with('/') {
        return Err("Path must start with / character".into());
    }
    if path.len() == 1 {
        return Ok(());
    }
    if path.ends_with('/') {
        return Err("Path must not end with / character".into());
    }
    let units: Vec<u16> = path.encode_utf16().collect();
    match units.iter().enumerate().skip(1).find_map(|(at, _)| fault(&units, at)) {
        None => Ok(()),
        Some(reason) => Err(format!("Invalid path string \"{path}\" caused by {reason}")),
    }
}

/// As [`validate`], for a name that the server will complete with a sequence number: `/a/` is fine then.
pub fn validate_to_create(path: &str, sequential: bool) -> Result<(), String> {
    if sequential { validate(&format!("{path}1")) } else { validate(path) }
}

/// What is wrong with the unit at `at`, which is not the first.
fn fault(units: &[u16], at: usize) -> Option<String> {
    const SLASH: u16 = b'/' as u16;
    const DOT: u16 = b'.' as u16;
    let ends = |next: usize| units.get(next).is_none_or(|unit| *unit == SLASH);
    let last = units[at - 1];
    match units[at] {
        0 => Some(format!("null character not allowed @{at}")),
        SLASH if last == SLASH => Some(format!("empty node name specified @{at}")),
        DOT if last == SLASH && ends(at + 1) => Some(format!("relative paths not allowed @{at}")),
        // `at - 2` exists: the first unit is the slash, so a dot before this one stands at 1 or later.
        DOT if last == DOT && units[at - 2] == SLASH && ends(at + 1) => {
            Some(format!("relative paths not allowed @{at}"))
        }
        0x01..=0x1f | 0x7f..=0x9f | 0xd800..=0xf8ff | 0xfff0..=0xffff => {
            Some(format!("invalid character @{at}"))
        }
        _ => None,
    }
}

/// The path of a child; the root is the one path that already ends in a slash.
pub fn join(parent: &str, child: &str) -> String {
    if parent == "/" { format!("/{child}") } else { format!("{parent}/{child}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_would_refuse_is_refused_with_a_reason() {
        for good in ["/", "/a", "/a/b c", "/a..", "/...", "/.a/b", "/ä", "/zookeeper/quota"] {
            assert_eq!(validate(good), Ok(()), "{good}");
        }
        for (bad, why) in [
            ("", "Path length must be > 0"),
            ("a", "Path must start with / character"),
            ("/a/", "Path must not end with / character"),
            ("/a//b", "Invalid path string \"/a//b\" caused by empty node name specified @3"),
            ("/.", "Invalid path string \"/.\" caused by relative paths not allowed @1"),
            ("/a/../b", "Invalid path string \"/a/../b\" caused by relative paths not allowed @4"),
            ("/a\u{7}", "Invalid path string \"/a\u{7}\" caused by invalid character @2"),
            ("/\u{1f600}", "Invalid path string \"/\u{1f600}\" caused by invalid character @1"),
        ] {
            assert_eq!(validate(bad), Err(why.to_string()));
        }
    }

    #[test]
    fn a_sequential_name_may_end_in_a_slash() {
        assert_eq!(validate_to_create("/a/", true), Ok(()));
        assert!(validate_to_create("/a/", false).is_err());
    }
}
