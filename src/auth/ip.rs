//! The ip scheme: an address, or an address and how many of its leading bits count.

use std::net::IpAddr;

/// The address as Java's `InetAddress.getHostAddress` prints it: IPv6 in full, without `::`.
pub fn text(address: IpAddr) -> String {
    match address.to_canonical() {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => v6.segments().map(|segment| format!("{segment:x}")).join(":"),
    }
}

/// Whether an ACL may hold this id.
pub fn is_valid(id: &str) -> bool {
    parse(id).is_some()
}

/// Whether the connection at `address` (an identity's text) is covered by the ACL id `expression`.
pub fn matches(address: &str, expression: &str) -> bool {
    let (Some((own, _)), Some((wanted, bits))) = (parse(address), parse(expression)) else { return false };
    own.len() == wanted.len() && (0..bits).all(|bit| bit_of(&own, bit) == bit_of(&wanted, bit))
}

fn bit_of(bytes: &[u8], bit: usize) -> bool {
    bytes[bit / 8] & (0x80 >> (bit % 8)) != 0
}

/// The bytes of an address and the number of bits that count.
fn parse(id: &str) -> Option<(Vec<u8>, usize)> {
    let (address, bits) = match id.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (id, None),
    };
    // A zone ("%eth0") belongs to a link, not to the address.
    let bytes = parse_v4(address).or_else(|| parse_v6(address.split('%').next().unwrap_or_default()))?;
    let all = bytes.len() * 8;
    let bits = match bits {
        None => all,
        Some(text) => usize::try_from(java_int(text)?).ok().filter(|&bits| bits <= all)?,
    };
    Some((bytes, bits))
}

fn parse_v4(address: &str) -> Option<Vec<u8>> {
    let parts: Vec<&str> = address.split('.').collect();
    if parts.len() != 4 {
        return None;
    }
    parts.into_iter().map(|part| u8::try_from(java_int(part)?).ok()).collect()
}

fn parse_v6(address: &str) -> Option<Vec<u8>> {
    Some(address.parse::<std::net::Ipv6Addr>().ok()?.octets().to_vec())
}

/// `Integer.parseInt`: an optional sign and decimal digits, leading zeros welcome.
fn java_int(text: &str) -> Option<i32> {
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_printed_as_java_prints_them() {
        assert_eq!(text("::1".parse().unwrap()), "0:0:0:0:0:0:0:1");
        assert_eq!(text("::ffff:10.0.0.1".parse().unwrap()), "10.0.0.1");
    }

    #[test]
    fn ids_are_judged_as_java_does() {
        for good in ["127.0.0.1", "127.0.0.1/8", "010.+1.0.0/0", "::1", "fe80::/64", "0:0:0:0:0:0:0:1"] {
            assert!(is_valid(good), "{good}");
        }
        for bad in ["", "127.0.0", "127.0.0.256", "127.0.0.1/33", "127.0.0.1/", "::1/129", "localhost"] {
            assert!(!is_valid(bad), "{bad}");
        }
    }

    #[test]
    fn a_mask_compares_leading_bits_of_one_family() {
        assert!(matches("10.1.2.3", "10.0.0.0/8"));
        assert!(!matches("11.1.2.3", "10.0.0.0/8"));
        assert!(matches("10.1.2.3", "10.1.2.3"));
        assert!(!matches("0:0:0:0:0:0:0:1", "0.0.0.0/0"));
    }
}
