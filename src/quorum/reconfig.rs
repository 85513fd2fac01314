//! A reconfiguration as its client asks for it: the checks of the leader, and the membership that comes of it.
//!
//! Java's order decides which error a client gets (`PrepRequestProcessor.pRequest2Txn`, case `reconfig`).

use std::rc::Rc;

use super::membership::{Membership, Server};
use super::views::Views;
use crate::ids::{ServerId, Zxid};
use crate::wire::error::ErrorCode;

/// What a leader judges a reconfiguration by.
#[derive(Clone, Debug)]
pub struct Standing {
    pub views: Rc<Views>,
    /// Everybody who is connected and in step, the leader included.
    pub in_step: Vec<ServerId>,
    /// `standaloneEnabled`: an ensemble has two voters at least.
    pub standalone_enabled: bool,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted<'a> {
    /// `server.N=...` lines, separated by commas, that are added or replaced.
    pub joining: Option<&'a str>,
    /// Ids, separated by commas, that are removed.
    pub leaving: Option<&'a str>,
    /// Instead of both: the whole new membership, lines separated by commas or line ends.
    pub new_members: Option<&'a str>,
    /// The version that is to be replaced; -1 for any.
    pub config_id: i64,
}

impl Standing {
    /// The membership that a reconfiguration with this zxid would make.
    ///
    /// # Errors
    /// What the client is told.
    pub fn plan(&self, wanted: &Wanted<'_>, zxid: Zxid) -> Result<Membership, ErrorCode> {
        let last_seen = self.views.last_seen();
        if last_seen.version != self.views.committed().version {
            return Err(ErrorCode::ReconfigInProgress);
        }
        if wanted.config_id != -1 && wanted.config_id != last_seen.version.0 {
            return Err(ErrorCode::BadVersion);
        }
        let mut next = match wanted.new_members {
            Some(text) => {
                let text = text.replace(',', "\n");
                Membership::from_text(text.as_bytes()).map_err(|_| ErrorCode::BadArguments)?
            }
            None => incremental(last_seen, wanted)?,
        };
        next.version = zxid;
        if next.participants().count() < if self.standalone_enabled { 2 } else { 1 } {
            return Err(ErrorCode::BadArguments);
        }
        if !next.is_quorum(|sid| self.in_step.contains(&sid)) {
            return Err(ErrorCode::NewConfigNoQuorum);
        }
        Ok(next)
    }
}

/// The present membership without those who leave and with those who join. Only where a majority decides: nobody
/// says to which group a joiner belongs.
fn incremental(present: &Membership, wanted: &Wanted<'_>) -> Result<Membership, ErrorCode> {
    if present.groups.is_some() {
        return Err(ErrorCode::BadArguments);
    }
    // Java lets the exception of its number parser through, which becomes this.
    let id = |text: &str| text.parse().map(ServerId).map_err(|_| ErrorCode::MarshallingError);
    let mut next = present.clone();
    for leaving in items(wanted.leaving) {
        next.servers.remove(&id(leaving)?);
    }
    for joining in items(wanted.joining) {
        let (key, line) = joining.split_once('=').ok_or(ErrorCode::BadArguments)?;
        let sid = id(key.trim().rsplit('.').next().unwrap_or(key))?;
        let server = Server::parse(line.trim(), true).map_err(|_| ErrorCode::BadArguments)?;
        // Who cannot be asked by clients could not be asked anything.
        let clashes = next.servers.iter().any(|(other, at)| *other != sid && shares_an_address(&server, at));
        if server.client.is_none() || clashes {
            return Err(ErrorCode::BadArguments);
        }
        next.servers.insert(sid, server);
    }
    Ok(next)
}

fn items(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
}

