//! Links: connections between this member and its leader, or its learners.
//!
//! What is sent to one peer stands in one line. An image and a piece of the log stand in that line as promises, and
//! are made good a little at a time as the socket takes them; live packets gather behind them.
//!
//! # Invariants
//!
//! 1. Bytes leave in the order in which their packets were sent.
//! 2. At most [`FILL`] bytes of what is streamed are in memory at a time, and at most [`BEHIND_MAX`] bytes of packets
//!    behind it.
//! 3. At most [`STRANGERS_MAX`] links are of learners that have not said who they are.

use std::collections::VecDeque;
use std::mem;

use super::figures::Traffic;
use super::{Action, Member, Role, Step};
use crate::ids::Zxid;
use crate::quorum::image;
use crate::quorum::zab::leader;
use crate::quorum::zab::leader::handler::LearnerId;
use crate::quorum::zab::learner;
use crate::quorum::zab::packet::Packet;
use crate::quorum::zab::window;
use crate::server::Server;
use crate::time::{Instant, Now};
use crate::tree::CursorId;
use crate::wire::quorum::Misbehaved;
use crate::wire::quorum::packet::FromLeader;

/// Bytes of an image or of the log that are made ahead of the socket.
const FILL: usize = 256 << 10;

/// Bytes of an image that are made between two looks at how much there is.
const SLICE: usize = 32 << 10;

/// Bytes of packets that may wait for one learner. One that falls behind further is better off with an image.
const BEHIND_MAX: usize = 256 << 20;
const _: () = assert!(
    window::BYTES_MAX <= BEHIND_MAX / 2,
    "what a learner is sent at first does not overflow its line"
);

/// Connections to the quorum port that have not said whose they are; for one more the oldest goes. Anybody can make them,
/// and each costs a descriptor until its time is up.
pub(super) const STRANGERS_MAX: usize = 64;

/// A connection between two members, numbered by the shell; no number is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

impl LinkId {
    pub(super) fn learner(self) -> LearnerId {
        LearnerId(self.0)
    }

    pub(super) fn of(learner: LearnerId) -> LinkId {
        LinkId(learner.0)
    }
}

/// Something that stands in line behind what is being streamed, or is streamed itself.
pub(super) enum Piece {
    Packets(Vec<u8>),
    /// Transactions of the log files. `asked`: the shell is reading.
    Log {
        after: Zxid,
        before: Zxid,
        asked: bool,
    },
    /// The tree, from when it has all up to what SNAP said.
    Image {
        through: Zxid,
        cursor: Option<CursorId>,
    },
}

pub(super) struct Link {
    /// The beginning of a packet whose end is not here yet.
    input: Vec<u8>,
    out: Vec<u8>,
    line: VecDeque<Piece>,
    /// Bytes in the line's packets.
    behind: usize,
    /// The log is open for this link.
    log_open: bool,
    listed: bool,
    /// More is in the line than may be.
    overflown: bool,
    /// How the learner is synchronised, and since when it is here.
    pub plan: &'static str,
    pub since: Instant,
    pub traffic: Traffic,
}

impl Link {
    pub fn new(now: Now) -> Link {
        Link {
            input: Vec::new(),
            out: Vec::new(),
            line: VecDeque::new(),
            behind: 0,
            log_open: false,
            listed: false,
            overflown: false,
            plan: "nothing",
            since: now.mono,
            traffic: Traffic::new(now),
        }
    }

    fn send(&mut self, now: Now, packet: &Packet) {
        self.traffic.sent(now, packet);
        if self.line.is_empty() {
            packet.encode(&mut self.out);
            self.overflown |= self.out.len() > BEHIND_MAX;
            return;
        }
        if !matches!(self.line.back(), Some(Piece::Packets(_))) {
            self.line.push_back(Piece::Packets(Vec::new()));
        }
        let Some(Piece::Packets(bytes)) = self.line.back_mut() else { unreachable!("pushed above") };
        let before = bytes.len();
        packet.encode(bytes);
        self.behind += bytes.len() - before;
        self.overflown |= self.behind > BEHIND_MAX;
    }

    /// Transactions that were read for the front of the line. False if nobody waits for them any more.
    pub fn log_piece(&mut self, entries: Vec<(Zxid, Box<[u8]>)>, end: bool) -> bool {
        let Some(Piece::Log { asked, .. }) = self.line.front_mut() else { return false };
        *asked = false;
        for (zxid, payload) in entries {
            FromLeader::Proposal { zxid, entry: &payload }.encode(&mut self.out);
            FromLeader::Commit { zxid }.encode(&mut self.out);
        }
        if end {
            self.line.pop_front();
            self.log_open = false;
        }
        true
    }

