//! Conversations as text: what one server hears, and what it does about it.
//!
//! `conversations.txt` has scenarios; a line that begins with `->` is what the machine did, and is written
//! anew by `UPDATE_CONVERSATIONS=1 cargo test`, to be read in the diff.

use super::*;
use crate::quorum::election::Action;
use std::collections::BTreeMap;
use std::fmt::Write as _;

const TEXT: &str = include_str!("conversations.txt");

/// The words of a line behind its first: `key=value`.
struct Words<'a>(BTreeMap<&'a str, &'a str>);

impl Words<'_> {
    fn number(&self, key: &str) -> i64 {
        let text = self.0.get(key).copied().unwrap_or("0");
        let number = match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16),
            None if text == "none" => Ok(i64::MIN),
            None => text.parse(),
        };
        number.unwrap_or_else(|_| panic!("{key}={text} is no number"))
    }

    fn vote(&self) -> Vote {
        vote(self.number("vote"), self.number("zxid"), self.number("epoch"))
    }
}

fn shown(action: &Action) -> String {
    let number = |n: i64| if n == i64::MIN { "none".to_owned() } else { format!("{n:#x}") };
    match action {
        Action::Send { to, frame } => {
            let n = Notification::decode(&frame[4..]).expect("own messages can be read");
            let Vote { leader, zxid, epoch } = n.vote;
            let leader = if leader == Vote::NOBODY.leader { "none".into() } else { leader.to_string() };
            let (zxid, epoch, round) = (number(zxid.0), number(epoch), n.round);
            format!("to {to}: {:?} vote={leader} zxid={zxid} epoch={epoch} round={round}", n.state)
        }
        Action::ConnectAll => "connect to all".into(),
        Action::Elected { state, leader, supporters } => {
            let all: Vec<_> = supporters.iter().map(ServerId::to_string).collect();
            format!("{state:?} {leader}, as {} say", all.join(" "))
        }
        Action::Adopt { membership, restart } => format!("adopt {:x} restart={restart}", membership.version),
        Action::VoterLooks(sid) => format!("{sid} looks for a leader"),
    }
}

/// Runs one line; `None` for one that is no command.
fn run(line: &str, now: &mut u64, election: &mut Option<Election>) -> Option<Vec<Action>> {
    let mut words = line.split_whitespace();
    let command = words.next()?;
    let (keyed, plain): (Vec<_>, Vec<_>) = words.partition(|word| word.contains('='));
    let keyed = Words(keyed.iter().filter_map(|word| word.split_once('=')).collect());
    let plain_number = |at: usize| plain[at].parse::<i64>().expect("a number");
    let event_bytes;
    let event = match command {
        "server" => {
            let members = ensemble(keyed.number("voters"), keyed.number("observers"));
            *election = Some(self::election(plain_number(0), members));
            *now = 0;
            return None;
        }
        "at" => {
            *now = plain_number(0) as u64;
            return None;
        }
        "look" => Event::Look { zxid: Zxid(keyed.number("zxid")), epoch: keyed.number("epoch") },
        "from" => {
            let state = match plain[1] {
                "Looking" => PeerState::Looking,
                "Following" => PeerState::Following,
                "Leading" => PeerState::Leading,
                "Observing" => PeerState::Observing,
                other => PeerState::Unknown(other.parse().expect("a state")),
            };
            event_bytes = body(state, keyed.vote(), keyed.number("round"), "");
            Event::Message { from: ServerId(plain_number(0)), body: &event_bytes }
        }
        "unreachable" => Event::Unreachable(ServerId(plain_number(0))),
        "timeout" => Event::Timeout { delivered: true },
        "synced" => Event::Synced { epoch: keyed.number("epoch") },
        _ => return None,
    };
    let mut actions = Vec::new();
    let election = election.as_mut().expect("a conversation begins with its server");
    election.handle(Instant::from_millis(*now), event, &mut actions);
    Some(actions)
}

#[test]
fn conversations_go_as_they_are_written() {
    let (mut now, mut election, mut happened) = (0, None, String::new());
    for line in TEXT.lines().filter(|line| !line.starts_with("->")) {
        writeln!(happened, "{line}").expect("a string takes all");
        let command = if line.starts_with('#') { "" } else { line };
        for action in run(command, &mut now, &mut election).into_iter().flatten() {
            writeln!(happened, "-> {}", shown(&action)).expect("a string takes all");
        }
    }
    if std::env::var_os("UPDATE_CONVERSATIONS").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/quorum/tests/conversations.txt");
        std::fs::write(path, &happened).expect("the text can be written");
    } else {
        assert_eq!(happened, TEXT);
    }
}
