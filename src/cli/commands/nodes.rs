//! Commands that read and change znodes.

use std::collections::VecDeque;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::{Context, Outcome, expected_version, required};
use crate::cli::client::{Client, CreateMode};
use crate::cli::error::{Failure, KeeperError};
use crate::cli::format;
use crate::cli::options::{OptionSet, Parsed, flag};
use crate::cli::path;
use crate::wire::error::ErrorCode;
use crate::wire::records::{Acl, Stat, perms};

pub const LS_OPTIONS: OptionSet =
    OptionSet::of(&[flag("?", "help"), flag("s", "stat"), flag("w", "watch"), flag("R", "recurse")]);

/// `EphemeralType.TTL.maxValue`, in ms.
const TTL_MS_MAX: i64 = (1 << 40) - 1;
/// Java's `SyncCommand.SYNC_TIMEOUT`.
const SYNC_WAIT: Duration = Duration::from_secs(30);
/// Deletes and listings on their way at the same time (`ZKUtil.deleteInBatch` has 10).
const IN_FLIGHT_MAX: usize = 10;
/// A batch of deletes stays far below the server's frame limit, however long the paths are.
const BATCH_BYTES_MAX: usize = 256 * 1024;

pub fn create(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let mode = create_mode(parsed)?;
    let data = parsed.argument(1).map(str::as_bytes);
    let (acl, complaints) = match parsed.argument(2) {
        None => (vec![open_acl()], Vec::new()),
        Some(text) => format::parse_acl(text),
    };
    complaints.iter().for_each(|complaint| context.output.complaint(complaint));
    let created = if acl.is_empty() {
        // Java's client does not even ask the server, and names no path.
        Err(Failure::Keeper(KeeperError { code: ErrorCode::InvalidAcl.code(), path: None }))
    } else {
        context.client.create(required(parsed, 0), data, &acl, mode)
    };
    match &created {
        Ok(path) => context.output.complaint(&format!("Created {path}")),
        Err(Failure::Keeper(error)) if error.is(ErrorCode::InvalidAcl) => {
            context.output.complaint(&error.plain());
        }
        Err(Failure::Keeper(error)) if error.is(ErrorCode::EphemeralOnLocalSession) => {
            context.output.complaint("Unable to create ephemeral node on a local session");
        }
        Err(_) => {}
    }
    created.map(|_| ())
}

fn create_mode(parsed: &Parsed) -> Result<CreateMode, Failure> {
    let (ephemeral, sequential, container) = (parsed.has("e"), parsed.has("s"), parsed.has("c"));
    if container && (ephemeral || sequential) {
        return Err(Failure::text(
            "-c cannot be combined with -s or -e. Containers cannot be ephemeral or sequential.",
        ));
    }
    if let Some(ttl) = parsed.value("t") {
        let ttl: i64 = ttl.parse().map_err(|_| Failure::text("-t argument must be a long value"))?;
        if ephemeral {
            return Err(Failure::text("TTLs cannot be used with Ephemeral znodes"));
        }
        if container {
            return Err(Failure::text("TTLs cannot be used with Container znodes"));
        }
        if !(1..=TTL_MS_MAX).contains(&ttl) {
            return Err(Failure::Text(format!(
                "ttl must be positive and cannot be larger than: {TTL_MS_MAX}"
            )));
        }
        return Ok(CreateMode::with_ttl(ttl, sequential));
    }
    Ok(match (ephemeral, sequential) {
        _ if container => CreateMode::CONTAINER,
        (true, true) => CreateMode::EPHEMERAL_SEQUENTIAL,
        (true, false) => CreateMode::EPHEMERAL,
        (false, true) => CreateMode::PERSISTENT_SEQUENTIAL,
        (false, false) => CreateMode::PERSISTENT,
    })
}

/// world:anyone with all permissions.
pub fn open_acl() -> Acl<'static> {
    Acl { perms: perms::ALL, scheme: Some("world".into()), id: Some("anyone".into()) }
}

pub fn get(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let watch = wants_watch(context, parsed, "'get path [watch]'", "'get [-s] [-w] path'");
    let (data, stat) = context.client.get_data(required(parsed, 0), watch)?;
    let data = data.as_deref().unwrap_or(b"null");
    context.output.line(&if parsed.has("x") {
        format::hex_dump(data)
    } else if parsed.has("b") {
        BASE64.encode(data)
    } else {
        String::from_utf8_lossy(data).into_owned()
    });
    print_stat_if_asked(context, parsed, &stat);
    Ok(())
}

/// `-w`, or any second argument: the form of 3.4.
fn wants_watch(context: &Context<'_>, parsed: &Parsed, old: &str, new: &str) -> bool {
    let old_form = parsed.argument(1).is_some();
    if old_form {
        context.output.complaint(&format!("{old} has been deprecated. Please use {new} instead."));
    }
    old_form || parsed.has("w")
}

fn print_stat(context: &Context<'_>, stat: &Stat) {
    context.output.line(&format::stat(stat, context.zone));
}

pub fn print_stat_if_asked(context: &Context<'_>, parsed: &Parsed, stat: &Stat) {
    if parsed.has("s") {
        print_stat(context, stat);
    }
}

pub fn set(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let (path, text) = (required(parsed, 0), required(parsed, 1));
    let data = if parsed.has("b") {
        BASE64.decode(text).map_err(|error| Failure::Text(format!("Illegal base64 data: {error}")))?
    } else {
        text.as_bytes().to_vec()
    };
    let stat = context.client.set_data(path, &data, expected_version(parsed)?)?;
    print_stat_if_asked(context, parsed, &stat);
    Ok(())
}

