//! How Java prints things, for tools that parse its output.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use crate::time::WallMillis;

/// A double as `Double.toString` and Prometheus' text format have it: `2.0`, `1.4305`, `1.2345678E7`, `NaN`.
#[derive(Clone, Copy, Debug)]
pub struct Double(pub f64);

impl fmt::Display for Double {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.0;
        if value.is_nan() {
            return f.write_str("NaN");
        }
        if value.is_infinite() {
            return f.write_str(if value > 0.0 { "+Inf" } else { "-Inf" });
        }
        let magnitude = value.abs();
        if magnitude != 0.0 && !(1e-3..1e7).contains(&magnitude) {
            let text = format!("{value:e}");
            let (digits, exponent) = text.split_once('e').expect("the format has an exponent");
            let point = if digits.contains('.') { "" } else { ".0" };
            return write!(f, "{digits}{point}E{exponent}");
        }
        write!(f, "{value:?}")
    }
}

/// A date as `Date.toString` prints it, always in UTC: `Sun Nov 22 15:44:27 UTC 2026`.
///
/// Java prints the machine's own time zone. Reading that would cost a time zone database for two four-letter words;
/// servers run in UTC, and the zone is part of the text.
#[derive(Clone, Copy, Debug)]
pub struct Date(pub WallMillis);

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.0.div_euclid(1000);
        let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let (year, month, day) = civil(days);
        let weekday = WEEKDAYS[(days + 4).rem_euclid(7) as usize];
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let month = MONTHS[month as usize];
        write!(f, "{weekday} {month} {day:02} {hour:02}:{minute:02}:{second:02} UTC {year}")
    }
}

const WEEKDAYS: [&str; 7] = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Year, month from 0 and day of the day with this number since 1970, in the Gregorian calendar.
///
/// Counts from 1 March of a year divisible by 400, so that the leap day is the last of its year.
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_IN_400_YEARS: i64 = 146_097;
    let since = days + 719_468; // From 0000-03-01 to 1970-01-01.
    let (cycle, day) = (since.div_euclid(DAYS_IN_400_YEARS), since.rem_euclid(DAYS_IN_400_YEARS));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // Months from March have 31 30 31 30 31, twice over, then 31 and February: (153 m + 2) / 5 days before month m.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let year = cycle * 400 + year + i64::from(month >= 10);
    (year, (month + 2) % 12, day)
}

/// A peer as `InetSocketAddress.toString` prints it: `/127.0.0.1:2181`, `/[0:0:0:0:0:0:0:1]:2181`.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", HostPort(self.0))
    }
}

/// The same without the slash, as Jackson writes it.
#[derive(Clone, Copy, Debug)]
pub struct HostPort(pub SocketAddr);

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Java never shows the mapped form: its resolver turns ::ffff:a.b.c.d into an IPv4 address.
        match self.0.ip().to_canonical() {
            IpAddr::V4(ip) => write!(f, "{ip}:{}", self.0.port()),
            IpAddr::V6(ip) => {
                let [a, b, c, d, e, g, h, i] = ip.segments();
                write!(f, "[{a:x}:{b:x}:{c:x}:{d:x}:{e:x}:{g:x}:{h:x}:{i:x}]:{}", self.0.port())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_print_as_java_prints_them() {
        let cases = [
            (0.0, "0.0"),
            (-0.0, "-0.0"),
            (1.0, "1.0"),
            (1.4305, "1.4305"),
            (0.001, "0.001"),
            (0.0009, "9.0E-4"),
            (0.00012, "1.2E-4"),
            (9_999_999.0, "9999999.0"),
            (10_000_000.0, "1.0E7"),
            (12_345_678.0, "1.2345678E7"),
            (1.795362256717e12, "1.795362256717E12"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
        ];
        for (value, text) in cases {
            assert_eq!(Double(value).to_string(), text);
        }
    }

    #[test]
    fn dates_print_as_java_prints_them() {
        let cases = [
            (0, "Thu Jan 01 00:00:00 UTC 1970"),
            (-1, "Wed Dec 31 23:59:59 UTC 1969"),
            (951_782_399_000, "Mon Feb 28 23:59:59 UTC 2000"),
            (951_782_400_000, "Tue Feb 29 00:00:00 UTC 2000"),
            (951_868_800_000, "Wed Mar 01 00:00:00 UTC 2000"),
            (4_107_542_400_000, "Mon Mar 01 00:00:00 UTC 2100"),
            (1_795_362_267_000, "Sun Nov 22 15:44:27 UTC 2026"),
            (1_798_761_599_999, "Thu Dec 31 23:59:59 UTC 2026"),
        ];
        for (millis, text) in cases {
            assert_eq!(Date(WallMillis(millis)).to_string(), text);
        }
    }

    #[test]
    fn the_calendar_never_skips_a_day() {
        let mut previous = civil(-800_000);
        for days in -799_999..800_000 {
            let (year, month, day) = civil(days);
            let next = match previous {
                (y, 11, 31) => (y + 1, 0, 1),
                (y, m, d) if (y, m, d + 1) == (year, month, day) => (y, m, d + 1),
                (y, m, d) if d >= 28 => (y, m + 1, 1),
                other => panic!("{other:?} is followed by {year}-{month}-{day}"),
            };
            assert_eq!((year, month, day), next);
            previous = next;
        }
    }

    #[test]
    fn addresses_print_as_java_prints_them() {
        let peer = |text: &str| Peer(text.parse().expect("an address")).to_string();
        assert_eq!(peer("127.0.0.1:2181"), "/127.0.0.1:2181");
        assert_eq!(peer("[::1]:2181"), "/[0:0:0:0:0:0:0:1]:2181");
        assert_eq!(peer("[::ffff:10.0.0.7]:2181"), "/10.0.0.7:2181");
    }
}
