//! Connect strings: `host:port,host:port/chroot`, the value of `-server`.

use std::hash::{BuildHasher, RandomState};

use super::path;

/// The port of a server that names none.
const PORT_DEFAULT: u16 = 2181;

/// Where to connect, and below which znode every path lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectString {
    /// Host name or address without brackets, and port; never empty.
    pub servers: Vec<(String, u16)>,
    /// `/app`, or empty: put in front of every path that is sent, taken off every path that comes back.
    pub chroot: String,
}

impl ConnectString {
    /// # Errors
    ///
    /// A text that names the part which is wrong.
    pub fn parse(text: &str) -> Result<ConnectString, String> {
        let (list, chroot) = match text.find('/') {
            Some(at) => text.split_at(at),
            None => (text, ""),
        };
        let chroot = if chroot == "/" { "" } else { chroot };
        if !chroot.is_empty() {
            path::validate(chroot)?;
        }
        let servers: Vec<_> = list
            .split(',')
            .map(str::trim)
            .filter(|server| !server.is_empty())
            .map(parse_server)
            .collect::<Result<_, _>>()?;
        if servers.is_empty() {
            return Err(format!("no server in connect string '{text}'"));
        }
        Ok(ConnectString { servers, chroot: chroot.to_string() })
    }

    /// The servers in an order of their own, so that many clients with one list spread over the ensemble.
    pub fn shuffled(&self) -> Vec<(String, u16)> {
        let random = RandomState::new();
        let mut servers = self.servers.clone();
        servers.sort_by_cached_key(|server| random.hash_one(server));
        servers
    }
}

fn parse_server(text: &str) -> Result<(String, u16), String> {
    let bad_port = |port: &str| format!("'{port}' is not a port, in '{text}' of the connect string");
    if let Some(rest) = text.strip_prefix('[') {
        let Some((host, after)) = rest.split_once(']') else {
            return Err(format!("{text} starts with '[' but has no matching ']'"));
        };
        return match after.strip_prefix(':') {
            Some(port) => Ok((host.into(), port.parse().map_err(|_| bad_port(port))?)),
            None if after.is_empty() => Ok((host.into(), PORT_DEFAULT)),
            None => Err(format!("{text} does not have : after ]")),
        };
    }
    // An address such as ::1 without brackets: Java takes what follows the last colon as the port, which is
    // never meant when the whole is an address.
    if text.parse::<std::net::Ipv6Addr>().is_ok() {
        return Ok((text.into(), PORT_DEFAULT));
    }
    match text.rsplit_once(':') {
        Some(("", _)) => Err(format!("no host in '{text}' of the connect string")),
        Some((host, port)) => Ok((host.into(), port.parse().map_err(|_| bad_port(port))?)),
        None => Ok((text.into(), PORT_DEFAULT)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (Vec<String>, String) {
        let connect = ConnectString::parse(text).unwrap();
        (connect.servers.iter().map(|(host, port)| format!("{host}|{port}")).collect(), connect.chroot)
    }

    #[test]
    fn hosts_ports_and_chroot_are_told_apart() {
        assert_eq!(parsed("localhost"), (vec!["localhost|2181".into()], "".into()));
        assert_eq!(
            parsed("a:1,b, c:3/app/x"),
            (vec!["a|1".into(), "b|2181".into(), "c|3".into()], "/app/x".into())
        );
        assert_eq!(parsed("a:1/"), (vec!["a|1".into()], "".into()));
    }

    #[test]
    fn ipv6_comes_with_and_without_brackets() {
        assert_eq!(
            parsed("[::1]:2182,[fe80::2],::1").0,
            ["::1|2182", "fe80::2|2181", "::1|2181"].map(String::from)
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (bad, word) in [
            ("", "no server"),
            ("/app", "no server"),
            ("a:x", "'x' is not a port"),
            ("a:70000", "'70000' is not a port"),
            ("[::1", "no matching"),
            ("[::1]2181", "does not have :"),
            (":2181", "no host"),
            ("a:1/app/", "must not end with /"),
        ] {
            let error = ConnectString::parse(bad).unwrap_err();
            assert!(error.contains(word), "{bad}: {error}");
        }
    }

    #[test]
    fn shuffling_loses_no_server() {
        let connect = ConnectString::parse("a,b,c,d").unwrap();
        let mut shuffled = connect.shuffled();
        shuffled.sort();
        assert_eq!(shuffled, connect.servers);
    }
}
