//! Who is in the ensemble: the `server`, `group` and `weight` lines of zoo.cfg, of a dynamic configuration
//! file, of notifications and NEWLEADER packets, and of the data of `/zookeeper/config`, which all have the
//! same form.
//!
//! ```text
//! server.<id> = address{|address} [;[clientAddress:]clientPort [;[address:]securePort]]
//! address     = host:quorumPort:electionPort[:role]
//! group.<gid> = id:id:...        weight.<id> = n        version = <hex>
//! ```
//!
//! Host names stay names: looking them up blocks, and may give another answer tomorrow.
//!
//! # Invariants
//! - Servers are in the order of their ids, so equal memberships print equal text on every server. (Java's
//!   order is that of a hash table, which for ids below sixteen is the same.)
//! - In a hierarchical membership every participant has a group and every member of a group a weight.

use crate::ids::{ServerId, Zxid};
use crate::wire::address::{Bracketed, HostPort};
use crate::wire::properties;
use std::collections::BTreeMap;
use std::fmt;

/// Whether a server votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Participant,
    Observer,
}

impl Role {
    /// # Errors
    /// Any other word than the two; capitals do not matter.
    pub fn parse(text: &str) -> Result<Role, Problem> {
        match text.trim().to_ascii_lowercase().as_str() {
            "participant" => Ok(Role::Participant),
            "observer" => Ok(Role::Observer),
            _ => Err(Problem::UnknownRole { value: text.to_owned() }),
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Participant => "participant",
            Role::Observer => "observer",
        })
    }
}

/// One way to reach a server: the ports for the ensemble's traffic and for elections on one host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerAddress {
    pub host: String,
    pub quorum_port: u16,
    pub election_port: u16,
}

/// One member, as its server line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// At least one, in order of their hosts as Java prints them.
    pub addresses: Vec<ServerAddress>,
    pub role: Role,
    /// Where it serves clients, if the line says so; zoo.cfg may say so instead.
    pub client: Option<HostPort>,
    pub secure_client: Option<HostPort>,
}

impl Server {
    /// Parses what stands behind `server.N=`.
    ///
    /// # Errors
    /// The form, a port, a role, or several addresses without `several_addresses`.
    pub fn parse(line: &str, several_addresses: bool) -> Result<Server, Problem> {
        let wrong_form = || Problem::ServerLineForm { value: line.to_owned() };
        let parts = split_as_java(line, ';');
        let (servers, clients) = parts.split_first().ok_or_else(wrong_form)?;
        if clients.len() > 2 {
            return Err(wrong_form());
        }
        let client_part = |part: Option<&&str>| match part.map(|part| part.trim()) {
            None | Some("") => Ok(None),
            Some(part) => client_address(part, &wrong_form).map(Some),
        };
        let client = client_part(clients.first())?;
        let secure_client = client_part(clients.get(1))?;

        let servers = split_as_java(servers, '|');
        if servers.len() > 1 && !several_addresses {
            return Err(Problem::SeveralAddressesDisabled);
        }
        let mut addresses = Vec::with_capacity(servers.len());
        let mut role = None;
        for server in servers {
            let parts = host_and_rest(server.trim())?;
            let (&[host, quorum, election], roles) = parts.split_first_chunk().ok_or_else(wrong_form)?;
            match roles {
                [] => {}
                [this] => {
                    let this = Role::parse(this)?;
                    if role.is_some_and(|role| role != this) {
                        return Err(Problem::RolesDiffer);
                    }
                    role = Some(this);
                }
                _ => return Err(wrong_form()),
            }
            if host.is_empty() {
                return Err(wrong_form());
            }
            let quorum_port = port(host, quorum)?;
            let election_port = port(host, election)?;
            if quorum_port == election_port {
                return Err(Problem::EqualPorts { port: quorum_port });
            }
            addresses.push(ServerAddress { host: host.to_owned(), quorum_port, election_port });
        }
        if addresses.is_empty() {
            return Err(wrong_form());
        }
        addresses.sort_by(|a, b| a.host.cmp(&b.host));
        addresses.dedup();
        Ok(Server { addresses, role: role.unwrap_or(Role::Participant), client, secure_client })
    }
}

