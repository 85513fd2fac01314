//! What the tab key offers: commands for the first word, znodes for words that begin with a slash.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustyline::completion::{Completer, Pair};
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::validate::Validator;
use rustyline::{Context, Helper};

use super::client::Client;
use super::commands::COMMANDS;

/// How long the tab key waits for the server, which may be away.
const LISTING_WAIT: Duration = Duration::from_secs(2);

/// The line editor's view of the session.
pub struct Completion {
    /// The session that there is; `connect` replaces it.
    client: Mutex<Arc<Client>>,
}

impl Completion {
    pub fn new(client: Arc<Client>) -> Completion {
        Completion { client: Mutex::new(client) }
    }

    pub fn use_client(&self, client: Arc<Client>) {
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = client;
    }

    fn children(&self, parent: &str) -> Vec<String> {
        let client = Arc::clone(&self.client.lock().unwrap_or_else(PoisonError::into_inner));
        if !client.state().is_alive() {
            return Vec::new();
        }
        // What cannot be listed cannot be completed; that is no news to anybody.
        let listed =
            client.submit_children(parent, false).and_then(|listing| listing.wait_at_most(LISTING_WAIT));
        listed.map(|(children, _)| children).unwrap_or_default()
    }
}

/// What may stand in the place of the word that ends at the cursor, and where that word begins. `children` lists
/// a znode.
pub fn candidates(line: &str, children: impl FnOnce(&str) -> Vec<String>) -> (usize, Vec<String>) {
    let start = word_start(line);
    let word = &line[start..];
    if let Some(slash) = word.rfind('/').filter(|_| word.starts_with('/')) {
        let (parent, prefix) = (&word[..slash], &word[slash + 1..]);
        let mut paths: Vec<_> = children(if parent.is_empty() { "/" } else { parent })
            .into_iter()
            .filter(|child| child.starts_with(prefix))
            .map(|child| format!("{parent}/{child}"))
            .collect();
        paths.sort();
        return (start, paths);
    }
    if !line[..start].trim().is_empty() {
        return (start, Vec::new());
    }
    let names = COMMANDS.iter().filter(|command| !command.hidden && command.name.starts_with(word));
    (start, names.map(|command| format!("{} ", command.name)).collect())
}

/// Where the last word begins, behind its quote if it has one that is still open.
fn word_start(line: &str) -> usize {
    let mut start = 0;
    let mut open = None;
    let mut at_start = true;
    for (at, c) in line.char_indices() {
        match open {
            Some(quote) if c == quote => (open, at_start, start) = (None, true, at + 1),
            Some(_) => {}
            None if at_start && (c == '"' || c == '\'') => (open, start) = (Some(c), at + 1),
            None if c.is_whitespace() => (at_start, start) = (true, at + c.len_utf8()),
            None => at_start = false,
        }
    }
    start
}

impl Completer for Completion {
    type Candidate = Pair;

    fn complete(&self, line: &str, pos: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<Pair>)> {
        let (start, words) = candidates(&line[..pos], |parent| self.children(parent));
        let pairs = words
            .into_iter()
            .map(|replacement| Pair { display: replacement.trim_end().to_string(), replacement })
            .collect();
        Ok((start, pairs))
    }
}

impl Hinter for Completion {
    type Hint = String;
}

impl Highlighter for Completion {}
impl Validator for Completion {}
impl Helper for Completion {}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete(line: &str) -> (usize, Vec<String>) {
        candidates(line, |parent| match parent {
            "/" => ["zookeeper", "app", "apples"].map(String::from).to_vec(),
            "/app" => ["x y", "b"].map(String::from).to_vec(),
            _ => Vec::new(),
        })
    }

    #[test]
    fn the_first_word_is_a_command() {
        assert_eq!(complete("ge").1, ["get ", "getAcl ", "getAllChildrenNumber ", "getEphemerals "]);
        assert_eq!(complete("  delq"), (2, vec!["delquota ".into()]));
        assert!(complete("").1.len() > 20 && !complete("").1.contains(&"rmr ".to_string()));
        assert_eq!(complete("get ge").1, [""; 0]);
    }

    #[test]
    fn words_with_a_slash_are_znodes() {
        assert_eq!(complete("ls /ap"), (3, vec!["/app".into(), "/apples".into()]));
        assert_eq!(complete("get -s /app/").1, ["/app/b", "/app/x y"]);
        assert_eq!(complete("get /nothing/").1, [""; 0]);
        assert_eq!(complete("get \"/app/x").1, ["/app/x y"]);
        assert_eq!(complete("get \"/app/x").0, 5);
        assert_eq!(complete("set /app 'a b' /z").1, ["/zookeeper"]);
    }
}
