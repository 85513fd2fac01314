//! What a session is and what happens to it, by the names that Java prints.

use super::error::local;
use crate::wire::error::ErrorCode;

/// State of the session, by Java's names (`ZooKeeper.States`), which the prompt shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Connecting,
    Connected,
    ConnectedReadOnly,
    /// Closed by us, or expired.
    Closed,
    AuthFailed,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Connecting => "CONNECTING",
            State::Connected => "CONNECTED",
            State::ConnectedReadOnly => "CONNECTEDREADONLY",
            State::Closed => "CLOSED",
            State::AuthFailed => "AUTH_FAILED",
        }
    }

    pub fn is_alive(self) -> bool {
        !matches!(self, State::Closed | State::AuthFailed)
    }

    /// What a request gets that can have no reply any more.
    pub fn lost_code(self) -> i32 {
        match self {
            State::AuthFailed => ErrorCode::AuthFailed.code(),
            State::Closed => ErrorCode::SessionExpired.code(),
            _ => local::CONNECTION_LOSS,
        }
    }
}

/// What a watcher is told; prints as Java's `WatchedEvent` does since 3.9.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `KeeperState`.
    pub state: &'static str,
    /// `EventType`; `None` for the events about the session itself.
    pub kind: &'static str,
    /// Without the chroot.
    pub path: Option<String>,
    /// -1 where the server does not say.
    pub zxid: i64,
}

impl std::fmt::Display for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let path = self.path.as_deref().unwrap_or("null");
        write!(f, "WatchedEvent state:{} type:{} path:{path} zxid: {}", self.state, self.kind, self.zxid)
    }
}

impl Event {
    /// About the session itself.
    pub fn of_session(state: &'static str) -> Event {
        Event { state, kind: "None", path: None, zxid: -1 }
    }
}
