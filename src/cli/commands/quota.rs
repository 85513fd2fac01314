//! Commands about quotas, which are znodes below `/zookeeper/quota` that clients make themselves.
//!
//! A quota on `/a` is `/zookeeper/quota/a/zookeeper_limits`, its usage `zookeeper_stats` beside it. Creating
//! the limits makes the server watch over the subtree, creating the stats makes it count. A node cannot have
//! one if a node above or below has.

use super::nodes::{open_acl, walk};
use super::{Context, Outcome, required};
use crate::cli::client::{Client, CreateMode};
use crate::cli::error::Failure;
use crate::cli::format::Quota;
use crate::cli::options::{OptionSet, Parsed, flag, value};
use crate::wire::error::ErrorCode;

const QUOTA_ROOT: &str = "/zookeeper/quota";
const LIMITS: &str = "zookeeper_limits";
const STATS: &str = "zookeeper_stats";

pub const SET_OPTIONS: OptionSet = OptionSet {
    options: &[
        value("n", "num soft quota"),
        value("b", "bytes soft quota"),
        value("N", "num hard quota"),
        value("B", "bytes hard quota"),
    ],
    exclusive: true,
    required: true,
};

pub const DELETE_OPTIONS: OptionSet = OptionSet {
    options: &[
        flag("n", "num soft quota"),
        flag("b", "bytes soft quota"),
        flag("N", "num hard quota"),
        flag("B", "bytes hard quota"),
    ],
    exclusive: true,
    required: false,
};

/// One of the four limits, and its value in a quota.
#[derive(Clone, Copy)]
enum Limit {
    Count,
    Bytes,
    CountHard,
    BytesHard,
}

const LIMIT_OPTIONS: [(&str, Limit); 4] =
    [("n", Limit::Count), ("b", Limit::Bytes), ("N", Limit::CountHard), ("B", Limit::BytesHard)];

impl Limit {
    fn put(self, quota: &mut Quota, number: i64) {
        match self {
            Limit::Count => quota.count = number,
            Limit::Bytes => quota.bytes = number,
            Limit::CountHard => quota.set_other(Quota::COUNT_HARD, number),
            Limit::BytesHard => quota.set_other(Quota::BYTES_HARD, number),
        }
    }

    /// # Errors
    ///
    /// The complaint about a number that is none, or too small.
    fn parse(self, text: &str) -> Result<i64, &'static str> {
        let (number, min, complaint) = match self {
            Limit::Count | Limit::CountHard => {
                (text.parse::<i32>().map(i64::from), 1, "the num quota must be greater than zero")
            }
            Limit::Bytes | Limit::BytesHard => {
                (text.parse::<i64>(), 0, "the bytes quota must be greater than or equal to zero")
            }
        };
        let number = number.map_err(|_| "NumberFormatException happens when parsing the option value")?;
        if number < min { Err(complaint) } else { Ok(number) }
    }
}

pub fn set(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let path = required(parsed, 0);
    // Java complains about these and still exits with 0; so do we.
    if path.starts_with(QUOTA_ROOT) {
        context.output.complaint(&format!("cannot set a quota under the path: {QUOTA_ROOT}"));
        return Ok(());
    }
    if path == "/" {
        // Java's server dies of the node that this would create (client-protocol.md, section 19).
        return Err(Failure::text("cannot set a quota on /"));
    }
    let (option, limit) =
        *LIMIT_OPTIONS.iter().find(|(option, _)| parsed.has(option)).expect("the option group is required");
    let number = match limit.parse(parsed.value(option).unwrap_or_default()) {
        Ok(number) => number,
        Err(complaint) => {
            context.output.complaint(complaint);
            return Ok(());
        }
    };
    let client = context.client;
    if client.exists(path, false)?.is_none() {
        return Err(Failure::Text(format!("{path} does not exist.")));
    }
    refuse_quota_below(client, path)?;
    refuse_quota_above(client, path)?;

    let quota_path = format!("{QUOTA_ROOT}{path}");
    let (limits_path, stats_path) = (format!("{quota_path}/{LIMITS}"), format!("{quota_path}/{STATS}"));
    let mut quota = match read(client, &limits_path)? {
        Some(quota) => quota,
        None => {
            let mut quota = Quota::EMPTY;
            quota.set_other(Quota::BYTES_HARD, -1);
            quota.set_other(Quota::COUNT_HARD, -1);
            limit.put(&mut quota, number);
            create_with_parents(client, &quota_path)?;
            create_if_absent(client, &limits_path, Some(&quota.to_string()))?;
            // The server replaces these numbers by what it counts.
            create_if_absent(client, &stats_path, Some("count=0,bytes=0"))?;
            warn_if_exceeded(context, &quota, &stats_path)?;
            return Ok(());
        }
    };
    limit.put(&mut quota, number);
    warn_if_exceeded(context, &quota, &stats_path)?;
    client.set_data(&limits_path, quota.to_string().as_bytes(), -1)?;
    Ok(())
}

