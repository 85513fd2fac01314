//! The limit of open files, and how it is shared out.
//!
//! Every client costs a descriptor, and so does the next log segment, without which the server must stop. So clients
//! get what the limit allows less a reserve, and whoever comes beyond that is refused with a closed connection: a
//! client that waits in the backlog of a full server would not try another one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that clients cannot have: log segments, snapshots, HTTP connections, listeners, the poll.
const RESERVE: u64 = 128;

/// Raises the limit of open files as far as the process may, as a JVM does, and says what then holds. Shells and
/// service managers start programs with a low one, for the sake of those that still use select(2).
pub fn raise_limit() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current != maximum && setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok() {
        return maximum.unwrap_or(u64::MAX);
    }
    current.unwrap_or(u64::MAX)
}

/// How many of `limit` descriptors may belong to clients.
pub fn for_clients(limit: u64) -> usize {
    usize::try_from(limit - RESERVE.min(limit / 2)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_share_of_any_limit() {
        assert_eq!(for_clients(1024), 896);
        assert_eq!(for_clients(64), 32);
        assert_eq!(for_clients(0), 0);
        assert!(for_clients(u64::MAX) > 1 << 30);
    }

    #[test]
    fn what_may_be_raised_is_raised_and_stays() {
        let limit = raise_limit();
        assert_eq!(getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX), limit);
        assert_eq!(raise_limit(), limit);
    }
}
