//! The machines, from outside: rule by rule, by the numbers of known bugs, over whole ensembles, and against what
//! Java servers said.

mod cluster;
mod conversations;
mod leaders;
mod master;
mod plans;
mod replays;
mod rules;

use super::packet::Entry;
use crate::ids::{SessionId, Zxid};
use crate::quorum::membership::Membership;
use crate::wire::txn::{LoggedTxn, Txn, TxnHeader};

/// A transaction that says nothing but who made it.
fn entry_by(zxid: Zxid, author: i64) -> Entry {
    let header = TxnHeader { session: SessionId(author), cxid: 0, zxid, time: 0, kind: -1 };
    let mut payload = Vec::new();
    LoggedTxn { header, txn: Txn::Error { code: 0 }, digest: None }.encode(&mut payload);
    Entry::from_payload(&payload).expect("just encoded")
}

fn z(epoch: u32, counter: u32) -> Zxid {
    Zxid::new(epoch, counter)
}

/// Voters 1 to `voters`.
fn members(voters: i64, version: i64) -> Membership {
    let lines: String = (1..=voters).map(|sid| format!("server.{sid}=h{sid}:1:2\n")).collect();
    Membership::from_text(format!("{lines}version={version:x}").as_bytes()).expect("a good membership")
}
