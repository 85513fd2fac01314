//! How values look: stat blocks, dates, ACLs, hex dumps and quotas, each as Java's command line prints it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::error::Failure;
use crate::wire::records::{Acl, Stat, perms};

/// The eleven lines of a znode's stat, the last without a line end; dates in `zone`.
pub fn stat(stat: &Stat, zone: &TimeZone) -> String {
    [
        format!("cZxid = {:#x}", stat.czxid),
        format!("ctime = {}", date(stat.ctime, zone)),
        format!("mZxid = {:#x}", stat.mzxid),
        format!("mtime = {}", date(stat.mtime, zone)),
        format!("pZxid = {:#x}", stat.pzxid),
        format!("cversion = {}", stat.cversion),
        format!("dataVersion = {}", stat.version),
        format!("aclVersion = {}", stat.aversion),
        format!("ephemeralOwner = {:#x}", stat.ephemeral_owner),
        format!("dataLength = {}", stat.data_length),
        format!("numChildren = {}", stat.num_children),
    ]
    .join("\n")
}

/// As `java.util.Date.toString` does: `Sun Nov 22 16:24:23 UTC 2026`.
pub fn date(millis: i64, zone: &TimeZone) -> String {
    // Beyond the year 9999 only a broken server goes; its number is then the best there is to show.
    let Ok(time) = Timestamp::from_millisecond(millis) else { return format!("{millis} ms") };
    let offset = zone.to_offset_info(time);
    let name = match offset.abbreviation() {
        // Zones without a name have their offset as one, which Java shows as GMT+05:30.
        numeric if numeric.starts_with(['+', '-']) => {
            let seconds = offset.offset().seconds();
            let sign = if seconds < 0 { '-' } else { '+' };
            let minutes = seconds.abs() / 60;
            format!("GMT{sign}{:02}:{:02}", minutes / 60, minutes % 60)
        }
        name => name.to_string(),
    };
    time.to_zoned(zone.clone()).strftime(&format!("%a %b %d %H:%M:%S {name} %Y")).to_string()
}

/// Both lines of an ACL entry: `'world,'anyone` and `: cdrwa`.
pub fn acl(acl: &Acl<'_>) -> String {
    let (scheme, id) = (acl.scheme.as_deref().unwrap_or(""), acl.id.as_deref().unwrap_or(""));
    format!("'{scheme},'{id}\n: {}", permissions(acl.perms))
}

/// The letters of a permission set, always in this order.
fn permissions(bits: i32) -> String {
    const LETTERS: [(i32, char); 5] = [
        (perms::CREATE, 'c'),
        (perms::DELETE, 'd'),
        (perms::READ, 'r'),
        (perms::WRITE, 'w'),
        (perms::ADMIN, 'a'),
    ];
    LETTERS.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, letter)| letter).collect()
}

/// Reads `scheme:id:perms,scheme:id:perms`. The id may contain colons. Entries and letters that make no sense
/// are left out, with a word about each for stderr.
pub fn parse_acl(text: &str) -> (Vec<Acl<'_>>, Vec<String>) {
    let (mut entries, mut complaints) = (Vec::new(), Vec::new());
    for item in java_split(text, ',') {
        let parts = item.split_once(':').and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once(':')?)));
        let Some((scheme, (id, letters))) = parts else {
            complaints.push(format!("{item} does not have the form scheme:id:perm"));
            continue;
        };
        let mut bits = 0;
        for letter in letters.chars() {
            match letter {
                'r' => bits |= perms::READ,
                'w' => bits |= perms::WRITE,
                'c' => bits |= perms::CREATE,
                'd' => bits |= perms::DELETE,
                'a' => bits |= perms::ADMIN,
                _ => complaints.push(format!("Unknown perm type: {letter}")),
            }
        }
        entries.push(Acl { perms: bits, scheme: Some(scheme.into()), id: Some(id.into()) });
    }
    (entries, complaints)
}

/// `String.split`: empty parts at the end do not count.
fn java_split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.trim_end_matches(separator).split(separator)
}

/// `[a, b]`, as Java prints a list.
pub fn list(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

/// Sixteen bytes a line with their offset and their ASCII, in a frame (Netty's `prettyHexDump`). Nothing for no
/// bytes.
pub fn hex_dump(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return String::new();
    }
    let mut out = String::from("         +-------------------------------------------------+\n");
    out.push_str("         |  0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f |\n");
    const RULE: &str = "+--------+-------------------------------------------------+----------------+";
    out.push_str(RULE);
    for (row, chunk) in bytes.chunks(16).enumerate() {
        let hex: String = chunk.iter().map(|byte| format!(" {byte:02x}")).collect();
        let text: String =
            chunk.iter().map(|byte| if (b' '..0x7f).contains(byte) { *byte as char } else { '.' }).collect();
        out.push_str(&format!("\n|{:08x}|{hex:48} |{text:16}|", row * 16));
    }
    out.push('\n');
    out.push_str(RULE);
    out
}

/// The text of a quota's limits or of its usage: `count=2,bytes=-1=;byteHardLimit=10` (`StatsTrack`).
///
/// -1 is "no limit". Keys that this client does not know are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    pub count: i64,
    pub bytes: i64,
    /// Sorted by key.
    others: Vec<(String, i64)>,
}

