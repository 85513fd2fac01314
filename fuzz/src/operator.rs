//! What operators write and ask: `serval::config` and `serval::admin`.

use std::path::Path;

use serval::admin::http::{self, BODY_MAX, HEAD_MAX, Response, Status, Step};
use serval::admin::words::{Whitelist, Word};
use serval::config::Config;
use serval::wire::jute::MAX_BUFFER_DEFAULT;

/// A zoo.cfg: either a configuration or one line that says where the mistake is; warnings are lines too.
pub fn config(bytes: &[u8]) {
    // A fuzzed file may name a directory or another file, and these are then looked at; one that is never there
    // keeps a run from depending on the machine.
    let path = Path::new("/nonexistent/zoo.cfg");
    match Config::from_bytes(path, bytes, &[]) {
        Ok(loaded) => {
            let sessions = &loaded.config.sessions;
            assert!(sessions.tick_time_ms > 0);
            assert!(sessions.timeout_min_ms <= sessions.timeout_max_ms);
            for warning in &loaded.warnings {
                check_line(&warning.to_string());
            }
        }
        Err(error) => {
            check_line(&error.to_string());
            assert_ne!(error.exit_code(), 0);
        }
    }
}

fn check_line(text: &str) {
    assert!(!text.is_empty() && !text.contains(char::is_control), "one line for a terminal: {text:?}");
}

/// Bytes on the HTTP port: bounded, and the answer depends on nothing behind the request.
pub fn http(bytes: &[u8]) {
    let serve = |bytes: &[u8]| {
        http::serve(bytes, &mut |request| {
            let body = request.body.unwrap_or_default();
            assert!(body.len() <= BODY_MAX);
            let seen = format!("{:?} {} {:?} {body:?}", request.method, request.path, request.query);
            Response::new(Status::Ok, "text/plain", seen)
        })
    };
    match serve(bytes) {
        Step::NeedMore => assert!(bytes.len() < HEAD_MAX + BODY_MAX, "no request is waited for longer"),
        Step::Respond { bytes: answer, consumed, keep_alive } => {
            assert!(answer.starts_with(b"HTTP/1."));
            assert!(0 < consumed && consumed <= bytes.len());
            if keep_alive {
                let again = serve(&bytes[..consumed]);
                assert_eq!(again, Step::Respond { bytes: answer, consumed, keep_alive });
            }
        }
    }
}

/// The first bytes of a connection to the client port, and the whitelist that decides over them.
pub fn word(bytes: &[u8]) {
    let Some((first, rest)) = bytes.split_first_chunk::<4>() else { return };
    let list = String::from_utf8_lossy(rest);
    let whitelist = Whitelist::parse(Some(&list), false);
    assert!(whitelist.allows(Word::Srvr), "zkServer.sh needs it");
    let Some(word) = Word::from_first_four(*first) else { return };
    // As a length these bytes are above every limit, so a word is never the beginning of a frame.
    assert!(u32::from_be_bytes(*first) > MAX_BUFFER_DEFAULT as u32);
    let listed = list.split(',').any(|name| name.trim() == "*" || name.trim() == word.name());
    assert_eq!(whitelist.allows(word), listed || word == Word::Srvr);
    assert!(word.argument_len() <= 8, "a client that never sends it costs no more");
}
