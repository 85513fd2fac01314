//! Changes of role: what a server forgets when it stops to serve, and what it needs to begin again.
//!
//! Between two roles the tree follows the history that is agreed upon, transaction by transaction or as a whole.

use super::client::{Close, ConnId, Phase};
use super::{Server, Tree};
use crate::ids::{SessionId, Zxid};
use crate::pipeline::Preparer;
use crate::quorum::reconfig::Standing;
use crate::session::Sessions;
use crate::time::Now;
use crate::tree::{Observer, OpResult};
use crate::wire::records::AclList;
use crate::wire::reply::EventType;
use crate::wire::txn::{LoggedTxn, Txn, TxnHeader};

const CONFIG: &str = "/zookeeper/config";

/// In what role clients are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Serving {
    /// Nobody is; four-letter words are answered.
    No,
    /// Standalone: what is synced is committed.
    Alone,
    /// What a quorum has is committed.
    Leading,
    /// As a follower or an observer: writes go to the leader, reads are answered here.
    Learning,
    /// Without a quorum: reads of clients that know what they get.
    ReadOnly,
}

/// Follows the sessions through a transaction that nobody waits for.
struct SessionChanges<'s> {
    sessions: &'s mut Sessions,
}

impl Observer for SessionChanges<'_> {
    fn event(&mut self, _: EventType, _: &str, _: AclList<'_>) {}

    fn result(&mut self, result: OpResult<'_>) {
        match result {
            OpResult::SessionCreated { id, timeout_ms } => {
                self.sessions.add_untimed(id, u32::try_from(timeout_ms).unwrap_or(0));
            }
            OpResult::SessionClosed { id } => self.sessions.remove(id),
            _ => {}
        }
    }
}

impl Server {
    pub fn serving(&self) -> Serving {
        self.serving
    }

    /// Ends the role. Clients are closed, and what was prepared or forwarded and not committed is forgotten, the
    /// local sessions with it. From now on connect requests are refused by closing the connection.
    pub fn stop_serving(&mut self) {
        self.serving = Serving::No;
        self.paused = false;
        self.turns_away = false;
        self.standing = None;
        let met: Vec<ConnId> =
            self.clients.iter().filter(|client| client.phase != Phase::New).map(|client| client.id).collect();
        for conn in met {
            if let Some(client) = self.clients.get_mut(conn) {
                client.session = SessionId::NONE;
                client.waiting.clear();
            }
            self.clients.close(conn, Close::Now);
        }
        self.carriers.clear();
        self.proposals.clear();
        self.due.clear();
        self.made.clear();
        self.learning.clear();
        self.syncs.clear();
        self.deferred = 0;
        self.large_bytes = 0;
        self.sessions.forget_role();
    }

    /// Reads nothing more from clients that could become a transaction, until the role ends.
    pub fn pause_writes(&mut self) {
        self.paused = true;
    }

    /// Until the role ends connect requests are refused by closing the connection.
    pub fn turn_clients_away(&mut self) {
        self.turns_away = true;
    }

    /// From now on reconfigurations are judged by this; before, and on other servers, there are none.
    pub fn set_standing(&mut self, standing: Standing) {
        self.standing = Some(standing);
    }

    /// What `/zookeeper/config` says: the membership's text. Every server sets it for itself, and no digest counts it.
    pub fn set_config(&mut self, now: Now, text: &str, version: Zxid) {
        self.metrics.write_of(CONFIG, text.len());
        if self.tree.find(CONFIG).is_some_and(|node| self.tree.data(node) == Some(text.as_bytes())) {
            return;
        }
        let txn = Txn::SetData { path: CONFIG.into(), data: Some(text.as_bytes()), version: -1 };
        let kind = txn.kind();
        let header = TxnHeader { session: SessionId::NONE, cxid: 0, zxid: version, time: now.wall.0, kind };
        // Not a transaction: what was committed below this version may still wait to be applied, and whoever leaves
        // its role at this moment goes on from the tree's last zxid.
        let last_zxid = self.tree.last_zxid();
        self.tree.apply(&header, &txn, &mut ());
        self.tree.set_last_zxid(last_zxid);
    }

    /// Begins a role, from the tree as it is. For [`Serving::Leading`] `epoch` is the zxid that names the epoch: it
    /// becomes the last zxid, and the next transaction is the one behind it.
    ///
    /// # Panics
    /// If the server serves already.
    pub fn serve(&mut self, now: Now, serving: Serving, epoch: Option<Zxid>) {
        assert_eq!(self.serving, Serving::No, "one role ends before the next begins");
        self.serving = serving;
        if let Some(epoch) = epoch {
            self.tree.set_last_zxid(epoch);
        }
        self.committable = self.tree.last_zxid();
        self.preparer = Preparer::new(self.options.rules, self.tree.last_zxid());
        let foreign_local = serving == Serving::Leading && self.options.local_sessions;
        self.sessions.restart(now.mono, serving == Serving::Learning, foreign_local);
        self.restart_containers(now.mono);
        self.unblock();
    }

    /// Another state takes the place of the present one, with the timeouts of its sessions in milliseconds.
    ///
    /// # Panics
    /// If the server serves.
    pub fn replace_state(&mut self, tree: Tree, sessions: impl IntoIterator<Item = (SessionId, i32)>) {
        assert_eq!(self.serving, Serving::No, "clients would see the state jump");
        self.tree = tree;
        self.sessions.replace(sessions);
        self.digests.clear();
    }

    /// Applies a transaction of the history at once. It may have been applied before, as at a replay.
    ///
    /// # Panics
    /// If the server serves, or for bytes that are no transaction: what comes from a leader or from the log was
    /// decoded there.
    pub fn apply_now(&mut self, payload: &[u8]) {
        assert_eq!(self.serving, Serving::No, "what clients see is committed in its order");
        let logged = LoggedTxn::decode(payload, usize::MAX).expect("decoded when it was read");
        let mut changes = SessionChanges { sessions: &mut self.sessions };
        self.tree.apply(&logged.header, &logged.txn, &mut changes);
        self.digests.note(logged.header.zxid, self.tree.digest());
    }
}
