//! Who is in the ensemble: the `server`, `group` and `weight` lines of zoo.cfg, of a dynamic configuration
//! file, and of the data of `/zookeeper/config`, which all have the same form. And `myid`: who of them we
//! are.
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

use super::error::{ConfigError, Place, Problem};
use crate::ids::{ServerId, Zxid};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::Path;

/// A host, by name or address, and a port. Printed with IPv6 addresses in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    /// The port on all addresses of this machine, of both families.
    pub fn on_all_addresses(port: u16) -> HostPort {
        HostPort { host: "0.0.0.0".to_owned(), port }
    }

    /// Is this the wildcard of either family? Java binds both families for either of them.
    pub fn is_on_all_addresses(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified())
    }

    /// Do both certainly name different hosts? A name may be that of any address, so only two names or two
    /// addresses can be told apart without asking the network.
    fn host_differs(&self, other: &HostPort) -> bool {
        match (self.host.parse::<IpAddr>(), other.host.parse::<IpAddr>()) {
            (Ok(ip), Ok(other)) => ip != other,
            (Err(_), Err(_)) => !self.host.eq_ignore_ascii_case(&other.host),
            _ => false,
        }
    }

    /// Java's rule for an address that zoo.cfg and the server line both give: the ports agree, and the hosts
    /// do unless zoo.cfg says "all addresses".
    pub(super) fn contradicts(&self, in_server_line: &HostPort) -> bool {
        self.port != in_server_line.port || !self.is_on_all_addresses() && self.host_differs(in_server_line)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

struct Bracketed<'a>(&'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

/// Whether a server votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Participant,
    Observer,
}

impl Role {
    pub(super) fn parse(text: &str) -> Result<Role, Problem> {
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

/// A key and a value of which [`is_member_key`] says that it belongs to the membership, and where it stands.
pub(super) struct MemberLine<'a> {
    pub key: &'a str,
    pub value: &'a str,
    pub place: &'a Place,
}

/// Does Java take this key for a part of the membership? (It looks no further than this.)
pub(super) fn is_member_key(key: &str) -> bool {
    key.starts_with("server.") || key.starts_with("group") || key.starts_with("weight")
}

impl Membership {
    /// Puts the lines together.
    ///
    /// # Errors
    /// A line that is malformed, or groups that do not fit the servers; `whole` is the place of errors that
    /// no single line makes.
    pub(super) fn parse(
        lines: &[MemberLine<'_>],
        several_addresses: bool,
        whole: &Place,
    ) -> Result<Membership, ConfigError> {
        let mut membership = Membership::default();
        let mut groups = Groups::default();
        let mut hierarchical = false;
        for MemberLine { key, value, place } in lines {
            let fail = |problem| ConfigError { place: (*place).clone(), problem };
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
                        let problem = Problem::ServerNotInAGroup { id: id.0 };
                        return Err(ConfigError { place: whole.clone(), problem });
                    }
                    groups.weights.entry(*id).or_insert(1);
                }
            }
            // Java ends with a null pointer here, in the middle of adding up the groups' weights.
            if let Some(id) = groups.group_of.keys().find(|id| !groups.weights.contains_key(id)) {
                let problem = Problem::GroupMemberWithoutWeight { id: id.0 };
                return Err(ConfigError { place: whole.clone(), problem });
            }
            membership.groups = Some(groups);
        }
        Ok(membership)
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

/// The version in the name of a dynamic configuration file: the hexadecimal number behind its last dot, or 0.
pub(super) fn version_in_name(path: &Path) -> Zxid {
    let name = path.to_string_lossy();
    let number = name.rsplit_once('.').and_then(|(_, end)| i64::from_str_radix(end, 16).ok());
    Zxid(number.unwrap_or(0))
}

/// This server's number, from the file `myid` in its data directory; `None` without such a file.
///
/// # Errors
/// A first line that is no number. Like Java, this does not trim: a blank behind the number is an error.
pub(super) fn read_myid(data_dir: &Path) -> Result<Option<ServerId>, ConfigError> {
    let path = data_dir.join("myid");
    // Java asks `isFile` first, so that a directory of that name counts as no file.
    if !path.is_file() {
        return Ok(None);
    }
    let fail = |problem| ConfigError { place: Place::file(&path), problem };
    let unreadable = |error: io::Error| fail(Problem::FileUnreadable { error: error.to_string() });
    // No number is longer; the rest of whatever file this is does not matter.
    let mut start = Vec::new();
    File::open(&path).and_then(|file| file.take(64).read_to_end(&mut start)).map_err(unreadable)?;
    let line = start.split(|byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let line = String::from_utf8_lossy(line);
    match line.parse() {
        // Java's own mark for "no id".
        Ok(-1) => Ok(None),
        Ok(id) => Ok(Some(ServerId(id))),
        Err(_) => Err(fail(Problem::MyidNotANumber { value: line.into_owned() })),
    }
}
