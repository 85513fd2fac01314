//! Paths as strings: which ones a write accepts, and how they come apart.

/// Why a path is refused; a client is told BADARGUMENTS in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InvalidPath {
    Empty,
    NotAbsolute,
    EndsWithSlash,
    EmptyComponent,
    RelativeComponent,
    ForbiddenCharacter(char),
}

/// `PathUtils.validatePath` (client-protocol.md 11.1). Reads never call it: they look up any string.
pub fn validate_path(path: &str) -> Result<(), InvalidPath> {
    if path.is_empty() {
        return Err(InvalidPath::Empty);
    }
    let Some(rest) = path.strip_prefix('/') else { return Err(InvalidPath::NotAbsolute) };
    if rest.is_empty() {
        return Ok(());
    }
    if rest.ends_with('/') {
        return Err(InvalidPath::EndsWithSlash);
    }
    for component in rest.split('/') {
        match component {
            "" => return Err(InvalidPath::EmptyComponent),
            "." | ".." => return Err(InvalidPath::RelativeComponent),
            _ => {}
        }
    }
    // Bytes 0x20..0x7f are all fine, and most paths have no others.
    if rest.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Ok(());
    }
    match rest.chars().find(|c| is_forbidden(*c)) {
        Some(c) => Err(InvalidPath::ForbiddenCharacter(c)),
        None => Ok(()),
    }
}

/// Java looks at UTF-16 units, so everything above U+FFFF is a pair of forbidden surrogates.
fn is_forbidden(c: char) -> bool {
    matches!(c,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{e000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}'
        | '\u{10000}'..='\u{10ffff}')
}

/// Parent and name: "/a/b" is ("/a", "b"), "/a" is ("", "a"). `None` for a path without a slash.
pub fn split(path: &str) -> Option<(&str, &str)> {
    path.rsplit_once('/')
}

/// The path of an event on a parent: the root is "" in the tree and "/" to clients.
pub(super) fn shown(path: &str) -> &str {
    if path.is_empty() { "/" } else { path }
}

/// False for what lies below /zookeeper: quota statistics differ from server to server, so the tree digest
/// leaves that subtree out (`DigestCalculator`).
pub fn digest_counts(path: &str) -> bool {
    !path.starts_with("/zookeeper/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_accepted_and_refused_as_java_does() {
        for path in [
            "/",
            "/a",
            "/a/b",
            "/a b",
            "/...",
            "/.a",
            "/a..",
            "/a\\b",
            "/\u{a0}",
            "/\u{2028}",
            "/\u{f900}",
            "/\u{feff}",
            "/\u{ffef}",
            "/ä/\u{d7ff}",
        ] {
            assert_eq!(validate_path(path), Ok(()), "{path:?}");
        }
        use InvalidPath::*;
        for (path, why) in [
            ("", Empty),
            ("a", NotAbsolute),
            ("/a/", EndsWithSlash),
            ("//", EndsWithSlash),
            ("//a", EmptyComponent),
            ("/a//b", EmptyComponent),
            ("/.", RelativeComponent),
            ("/a/..", RelativeComponent),
            ("/./a", RelativeComponent),
            ("/\0", ForbiddenCharacter('\0')),
            ("/a\u{1f}", ForbiddenCharacter('\u{1f}')),
            ("/\u{7f}", ForbiddenCharacter('\u{7f}')),
            ("/\u{9f}", ForbiddenCharacter('\u{9f}')),
            ("/\u{e000}", ForbiddenCharacter('\u{e000}')),
            ("/\u{f8ff}", ForbiddenCharacter('\u{f8ff}')),
            ("/\u{fff0}", ForbiddenCharacter('\u{fff0}')),
            ("/\u{fffd}", ForbiddenCharacter('\u{fffd}')),
            ("/\u{1f600}", ForbiddenCharacter('\u{1f600}')),
        ] {
            assert_eq!(validate_path(path), Err(why), "{path:?}");
        }
    }

    #[test]
    fn a_path_comes_apart_at_its_last_slash() {
        assert_eq!(split("/a/b"), Some(("/a", "b")));
        assert_eq!(split("/a"), Some(("", "a")));
        assert_eq!(split("/"), Some(("", "")));
        assert_eq!(split("a"), None);
    }

    #[test]
    fn only_what_is_below_zookeeper_is_left_out_of_the_digest() {
        assert!(digest_counts(""));
        assert!(digest_counts("/zookeeper"));
        assert!(digest_counts("/zookeeperx"));
        assert!(!digest_counts("/zookeeper/quota"));
    }
}
