//! The whole state of a server as text, for comparing two of them.

use std::fmt::Write;

use crate::server::Server;
use crate::wire::jute::{Reader, Result};

/// One line for the end of the history, each session and each znode.
pub fn of(server: &mut Server) -> String {
    let mut image = Vec::new();
    let (cursor, _) = server.snapshot_begin(&mut image);
    server.snapshot_abandon(cursor);
    let tree = server.tree();
    let mut out = String::new();
    let mut line =
        |text: std::fmt::Arguments<'_>| writeln!(out, "{text}").expect("a string takes everything");
    line(format_args!("digest {:#x}", tree.digest()));
    for (session, timeout_ms) in sessions(&image).expect("an image begins with the sessions") {
        line(format_args!("session {session:#x} {timeout_ms}"));
    }
    let mut paths = vec![String::from("/")];
    while let Some(path) = paths.pop() {
        let Some(node) = tree.find(&path) else { continue };
        // Each server writes `/zookeeper/config` for itself, as Java's do; it is no part of what is replicated.
        if path != "/zookeeper/config" {
            let acl = tree.acl(tree.acl_id(node));
            line(format_args!("{path} {:?} {:?} {acl:?}", tree.stat(node), tree.data(node)));
        }
        let mut names: Vec<&str> = tree.children(node).collect();
        names.sort_unstable();
        paths.extend(names.iter().rev().map(|name| child(&path, name)));
    }
    out
}

fn child(path: &str, name: &str) -> String {
    if path == "/" { format!("/{name}") } else { format!("{path}/{name}") }
}

/// In the order of their ids.
fn sessions(image: &[u8]) -> Result<Vec<(i64, i32)>> {
    let mut r = Reader::new(image, image.len());
    let count = r.int()?;
    let mut sessions = Vec::new();
    for _ in 0..count {
        sessions.push((r.long()?, r.int()?));
    }
    sessions.sort_unstable();
    Ok(sessions)
}