/// `host:port:port:role;host:port`, with the role always written.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, address) in self.addresses.iter().enumerate() {
            let separator = if at == 0 { "" } else { "|" };
            let ServerAddress { host, quorum_port, election_port } = address;
            write!(f, "{separator}{}:{quorum_port}:{election_port}", Bracketed(host))?;
        }
        write!(f, ":{}", self.role)?;
        if let Some(client) = &self.client {
            write!(f, ";{client}")?;
        }
        if let Some(secure) = &self.secure_client {
            // The third part of the line, also when the second is empty.
            let empty_client = if self.client.is_none() { ";" } else { "" };
            write!(f, "{empty_client};{secure}")?;
        }
        Ok(())
    }
}

/// `String.split` of Java: empty parts at the end do not count.
fn split_as_java(text: &str, separator: char) -> Vec<&str> {
    let mut parts: Vec<&str> = text.split(separator).collect();
    while parts.last().is_some_and(|part| part.is_empty()) {
        parts.pop();
    }
    parts
}

/// The host, out of its brackets, and the parts that colons separate behind it.
fn host_and_rest(text: &str) -> Result<Vec<&str>, Problem> {
    let Some(bracketed) = text.strip_prefix('[') else { return Ok(split_as_java(text, ':')) };
    let unclosed = || Problem::UnclosedBracket { value: text.to_owned() };
    let (host, rest) = bracketed.split_once(']').ok_or_else(unclosed)?;
    let rest = rest.strip_prefix(':').filter(|rest| !rest.is_empty()).ok_or_else(unclosed)?;
    let mut parts = vec![host];
    parts.extend(split_as_java(rest, ':'));
    Ok(parts)
}

/// `host:port`, or the port alone, which means all addresses.
fn client_address(text: &str, wrong_form: &dyn Fn() -> Problem) -> Result<HostPort, Problem> {
    match host_and_rest(text)?[..] {
        [number] => Ok(HostPort::on_all_addresses(port("0.0.0.0", number)?)),
        [host, number] if !host.is_empty() => {
            Ok(HostPort { host: host.to_owned(), port: port(host, number)? })
        }
        _ => Err(wrong_form()),
    }
}

fn port(host: &str, text: &str) -> Result<u16, Problem> {
    text.trim().parse().map_err(|_| Problem::BadAddress { address: format!("{}:{text}", Bracketed(host)) })
}

/// Votes counted by group: what a quorum of quorums needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Groups {
    /// The group of every server that is in one.
    pub group_of: BTreeMap<ServerId, i64>,
    /// The votes of a server within its group; 0 has no say.
    pub weights: BTreeMap<ServerId, i64>,
}

/// The members of an ensemble and how their votes count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    pub servers: BTreeMap<ServerId, Server>,
    /// `None`: a majority of the participants decides.
    pub groups: Option<Groups>,
    /// The zxid of the reconfiguration that made this membership; 0 for one that a person wrote.
    pub version: Zxid,
}

/// A key and a value of which [`is_member_key`] says that it belongs to the membership.
#[derive(Clone, Copy, Debug)]
pub struct MemberLine<'a> {
    pub key: &'a str,
    pub value: &'a str,
}

/// Why lines are no membership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadMembership {
    /// The index of the line; `None` for what no single line is to blame for.
    pub line: Option<usize>,
    pub problem: Problem,
}

/// Does Java take this key for a part of the membership? (It looks no further than this.)
pub fn is_member_key(key: &str) -> bool {
    key.starts_with("server.") || key.starts_with("group") || key.starts_with("weight")
}