    /// Bytes of packets that the socket has not taken.
    pub fn queued_bytes(&self) -> usize {
        self.out.len() + self.behind
    }

    /// Is there something that the socket could take, now or after a moment's work?
    fn wants_out(&self) -> bool {
        !self.out.is_empty()
            || self.line.front().is_some_and(|piece| !matches!(piece, Piece::Log { asked: true, .. }))
    }
}

impl Member {
    /// Moves the links with output into `into`.
    pub fn take_ready(&mut self, into: &mut Vec<LinkId>) {
        into.append(&mut self.ready);
        for link in into {
            if let Some(link) = self.links.get_mut(link) {
                link.listed = false;
            }
        }
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// What a link has to send, with more of what is streamed to it; the shell takes bytes off its front and calls
    /// [`Member::written`].
    pub fn output(
        &mut self,
        now: Now,
        link: LinkId,
        server: &mut Server,
        actions: &mut Vec<Action>,
    ) -> Option<&mut Vec<u8>> {
        if self.fill(link, server, actions) {
            let step = &mut Step { now, server, actions };
            self.lead(step, leader::Event::ImageSent { learner: link.learner() });
        }
        self.links.get_mut(&link).map(|link| &mut link.out)
    }

    /// The socket took some of a link's output.
    pub fn written(&mut self, now: Now, link: LinkId, server: &mut Server, actions: &mut Vec<Action>) {
        let Some(to) = self.links.get_mut(&link) else { return };
        if to.line.is_empty() {
            if to.out.is_empty() {
                to.traffic.taken(now, &mut server.metrics);
            }
        } else {
            let step = &mut Step { now, server, actions };
            self.lead(step, leader::Event::Progress { learner: link.learner() });
            if self.links.get(&link).is_some_and(|to| to.out.len() < FILL && to.wants_out()) {
                self.list(link);
            }
        }
    }

    /// True if an image came to its end.
    fn fill(&mut self, id: LinkId, server: &mut Server, actions: &mut Vec<Action>) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        let mut image_sent = false;
        while link.out.len() < FILL {
            match link.line.front_mut() {
                None => break,
                Some(Piece::Packets(bytes)) => {
                    link.behind -= bytes.len();
                    match link.out.is_empty() {
                        true => link.out = mem::take(bytes),
                        false => link.out.append(bytes),
                    }
                    link.line.pop_front();
                }
                Some(Piece::Log { asked: true, .. }) => break,
                Some(Piece::Log { after, before, asked }) => {
                    *asked = true;
                    actions.push(match mem::replace(&mut link.log_open, true) {
                        false => Action::OpenLog { link: id, after: *after, before: *before },
                        true => Action::NextPiece(id),
                    });
                    break;
                }
                // What was committed this turn may be applied in the next only, and SNAP says that it is there.
                Some(Piece::Image { through, .. }) if server.last_zxid() < *through => break,
                Some(Piece::Image { cursor, .. }) => {
                    let cursor = *cursor.get_or_insert_with(|| server.snapshot_begin(&mut link.out).0);
                    if server.snapshot_slice(cursor, &mut link.out, SLICE) {
                        link.out.extend_from_slice(&image::END);
                        link.line.pop_front();
                        image_sent = true;
                    }
                }
            }
        }
        image_sent
    }

    pub(super) fn send(&mut self, now: Now, link: LinkId, packet: &Packet) {
        if let Some(to) = self.links.get_mut(&link) {
            to.send(now, packet);
            self.list(link);
        }
    }

    pub(super) fn stream(&mut self, link: LinkId, piece: Piece) {
        if let Some(to) = self.links.get_mut(&link) {
            to.line.push_back(piece);
            self.list(link);
        }
    }

    pub(super) fn list(&mut self, link: LinkId) {
        if let Some(to) = self.links.get_mut(&link)
            && !mem::replace(&mut to.listed, true)
        {
            self.ready.push(link);
        }
    }

    /// Links whose image had to wait for the tree are looked at again.
    pub(super) fn list_images(&mut self) {
        let waits = |link: &Link| matches!(link.line.front(), Some(Piece::Image { cursor: None, .. }));
        let waiting: Vec<_> = self.links.iter().filter(|(_, link)| waits(link)).map(|(id, _)| *id).collect();
        for link in waiting {
            self.list(link);
        }
    }

    pub(super) fn close_link(&mut self, step: &mut Step<'_>, link: LinkId) {
        if let Some(gone) = self.links.remove(&link) {
            abandon(&gone, step.server);
            step.actions.push(Action::CloseLink(link));
        }
    }