impl Quota {
    pub const COUNT_HARD: &'static str = "countHardLimit";
    pub const BYTES_HARD: &'static str = "byteHardLimit";

    pub const EMPTY: Quota = Quota { count: -1, bytes: -1, others: Vec::new() };

    /// # Errors
    ///
    /// The node holds something else.
    pub fn parse(data: &[u8]) -> Result<Quota, Failure> {
        let text = String::from_utf8_lossy(data);
        let mut quota = Quota::EMPTY;
        for pair in text.split([',', ';']).filter(|pair| !pair.is_empty()) {
            let mut parts = pair.split('=');
            let (key, number) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let number = if number.is_empty() { Some(-1) } else { number.parse().ok() };
            let number = number.ok_or_else(|| Failure::Text(format!("not a quota: {text}")))?;
            match key {
                "count" => quota.count = number,
                "bytes" => quota.bytes = number,
                _ => quota.set_other(key, number),
            }
        }
        Ok(quota)
    }

    pub fn other(&self, key: &str) -> i64 {
        self.others.iter().find(|(k, _)| k == key).map_or(-1, |(_, number)| *number)
    }

    pub fn set_other(&mut self, key: &str, number: i64) {
        self.others.retain(|(k, _)| k != key);
        let at = self.others.partition_point(|(k, _)| k.as_str() < key);
        self.others.insert(at, (key.to_string(), number));
    }
}

/// The second `=` after bytes makes parsers of 3.4 stop there, which know nothing of the keys behind it.
impl std::fmt::Display for Quota {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "count={},bytes={}", self.count, self.bytes)?;
        if !self.others.is_empty() {
            f.write_str("=")?;
        }
        self.others.iter().try_for_each(|(key, number)| write!(f, ";{key}={number}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_eleven_lines_with_javas_dates() {
        let shown = Stat {
            czxid: 2,
            ctime: 1_795_364_663_123,
            data_length: 5,
            ephemeral_owner: -1,
            ..Stat::default()
        };
        let text = stat(&shown, &TimeZone::UTC);
        assert_eq!(text.lines().count(), 11);
        assert!(
            text.starts_with("cZxid = 0x2\nctime = Sun Nov 22 16:24:23 UTC 2026\nmZxid = 0x0\n"),
            "{text}"
        );
        assert!(text.contains("\nephemeralOwner = 0xffffffffffffffff\ndataLength = 5\n"), "{text}");
    }

    #[test]
    fn dates_name_the_zone_and_pad_the_day() {
        let date_in = |zone: &str| date(1_800_000_000_000 - 8 * 86_400_000, &TimeZone::posix(zone).unwrap());
        assert_eq!(date_in("CET-1CEST,M3.5.0,M10.5.0/3"), "Thu Jan 07 09:00:00 CET 2027");
        assert_eq!(date_in("<+0530>-5:30"), "Thu Jan 07 13:30:00 GMT+05:30 2027");
        assert_eq!(date_in("<-03>3"), "Thu Jan 07 05:00:00 GMT-03:00 2027");
        assert_eq!(date(0, &TimeZone::UTC), "Thu Jan 01 00:00:00 UTC 1970");
        assert_eq!(date(i64::MAX, &TimeZone::UTC), "9223372036854775807 ms");
    }

    #[test]
    fn acls_are_read_leniently_and_shown_in_fixed_order() {
        let (entries, complaints) = parse_acl("world:anyone:rx,digest:u:aa=:cdrwa,nonsense,");
        assert_eq!(complaints, ["Unknown perm type: x", "nonsense does not have the form scheme:id:perm"]);
        let shown: Vec<_> = entries.iter().map(acl).collect();
        assert_eq!(shown, ["'world,'anyone\n: r", "'digest,'u:aa=\n: cdrwa"]);
        assert_eq!(parse_acl("auth::rw").0[0].id.as_deref(), Some(""));
    }

    #[test]
    fn a_hex_dump_has_a_frame() {
        let dump = hex_dump(b"12345678901\n\x7f34567");
        let lines: Vec<_> = dump.lines().collect();
        assert_eq!(lines[3], "|00000000| 31 32 33 34 35 36 37 38 39 30 31 0a 7f 33 34 35 |12345678901..345|");
        assert_eq!(lines[4], "|00000010| 36 37                                           |67              |");
        assert_eq!((lines.len(), hex_dump(b"")), (6, String::new()));
    }

    #[test]
    fn quotas_keep_what_they_do_not_know() {
        let text = "count=2,bytes=-1=;byteHardLimit=10;countHardLimit=-1";
        let mut quota = Quota::parse(text.as_bytes()).unwrap();
        assert_eq!((quota.count, quota.bytes, quota.other(Quota::BYTES_HARD)), (2, -1, 10));
        assert_eq!(quota.to_string(), text);
        quota.set_other(Quota::COUNT_HARD, 4);
        quota.set_other("aKey", 1);
        assert_eq!(quota.to_string(), "count=2,bytes=-1=;aKey=1;byteHardLimit=10;countHardLimit=4");
        assert_eq!(Quota::parse(b"count=1,bytes=2").unwrap().to_string(), "count=1,bytes=2");
        assert!(Quota::parse(b"count=x").is_err());
    }
}