impl Membership {
    /// Puts the lines together.
    ///
    /// # Errors
    /// A line that is malformed, or groups that do not fit the servers.
    pub fn parse(lines: &[MemberLine<'_>], several_addresses: bool) -> Result<Membership, BadMembership> {
        let mut membership = Membership::default();
        let mut groups = Groups::default();
        let mut hierarchical = false;
        for (at, MemberLine { key, value }) in lines.iter().enumerate() {
            let fail = |problem| BadMembership { line: Some(at), problem };
            let not_a_number = || fail(Problem::NotANumber { value: (*value).to_owned() });
            let id_of = |form| match key.split_once('.').map(|(_, id)| id.parse::<i64>()) {
                Some(Ok(id)) => Ok(id),
                _ => Err(fail(Problem::MemberKeyWithoutNumber { form })),
            };
            if key.starts_with("server.") {
                let id = ServerId(id_of("server.<number>=host:port:port")?);
                membership.servers.insert(id, Server::parse(value, several_addresses).map_err(fail)?);
            } else if key.starts_with("group") {
                hierarchical = true;
                let group = id_of("group.<number>=id:id:id")?;
                for id in split_as_java(value, ':') {
                    let id = id.trim().parse().map_err(|_| not_a_number())?;
                    if groups.group_of.insert(ServerId(id), group).is_some() {
                        return Err(fail(Problem::ServerInTwoGroups { id }));
                    }
                }
            } else if key.starts_with("weight") {
                hierarchical = true;
                let id = id_of("weight.<number>=votes")?;
                groups.weights.insert(ServerId(id), value.parse().map_err(|_| not_a_number())?);
            } else {
                let version = i64::from_str_radix(value, 16);
                let bad = |_| fail(Problem::BadVersion { value: (*value).to_owned() });
                membership.version = Zxid(version.map_err(bad)?);
            }
        }
        if hierarchical {
            for (id, server) in &membership.servers {
                if server.role == Role::Participant {
                    if !groups.group_of.contains_key(id) {
                        return Err(BadMembership {
                            line: None,
                            problem: Problem::ServerNotInAGroup { id: id.0 },
                        });
                    }
                    groups.weights.entry(*id).or_insert(1);
                }
            }
            // Java ends with a null pointer here, in the middle of adding up the groups' weights.
            if let Some(id) = groups.group_of.keys().find(|id| !groups.weights.contains_key(id)) {
                return Err(BadMembership {
                    line: None,
                    problem: Problem::GroupMemberWithoutWeight { id: id.0 },
                });
            }
            membership.groups = Some(groups);
        }
        Ok(membership)
    }

    /// Reads the text that servers send each other and that [`Display`](fmt::Display) prints.
    ///
    /// # Errors
    /// Also for keys that do not belong there, as in Java, which reads nothing else from this text.
    pub fn from_text(text: &[u8]) -> Result<Membership, BadMembership> {
        // What the peers agreed upon has been checked by the one that proposed it.
        Membership::from_untrusted_text(text, true)
    }

    /// The same for text that nobody has agreed upon yet.
    ///
    /// # Errors
    /// As [`from_text`](Membership::from_text), and several addresses for one server without `several_addresses`.
    pub fn from_untrusted_text(text: &[u8], several_addresses: bool) -> Result<Membership, BadMembership> {
        let whole = |problem| BadMembership { line: None, problem };
        let properties = properties::parse(text).map_err(|_| whole(Problem::NotProperties))?;
        // A later line for the same key replaces an earlier one, as in Java's properties.
        let latest: BTreeMap<&str, &str> =
            properties.iter().map(|p| (p.key.as_str(), p.value.as_str())).collect();
        if let Some(key) = latest.keys().find(|key| !is_member_key(key) && **key != "version") {
            return Err(whole(Problem::ForeignKey { key: (*key).to_owned() }));
        }
        let lines: Vec<_> = latest.into_iter().map(|(key, value)| MemberLine { key, value }).collect();
        Membership::parse(&lines, several_addresses)
    }

    /// The servers that vote.
    pub fn participants(&self) -> impl Iterator<Item = (ServerId, &Server)> {
        self.with_role(Role::Participant)
    }

    /// The servers that only listen and serve reads.
    pub fn observers(&self) -> impl Iterator<Item = (ServerId, &Server)> {
        self.with_role(Role::Observer)
    }

    fn with_role(&self, role: Role) -> impl Iterator<Item = (ServerId, &Server)> {
        self.servers.iter().filter(move |(_, server)| server.role == role).map(|(id, server)| (*id, server))
    }

    /// Java's decision between a standalone server and a member of an ensemble.
    pub fn is_distributed(&self, standalone_enabled: bool) -> bool {
        self.participants().count() > 1 || !standalone_enabled
    }
}

/// The data of `/zookeeper/config`, which `conf` prints too: one line each, none after the version.
impl fmt::Display for Membership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (id, server) in &self.servers {
            writeln!(f, "server.{id}={server}")?;
        }
        if let Some(groups) = &self.groups {
            let mut members: BTreeMap<i64, String> = BTreeMap::new();
            for (id, group) in &groups.group_of {
                let list = members.entry(*group).or_default();
                let separator = if list.is_empty() { "" } else { ":" };
                *list += &format!("{separator}{id}");
            }
            for (group, list) in members {
                writeln!(f, "group.{group}={list}")?;
            }
            for (id, weight) in &groups.weights {
                writeln!(f, "weight.{id}={weight}")?;
            }
        }
        write!(f, "version={:x}", self.version)
    }
}