pub fn stat(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let path = required(parsed, 0);
    let watch = wants_watch(context, parsed, "'stat path [watch]'", "'stat [-w] path'");
    match context.client.exists(path, watch)? {
        Some(stat) => {
            print_stat(context, &stat);
            Ok(())
        }
        None => Err(KeeperError::new(ErrorCode::NoNode.code(), path).into()),
    }
}

pub fn ls(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    if parsed.has("?") {
        context.output.line(&format!("usage: ls [options] path\n{}", LS_OPTIONS.describe().trim_end()));
    }
    let Some(path) = parsed.argument(0) else { return Err(Failure::text("ls [-s] [-w] [-R] path")) };
    let watch = wants_watch(context, parsed, "'ls path [watch]'", "'ls [-w] path'");
    if parsed.has("R") {
        return walk(context.client, path, watch, &mut |path| context.output.line(path));
    }
    let (mut children, stat) = context.client.get_children(path, watch)?;
    children.sort();
    context.output.line(&format::list(&children));
    print_stat_if_asked(context, parsed, &stat);
    Ok(())
}

/// The command of 3.4: children and stat.
pub fn ls2(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let (children, stat) = context.client.get_children(required(parsed, 0), parsed.argument(1).is_some())?;
    context.output.line(&format::list(&children));
    print_stat(context, &stat);
    Ok(())
}

/// Visits `path` and everything below: all children of a node, then what is below each of them, as Java does
/// (`ZKUtil.visitSubTreeDFS`). What vanishes meanwhile is left out.
pub fn walk(client: &Client, path: &str, watch: bool, visit: &mut dyn FnMut(&str)) -> Outcome {
    client.get_data(path, watch)?;
    visit(path);
    // A stack of its own: the tree may be deeper than this thread's.
    let mut todo = vec![path.to_string()];
    while let Some(parent) = todo.pop() {
        let mut children = match client.get_children(&parent, watch) {
            Ok((children, _)) => children,
            Err(Failure::Keeper(error)) if error.is(ErrorCode::NoNode) => continue,
            Err(failure) => return Err(failure),
        };
        children.sort();
        let children: Vec<_> = children.iter().map(|child| path::join(&parent, child)).collect();
        children.iter().for_each(|child| visit(child));
        todo.extend(children.into_iter().rev());
    }
    Ok(())
}

pub fn delete(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    if parsed.argument(1).is_some() {
        // The version of the old form is ignored, as in Java.
        context.output.complaint(
            "'delete path [version]' has been deprecated. Please use 'delete [-v version] path' instead.",
        );
    }
    context.client.delete(required(parsed, 0), expected_version(parsed)?)
}

/// Deletes a node and everything below, the deepest first, many at a time.
pub fn delete_all(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let batch_max: i32 = match parsed.value("b") {
        None => 1000,
        Some(text) => text.parse().map_err(|_| Failure::text("-b argument must be an int value"))?,
    };
    let tree = list_tree(context.client, required(parsed, 0))?;
    let Some(batch_max) = usize::try_from(batch_max).ok().filter(|max| *max > 0) else {
        // One by one; the first that cannot be deleted is named.
        return tree.iter().rev().try_for_each(|path| context.client.delete(path, -1));
    };
    let mut in_flight = VecDeque::new();
    let mut all_gone = true;
    let mut rest = &tree[..];
    while !rest.is_empty() && all_gone {
        let mut bytes = 0;
        let mut batch = Vec::new();
        while let Some((last, before)) = rest.split_last()
            && batch.len() < batch_max
            && (batch.is_empty() || bytes + last.len() <= BATCH_BYTES_MAX)
        {
            bytes += last.len();
            batch.push(last.clone());
            rest = before;
        }
        in_flight.push_back(context.client.submit_deletes(&batch));
        if in_flight.len() == IN_FLIGHT_MAX
            && let Some(oldest) = in_flight.pop_front()
        {
            all_gone = oldest.wait()?;
        }
    }
    for deletes in in_flight {
        all_gone &= deletes.wait()?;
    }
    if all_gone { Ok(()) } else { Err(Failure::text("Failed to delete some node(s) in the subtree!")) }
}

/// `path` and everything below, parents before children; some listings are under way at once.
fn list_tree(client: &Client, path: &str) -> Result<Vec<String>, Failure> {
    let mut tree = vec![path.to_string()];
    let mut in_flight = VecDeque::new();
    let mut asked = 0;
    loop {
        while asked < tree.len() && in_flight.len() < IN_FLIGHT_MAX {
            in_flight.push_back((asked, client.submit_children(&tree[asked], false)?));
            asked += 1;
        }
        let Some((parent, children)) = in_flight.pop_front() else { return Ok(tree) };
        match children.wait() {
            Ok((children, _)) => {
                let parent = tree[parent].clone();
                tree.extend(children.iter().map(|child| path::join(&parent, child)));
            }
            // Somebody else deletes there too; only the node that was asked for must exist.
            Err(Failure::Keeper(error)) if parent > 0 && error.is(ErrorCode::NoNode) => {}
            Err(failure) => return Err(failure),
        }
    }
}

pub fn sync(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    match context.client.sync(required(parsed, 0), SYNC_WAIT) {
        Ok(()) => {
            context.output.line("Sync is OK");
            Ok(())
        }
        Err(Failure::Keeper(error)) => {
            context.output.line(&format!("Sync has failed. rc={}", error.code));
            Err(Failure::Keeper(error))
        }
        Err(other) => Err(other),
    }
}

pub fn get_ephemerals(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let paths = context.client.get_ephemerals(parsed.argument(0).unwrap_or("/"))?;
    context.output.line(&format::list(&paths));
    Ok(())
}

pub fn get_all_children_number(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let number = context.client.get_all_children_number(required(parsed, 0))?;
    context.output.line(&number.to_string());
    Ok(())
}