/// Whether two servers would listen at the same place (`QuorumServer.checkAddressDuplicate`).
fn shares_an_address(one: &Server, other: &Server) -> bool {
    let clients = matches!((&one.client, &other.client), (Some(one), Some(other)) if one == other && !one.is_on_all_addresses());
    clients
        || one.addresses.iter().any(|at| {
            other.addresses.iter().any(|there| {
                let ports = [there.quorum_port, there.election_port];
                at.host == there.host
                    && (ports.contains(&at.quorum_port) || ports.contains(&at.election_port))
            })
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(text: &str, in_step: &[i64]) -> Standing {
        let members = Membership::from_text(text.as_bytes()).expect("a good membership");
        let in_step = in_step.iter().copied().map(ServerId).collect();
        Standing { views: Rc::new(Views::new(members)), in_step, standalone_enabled: true }
    }

    fn three(in_step: &[i64]) -> Standing {
        let line = |n: i64| format!("server.{n}=127.0.0.1:{}:{};127.0.0.1:{}\n", 100 + n, 200 + n, 300 + n);
        let lines: String = (1..=3).map(line).collect();
        standing(&format!("{lines}version=100000000"), in_step)
    }

    fn joining(line: &str) -> Wanted<'_> {
        Wanted { joining: Some(line), config_id: -1, ..Wanted::default() }
    }

    const ZXID: Zxid = Zxid(0x1_0000_0007);

    #[test]
    fn joiners_come_and_leavers_go() {
        let wanted = Wanted {
            joining: Some("server.4=127.0.0.1:104:204:observer;127.0.0.1:304, server.1=10.0.0.1:1:2;3"),
            leaving: Some("3, 9"),
            config_id: 0x1_0000_0000,
            ..Wanted::default()
        };
        let next = three(&[1, 2]).plan(&wanted, ZXID).expect("allowed");
        assert_eq!(next.version, ZXID);
        assert_eq!(next.servers.keys().map(|sid| sid.0).collect::<Vec<_>>(), [1, 2, 4]);
        assert_eq!(next.participants().count(), 2);
        assert_eq!(next.servers[&ServerId(1)].addresses[0].host, "10.0.0.1");
    }

    #[test]
    fn a_whole_membership_replaces_the_present_one() {
        let text = "server.2=127.0.0.1:102:202;302,server.5=127.0.0.1:105:205;305";
        let wanted = Wanted { new_members: Some(text), config_id: -1, ..Wanted::default() };
        let next = three(&[1, 2, 5]).plan(&wanted, ZXID).expect("allowed");
        assert_eq!(next.servers.keys().map(|sid| sid.0).collect::<Vec<_>>(), [2, 5]);
        assert_eq!(three(&[1, 2]).plan(&wanted, ZXID), Err(ErrorCode::NewConfigNoQuorum));
    }

    #[test]
    fn each_refusal_has_its_code() {
        let all = three(&[1, 2, 3]);
        let stale = Wanted { config_id: 5, ..joining("server.4=127.0.0.1:104:204;304") };
        assert_eq!(all.plan(&stale, ZXID), Err(ErrorCode::BadVersion));
        for line in [
            "server.4",
            "server.4=127.0.0.1:104",
            "server.4=127.0.0.1:104:204",
            "server.4=127.0.0.1:101:204;304",
            "server.4=127.0.0.1:104:202;304",
            "server.4=127.0.0.1:104:204;127.0.0.1:301",
        ] {
            assert_eq!(all.plan(&joining(line), ZXID), Err(ErrorCode::BadArguments), "{line}");
        }
        assert_eq!(all.plan(&joining("server.x=h:1:2;3"), ZXID), Err(ErrorCode::MarshallingError));
        let leave = Wanted { leaving: Some("2,3"), config_id: -1, ..Wanted::default() };
        assert_eq!(all.plan(&leave, ZXID), Err(ErrorCode::BadArguments), "one voter is no ensemble");
        let alone = Standing { standalone_enabled: false, ..three(&[1]) };
        assert!(alone.plan(&leave, ZXID).is_ok());
        let leave = Wanted { leaving: Some("1"), config_id: -1, ..Wanted::default() };
        assert_eq!(three(&[1, 2]).plan(&leave, ZXID), Err(ErrorCode::NewConfigNoQuorum));
    }

    #[test]
    fn one_reconfiguration_at_a_time() {
        let mut busy = three(&[1, 2, 3]);
        let next = busy.plan(&joining("server.4=127.0.0.1:104:204;304"), ZXID).expect("allowed");
        Rc::make_mut(&mut busy.views).propose(next);
        let again = busy.plan(&joining("server.5=127.0.0.1:105:205;305"), ZXID.next());
        assert_eq!(again, Err(ErrorCode::ReconfigInProgress));
    }

    #[test]
    fn groups_are_changed_as_a_whole_only() {
        let text = "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\ngroup.1=1:2:3";
        let standing = standing(text, &[1, 2, 3]);
        assert_eq!(standing.plan(&joining("server.4=d:1:2;3"), ZXID), Err(ErrorCode::BadArguments));
    }
}