    pub(super) fn close_links(&mut self, step: &mut Step<'_>) {
        for (link, gone) in mem::take(&mut self.links) {
            abandon(&gone, step.server);
            step.actions.push(Action::CloseLink(link));
        }
        self.ready.clear();
    }

    /// Learners that take too little of what they are sent.
    pub(super) fn close_overflown(&mut self, step: &mut Step<'_>) {
        let overflown: Vec<_> =
            self.links.iter().filter(|(_, link)| link.overflown).map(|(id, _)| *id).collect();
        for link in overflown {
            let name = self.peer_name(link);
            log::warn!(
                "Closing the connection of {name}: more than {BEHIND_MAX} bytes wait for it to take them"
            );
            self.close_link(step, link);
            self.on_link_lost(step, link);
        }
    }

    /// One more learner is about to be heard of.
    pub(super) fn make_room_for_strangers(&mut self, step: &mut Step<'_>) {
        let strange = |(id, link): &(&LinkId, &Link)| link.traffic.is_strange() && !self.learns_from(**id);
        let mut strangers = self.links.iter().filter(strange).map(|(id, _)| *id);
        if let Some(oldest) = strangers.next()
            && strangers.count() + 1 >= STRANGERS_MAX
        {
            log::debug!("Closing a connection to make room: {STRANGERS_MAX} have not said whose they are");
            self.close_link(step, oldest);
            self.on_link_lost(step, oldest);
        }
    }

    pub(super) fn on_bytes(&mut self, step: &mut Step<'_>, id: LinkId, bytes: &[u8]) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let mut input = mem::take(&mut link.input);
        let whole = match input.is_empty() {
            true => bytes,
            false => {
                input.extend_from_slice(bytes);
                &input
            }
        };
        let taken = match &self.role {
            Role::Leading { .. } => self.hear_learner(step, id, whole),
            Role::Learning { link, .. } if *link == id => self.hear_leader(step, whole),
            Role::Learning { master: Some(_), .. } => self.hear_learner(step, id, whole),
            _ => Ok(whole.len()),
        };
        match taken {
            Ok(taken) => {
                let Some(link) = self.links.get_mut(&id) else { return };
                link.input = match input.is_empty() {
                    true => bytes[taken..].to_vec(),
                    false => {
                        input.drain(..taken);
                        input
                    }
                };
            }
            Err(error) => self.on_misbehaved(step, id, &error),
        }
    }

    fn on_misbehaved(&mut self, step: &mut Step<'_>, link: LinkId, error: &Misbehaved) {
        log::warn!("Closing the connection of {}, which misbehaves: {error}", self.peer_name(link));
        self.close_link(step, link);
        self.on_link_lost(step, link);
    }

    pub(super) fn on_closed(&mut self, step: &mut Step<'_>, link: LinkId) {
        let name = self.peer_name(link);
        if let Some(gone) = self.links.remove(&link) {
            // A learner says itself, as it leaves its role, that its leader is gone.
            if self.serving_learners().is_some() && !self.learns_from(link) {
                log::warn!("Lost {name}: its connection is gone");
            }
            abandon(&gone, step.server);
            // The shell's socket is gone, its reader of the log for this link may not be.
            step.actions.push(Action::CloseLink(link));
            self.on_link_lost(step, link);
        }
    }

    fn learns_from(&self, link: LinkId) -> bool {
        matches!(self.role, Role::Learning { link: own, .. } if own == link)
    }

    /// Who is at the other end, as the log says it.
    pub(super) fn peer_name(&self, link: LinkId) -> String {
        match (&self.role, self.links.get(&link)) {
            (Role::Learning { link: own, leader, .. }, _) if *own == link => format!("server {leader}"),
            (_, Some(link)) => link.traffic.name(),
            (_, None) => "a learner that is gone".to_string(),
        }
    }

    fn on_link_lost(&mut self, step: &mut Step<'_>, link: LinkId) {
        match &self.role {
            Role::Leading { .. } => {
                self.lead(step, leader::Event::Disconnected { learner: link.learner() });
            }
            Role::Learning { link: own, .. } if *own == link => {
                self.learn(step, learner::Event::Disconnected);
            }
            Role::Learning { master: Some(_), .. } => {
                self.lead(step, leader::Event::Disconnected { learner: link.learner() });
            }
            _ => {}
        }
    }
}

/// An image that is not sent to its end leaves no cursor behind.
fn abandon(link: &Link, server: &mut Server) {
    for piece in &link.line {
        if let Piece::Image { cursor: Some(cursor), .. } = piece {
            server.snapshot_abandon(*cursor);
        }
    }
}