/// What can be wrong with a membership. Words that Java uses are kept where people search for them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    NotANumber {
        value: String,
    },
    UnknownRole {
        value: String,
    },
    MemberKeyWithoutNumber {
        form: &'static str,
    },
    ServerLineForm {
        value: String,
    },
    UnclosedBracket {
        value: String,
    },
    BadAddress {
        address: String,
    },
    EqualPorts {
        port: u16,
    },
    SeveralAddressesDisabled,
    RolesDiffer,
    BadVersion {
        value: String,
    },
    ServerInTwoGroups {
        id: i64,
    },
    ServerNotInAGroup {
        id: i64,
    },
    GroupMemberWithoutWeight {
        id: i64,
    },
    /// Only in text from a peer: its syntax is broken.
    NotProperties,
    /// Only in text from a peer: a key that is no part of a membership.
    ForeignKey {
        key: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use Problem::*;
        // Values come from files and peers: quoted and escaped, so that a message stays one line.
        match self {
            NotANumber { value } => write!(
                f,
                "{value:?} is not a whole number; write digits only (a comment needs a line of its own)"
            ),
            UnknownRole { value } => {
                write!(f, "unrecognised peer type {value:?}; write participant or observer")
            }
            MemberKeyWithoutNumber { form } => write!(f, "no number after the dot; the form is {form}"),
            ServerLineForm { value } => write!(
                f,
                "{value:?} does not have the form host:quorumPort:electionPort[:participant|observer]\
                 [;[clientAddress:]clientPort], with IPv6 addresses in brackets"
            ),
            UnclosedBracket { value } => {
                write!(f, "{value:?} is not [address]:port; close the bracket and add the port")
            }
            BadAddress { address } => {
                write!(f, "address unresolved: {address:?}; a port is a number from 0 to 65535")
            }
            EqualPorts { port } => {
                write!(f, "quorum and election port must be different, both are {port}; change one")
            }
            SeveralAddressesDisabled => f.write_str(
                "multiple address feature is disabled, but several addresses are given; add \
                 multiAddress.enabled=true",
            ),
            RolesDiffer => f.write_str("the addresses of one server must all have the same role"),
            BadVersion { value } => {
                write!(f, "{value:?} is not a hexadecimal number; servers write this line, remove it")
            }
            ServerInTwoGroups { id } => write!(f, "server {id} is in multiple groups; name it in one only"),
            ServerNotInAGroup { id } => {
                write!(f, "server {id} is not in a group; every participant must be in exactly one")
            }
            GroupMemberWithoutWeight { id } => write!(
                f,
                "group member {id} is no participant and has no weight; remove it from its group or add \
                 weight.{id}"
            ),
            NotProperties => f.write_str("malformed \\u escape"),
            ForeignKey { key } => write!(f, "unrecognised parameter {key:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TEXT: &str = "server.1=a:1:2:participant\nserver.2=[::1]:1:2:observer;0.0.0.0:2181\nversion=10a";

    #[test]
    fn the_text_that_servers_exchange_comes_back_as_it_was() {
        let members = Membership::from_text(TEXT.as_bytes()).expect("good");
        assert_eq!((members.version, members.participants().count()), (Zxid(0x10a), 1));
        assert_eq!(members.to_string(), TEXT);
    }

    #[test]
    fn text_with_a_foreign_key_is_no_membership() {
        let foreign = Membership::from_text(b"rubbish=1\nversion=1");
        let problem = Problem::ForeignKey { key: "rubbish".into() };
        assert_eq!(foreign, Err(BadMembership { line: None, problem }));
    }

    #[test]
    fn a_bad_line_is_pointed_at() {
        let lines = [("server.1", "a:1:2"), ("weight.x", "1")].map(|(key, value)| MemberLine { key, value });
        assert_eq!(Membership::parse(&lines, false).expect_err("bad").line, Some(1));
    }

    proptest! {
        #[test]
        fn what_parses_prints_text_that_parses_to_the_same(text in "(server\\.[0-9]{1,2}=[a-c]:1:2(:observer)?(;3)?\n){0,4}(weight\\.1=2\n)?(group\\.1=1:2\n)?") {
            if let Ok(members) = Membership::from_text(text.as_bytes()) {
                prop_assert_eq!(Membership::from_text(members.to_string().as_bytes()), Ok(members));
            }
        }
    }
}