/// The quota that a node holds; `None` if there is no such node.
fn read(client: &Client, path: &str) -> Result<Option<Quota>, Failure> {
    match client.get_data(path, false) {
        Ok((data, _)) => Quota::parse(&data.unwrap_or_default()).map(Some),
        Err(Failure::Keeper(error)) if error.is(ErrorCode::NoNode) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn refuse_quota_below(client: &Client, path: &str) -> Outcome {
    let root = format!("{QUOTA_ROOT}{path}");
    let own = format!("{root}/{LIMITS}");
    let mut found = None;
    let walked = walk(client, &root, false, &mut |node| {
        if let Some(holder) = node.strip_suffix(LIMITS).and_then(|holder| holder.strip_suffix('/'))
            && node != own
        {
            found.get_or_insert_with(|| holder[QUOTA_ROOT.len()..].to_string());
        }
    });
    match (walked, found) {
        (_, Some(holder)) => Err(Failure::Text(format!("{path} has a child {holder} which has a quota"))),
        // No quota was ever set there.
        (Err(Failure::Keeper(error)), None) if error.is(ErrorCode::NoNode) => Ok(()),
        (walked, None) => walked,
    }
}

fn refuse_quota_above(client: &Client, path: &str) -> Outcome {
    for (at, _) in path.match_indices('/').skip(1) {
        let above = &path[..at];
        if read(client, &format!("{QUOTA_ROOT}{above}/{LIMITS}"))?.is_some() {
            return Err(Failure::Text(format!("{path} has a parent {above} which has a quota")));
        }
    }
    Ok(())
}

fn create_with_parents(client: &Client, path: &str) -> Outcome {
    for (at, _) in path.match_indices('/').skip(1) {
        create_if_absent(client, &path[..at], None)?;
    }
    create_if_absent(client, path, None)
}

fn create_if_absent(client: &Client, path: &str, data: Option<&str>) -> Outcome {
    match client.create(path, data.map(str::as_bytes), &[open_acl()], CreateMode::PERSISTENT) {
        Err(Failure::Keeper(error)) if error.is(ErrorCode::NodeExists) => Ok(()),
        other => other.map(|_| ()),
    }
}

fn warn_if_exceeded(context: &Context<'_>, quota: &Quota, stats_path: &str) -> Outcome {
    let Some(stats) = read(context.client, stats_path)? else { return Ok(()) };
    let exceeded = |limits: [i64; 2], used: i64| limits.iter().any(|limit| *limit > -1 && *limit < used);
    if exceeded([quota.count, quota.other(Quota::COUNT_HARD)], stats.count) {
        context.output.line(&format!(
            "[Warning]: the count quota you create is less than the existing count:{}",
            stats.count
        ));
    }
    if exceeded([quota.bytes, quota.other(Quota::BYTES_HARD)], stats.bytes) {
        context.output.line(&format!(
            "[Warning]: the bytes quota you create is less than the existing bytes:{}",
            stats.bytes
        ));
    }
    Ok(())
}

pub fn list(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let path = required(parsed, 0);
    let limits_path = format!("{QUOTA_ROOT}{path}/{LIMITS}");
    context.output.complaint(&format!("absolute path is {limits_path}"));
    let limits = read(context.client, &limits_path)?;
    let stats = match limits {
        Some(_) => read(context.client, &format!("{QUOTA_ROOT}{path}/{STATS}"))?,
        None => None,
    };
    match (limits, stats) {
        (Some(limits), Some(stats)) => {
            context.output.line(&format!("Output quota for {path} {limits}"));
            context.output.line(&format!("Output stat for {path} {stats}"));
        }
        // Exit code 0, as in Java.
        _ => context.output.complaint(&format!("quota for {path} does not exist.")),
    }
    Ok(())
}

pub fn delete(context: &Context<'_>, parsed: &Parsed) -> Outcome {
    let path = required(parsed, 0);
    let client = context.client;
    let quota_path = format!("{QUOTA_ROOT}{path}");
    let limits_path = format!("{quota_path}/{LIMITS}");
    let Some(mut quota) = read(client, &limits_path)? else {
        context.output.line(&format!("Quota does not exist for {path}"));
        return Ok(());
    };
    if let Some((_, limit)) = LIMIT_OPTIONS.iter().find(|(option, _)| parsed.has(option)) {
        limit.put(&mut quota, -1);
        client.set_data(&limits_path, quota.to_string().as_bytes(), -1)?;
        return Ok(());
    }
    // Only the quota's own two nodes: Java deletes every child of the quota node, and fails half-way if one of
    // them holds the quota of a node below.
    for name in [LIMITS, STATS] {
        match client.delete(&format!("{quota_path}/{name}"), -1) {
            Err(Failure::Keeper(error)) if error.is(ErrorCode::NoNode) => {}
            other => other?,
        }
    }
    // Then the nodes that only led there.
    let mut node = quota_path.as_str();
    while node != QUOTA_ROOT && client.get_children(node, false)?.0.is_empty() {
        client.delete(node, -1)?;
        node = node.rsplit_once('/').map_or(QUOTA_ROOT, |(parent, _)| parent);
    }
    Ok(())
}
