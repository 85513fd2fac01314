//! A reconfiguration as its client asks for it: the checks of the leader, and the membership that comes of it.
//!
//! Java's order decides which error a client gets (`PrepRequestProcessor.pRequest2Txn`, case `reconfig`). Most of what
//! is wrong with a request is a bad argument; but where Java's checks end with an exception that nobody foresaw, as with a
//! server's number that is none, the client is told of a marshalling error.

use std::net::IpAddr;
use std::rc::Rc;

use super::membership::{Membership, Problem, Server};
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
    /// `multiAddress.enabled`
    pub several_addresses: bool,
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
            Some(text) => self.whole(text)?,
            None => self.incremental(last_seen, wanted)?,
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

    /// Nothing of the present membership stays unless the text has it too.
    fn whole(&self, text: &str) -> Result<Membership, ErrorCode> {
        let text = text.replace(',', "\n");
        let next = Membership::from_untrusted_text(text.as_bytes(), self.several_addresses)
            .map_err(|bad| code_of(&bad.problem))?;
        let observers = next.observers().next().is_some();
        // Java gives a file's answer here, which nobody catches (`QuorumPeerConfig.parseDynamicConfig`).
        match next.participants().count() {
            0 if observers || !self.standalone_enabled => Err(ErrorCode::MarshallingError),
            1 if observers && self.standalone_enabled => Err(ErrorCode::MarshallingError),
            _ => Ok(next),
        }
    }

    /// The present membership without those who leave and with those who join. Only where a majority decides: nobody
    /// says to which group a joiner belongs.
    fn incremental(&self, present: &Membership, wanted: &Wanted<'_>) -> Result<Membership, ErrorCode> {
        if present.groups.is_some() {
            return Err(ErrorCode::BadArguments);
        }
        let id = |text: &str| text.parse().map(ServerId).map_err(|_| ErrorCode::MarshallingError);
        let mut next = present.clone();
        for leaving in items(wanted.leaving) {
            next.servers.remove(&id(leaving)?);
        }
        for joining in items(wanted.joining) {
            let (key, line) = joining.split_once('=').ok_or(ErrorCode::BadArguments)?;
            if line.trim().is_empty() || line.contains('=') {
                return Err(ErrorCode::BadArguments);
            }
            let sid = id(key.trim().rsplit('.').next().unwrap_or(key))?;
            let server =
                Server::parse(line.trim(), self.several_addresses).map_err(|problem| code_of(&problem))?;
            // Who cannot be asked by clients could not be asked anything.
            let silent = server.client.is_none() && server.secure_client.is_none();
            let clashes = next.servers.iter().any(|(other, at)| *other != sid && clash(&server, at));
            if silent || clashes {
                return Err(ErrorCode::BadArguments);
            }
            next.servers.insert(sid, server);
        }
        Ok(next)
    }
}

fn items(list: Option<&str>) -> impl Iterator<Item = &str> {
    list.unwrap_or_default().split(',').map(str::trim).filter(|item| !item.is_empty())
}

fn code_of(problem: &Problem) -> ErrorCode {
    match problem {
        Problem::NotANumber { .. } | Problem::MemberKeyWithoutNumber { .. } | Problem::BadVersion { .. } => {
            ErrorCode::MarshallingError
        }
        // A number, but none of a port.
        Problem::BadAddress { address }
            if address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<i32>().is_ok()) =>
        {
            ErrorCode::MarshallingError
        }
        _ => ErrorCode::BadArguments,
    }
}

/// Whether two servers would listen at the same place, as far as that can be said from here: everybody has a loopback
/// of their own, and names are not looked up (`QuorumServer.checkAddressDuplicate`).
fn clash(one: &Server, other: &Server) -> bool {
    let other: Vec<_> = places(other).collect();
    places(one).any(|place| other.contains(&place))
}

fn places(server: &Server) -> impl Iterator<Item = (&str, u16)> {
    let clients = server.client.iter().chain(&server.secure_client);
    let between = server.addresses.iter();
    let between =
        between.flat_map(|at| [(at.host.as_str(), at.quorum_port), (at.host.as_str(), at.election_port)]);
    between.chain(clients.map(|at| (at.host.as_str(), at.port))).filter(|(host, _)| !is_everybodys(host))
}

fn is_everybodys(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(address) => address.is_loopback() || address.is_unspecified(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(text: &str, in_step: &[i64]) -> Standing {
        let members = Membership::from_text(text.as_bytes()).expect("a good membership");
        let in_step = in_step.iter().copied().map(ServerId).collect();
        Standing {
            views: Rc::new(Views::new(members)),
            in_step,
            standalone_enabled: true,
            several_addresses: false,
        }
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
        // tests/interop/reconfig asks Java all of these.
        let bad = ErrorCode::BadArguments;
        let malformed = ErrorCode::MarshallingError;
        for (line, code) in [
            ("server.4", bad),
            ("server.4=", bad),
            ("server.4=127.0.0.1:104", bad),
            ("server.4=127.0.0.1:104:204", bad),
            ("server.4=h:1:2;3=4", bad),
            ("server.4=h:1:x;3", bad),
            ("server.4=h:1:2;x", bad),
            ("server.4=h:1:2:king;3", bad),
            ("server.4=g:1:2|h:1:2;3", bad),
            ("server.4=h:1:2;3,server.5=h:1:4;5", bad),
            ("server.4=h:1:2;3,server.5=h:4:2;5", bad),
            ("server.4=h:1:2;3,server.5=g:1:2;h:1", bad),
            ("server.x=h:1:2;3", malformed),
            ("server.4=h:1:70000;3", malformed),
            ("server.4=h:1:2;70000", malformed),
        ] {
            assert_eq!(all.plan(&joining(line), ZXID), Err(code), "{line}");
        }
        for line in ["server.4=127.0.0.1:101:201;127.0.0.1:301", "server.4=h:1:2;3,server.5=h:3:4;3"] {
            assert!(all.plan(&joining(line), ZXID).is_ok(), "no clash: {line}");
        }
        let (one, two) = ("server.1=127.0.0.1:1:2;3", "server.2=127.0.0.1:4:5;6");
        for (text, code) in [
            ("tickTime=5".into(), bad),
            (String::new(), bad),
            (one.into(), bad),
            (format!("{one},{two},group.1=1"), bad),
            (format!("{one},{two},group.1=1:2,group.2=2"), bad),
            ("server.x=h:1:2;3".into(), malformed),
            ("server.4=h:1:2:observer;3".into(), malformed),
            (format!("{one},server.4=h:1:2:observer;3"), malformed),
            (format!("{one},{two},version=x"), malformed),
            (format!("{one},{two},group.1=1:x"), malformed),
            (format!("{one},{two},group.1=1:2,weight.1=x"), malformed),
        ] {
            let wanted = Wanted { new_members: Some(&text), config_id: -1, ..Wanted::default() };
            assert_eq!(all.plan(&wanted, ZXID), Err(code), "{text}");
        }
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
