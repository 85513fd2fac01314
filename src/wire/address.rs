//! A host and a port, as configuration and peers write them: `host:port`, with IPv6 literals in brackets.

use std::fmt;
use std::net::IpAddr;

/// A host, by name or address, and a port. Printed with IPv6 addresses in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// Without brackets.
    pub host: String,
    pub port: u16,
}

impl HostPort {
    /// Takes `host:port`, an IPv6 literal in brackets.
    pub fn parse(text: &str) -> Option<HostPort> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(bracketed) => bracketed.strip_suffix(']')?,
            None => host,
        };
        if host.is_empty() {
            return None;
        }
        Some(HostPort { host: host.to_owned(), port: port.parse().ok()? })
    }

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
    pub fn contradicts(&self, in_server_line: &HostPort) -> bool {
        self.port != in_server_line.port || !self.is_on_all_addresses() && self.host_differs(in_server_line)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", Bracketed(&self.host), self.port)
    }
}

/// A host as addresses are written: IPv6 literals in brackets.
pub struct Bracketed<'a>(pub &'a str);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.contains(':') { write!(f, "[{}]", self.0) } else { f.write_str(self.0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_can_be_read() {
        for text in ["a:1", "127.0.0.1:22012", "[::1]:65535"] {
            assert_eq!(HostPort::parse(text).expect("good").to_string(), text);
        }
        for text in ["a", "a:", ":1", "a:65536", "a:-1", "[::1:1", ""] {
            assert_eq!(HostPort::parse(text), None, "{text}");
        }
    }
}
