//! Commands about watches that are set for themselves, not with a read.

use super::{Context, Outcome, required};
use crate::cli::client::AddWatchMode;
use crate::cli::error::Failure;
use crate::cli::options::Parsed;
use crate::cli::watches::WatcherType;

pub fn add(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let mode = match parsed.value("m").map(str::to_uppercase).as_deref() {
        None | Some("PERSISTENT_RECURSIVE") => AddWatchMode::PersistentRecursive,
        Some("PERSISTENT") => AddWatchMode::Persistent,
        Some(_) => return Err(Failure::Text(format!("addWatch {}", super::ADD_WATCH_USAGE))),
    };
    context.client.add_watch(required(parsed, 0), mode)
}

pub fn remove(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let types = [
        ("c", WatcherType::Children),
        ("d", WatcherType::Data),
        ("p", WatcherType::Persistent),
        ("r", WatcherType::PersistentRecursive),
    ];
    let asked = types.into_iter().find(|(option, _)| parsed.has(option));
    let watcher_type = asked.map_or(WatcherType::Any, |(_, watcher_type)| watcher_type);
    context.client.remove_watches(required(parsed, 0), watcher_type, parsed.has("l"))
}
