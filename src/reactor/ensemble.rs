//! An ensemble member in the shell: its sockets, and what it wants done with the log and the files.
//!
//! The [`Member`] decides; here its actions are carried out, in their order, and what comes of them is told to it. On a
//! standalone server none of this exists.
//!
//! # Invariants
//!
//! 1. While the log is closed nothing is appended: the member then waits for the state, or for its image on disk.
//! 2. From [`Action::ImageBegins`] until the new state is on disk or loaded from there no snapshot is written.

use std::mem;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use mio::event::Event as Readiness;
use mio::{Registry, Waker};

use super::helper::{FileJob, HistoryJob, SyncWork};
use super::lookup::{self, Lookups};
use super::peers::{PeerSettings, Peers, Tell};
use super::{Fatal, Reactor};
use crate::ids::{ServerId, Zxid};
use crate::member::{Action, Event, LinkId, Member};
use crate::quorum::election::PeerState;
use crate::quorum::views::Views;
use crate::quorum::zab::leader::Leader;
use crate::server::{Server, Serving};
use crate::state::State;
use crate::storage::{EpochFile, Piece};
use crate::time::{Instant, Millis, Now};
use crate::wire::address::HostPort;

/// Time for which links are written to in one turn.
const WRITE_MS: u64 = 1;

/// How long a leader that was told to stop waits for another to take its place.
const STOP_MAX: Millis = Millis(1500);

/// Where this server's part of the membership shows outside of it.
#[derive(Clone, Debug)]
pub struct Places {
    pub me: ServerId,
    /// For reconfigurations to rewrite; `None` without a file.
    pub zoo_cfg: Option<PathBuf>,
    /// Where clients are served, and how many may wait there.
    pub client_address: Option<HostPort>,
    pub client_backlog: u32,
}

pub struct Ensemble {
    pub member: Member,
    peers: Peers,
    places: Places,
    /// What the member wants done.
    actions: Vec<Action>,
    /// Links with output, the next one last.
    links: Vec<LinkId>,
    /// What waits for the log to be closed.
    closing: Option<Closing>,
    /// The image that is being saved, by the end of its history.
    saving: Option<Zxid>,
    /// The tree is being replaced.
    snapshots_held: bool,
    /// As what clients were served when last looked at.
    serving: Serving,
    /// Once clients are served: what was replayed at the start need not be replayed again.
    snapshot_owed: bool,
    /// Leadership is being handed over, and the process ends once it is, or by this time.
    stop_by: Option<Instant>,
}

enum Closing {
    ToLoad { truncate_to: Option<Zxid> },
    ToSave { through: Zxid },
}

impl Ensemble {
    /// `actions` are those of the member's beginning. `snapshot_owed`: write one once clients are served.
    pub fn new(
        member: Member,
        actions: Vec<Action>,
        settings: PeerSettings,
        places: Places,
        snapshot_owed: bool,
        waker: Arc<Waker>,
    ) -> Ensemble {
        Ensemble {
            member,
            peers: Peers::new(settings, Lookups::new(lookup::system, waker)),
            places,
            actions,
            links: Vec::new(),
            closing: None,
            saving: None,
            snapshots_held: false,
            serving: Serving::No,
            snapshot_owed,
            stop_by: None,
        }
    }

    /// Where a learner connects from.
    pub fn address_of(&self, link: LinkId) -> Option<SocketAddr> {
        self.peers.address_of(link)
    }

    /// Whether there is something to do that no event will announce.
    pub fn is_busy(&self) -> bool {
        self.peers.has_input()
            || !self.actions.is_empty()
            || !self.links.is_empty()
            || self.member.has_ready()
    }

    pub fn next_timeout(&self) -> Option<Instant> {
        let member = self.member.next_timeout();
        member.into_iter().chain(self.peers.next_timeout()).chain(self.stop_by).min()
    }

    fn tell(&mut self, now: Now, event: Event<'_>, server: &mut Server) {
        self.member.handle(now, event, server, &mut self.actions);
    }

    /// Lets the sockets do something of which the member hears at once.
    fn on_peers<T>(
        &mut self,
        now: Now,
        server: &mut Server,
        act: impl FnOnce(&mut Peers, &mut Tell<'_>) -> T,
    ) -> T {
        let Ensemble { member, peers, actions, .. } = self;
        act(peers, &mut |event| member.handle(now, event, server, actions))
    }

    pub fn on_event(&mut self, registry: &Registry, now: Now, event: &Readiness, server: &mut Server) {
        let writable = self.on_peers(now, server, |peers, tell| peers.event(registry, now.mono, event, tell));
        self.links.extend(writable);
    }

    /// Takes what names were looked up to, and what peers sent.
    pub fn read(
        &mut self,
        registry: &Registry,
        now: Now,
        buffer: &mut [u8],
        server: &mut Server,
    ) -> Result<(), Fatal> {
        self.on_peers(now, server, |peers, tell| {
            peers.take_lookups(registry, now.mono, tell)?;
            peers.read(registry, now.mono, buffer, tell);
            Ok(())
        })
    }

    pub fn handle_timeouts(
        &mut self,
        registry: &Registry,
        now: Now,
        server: &mut Server,
    ) -> Result<(), Fatal> {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now.mono);
        if due(self.peers.next_timeout()) {
            self.on_peers(now, server, |peers, tell| peers.handle_timeouts(registry, now.mono, tell))?;
        }
        if due(self.member.next_timeout()) {
            self.tell(now, Event::Timeout, server);
        }
        Ok(())
    }

    /// Sends what the links have to send.
    fn write_links(&mut self, now: Now, server: &mut Server, clock: super::Clock) {
        let started = clock.mono();
        loop {
            let Some(link) = self.links.pop() else {
                self.member.take_ready(&mut self.links);
                if self.links.is_empty() {
                    return;
                }
                self.links.reverse();
                continue;
            };
            let Some(out) = self.member.output(now, link, server, &mut self.actions) else { continue };
            match self.peers.write_link(link, out) {
                Ok(true) => self.member.written(now, link, server, &mut self.actions),
                Ok(false) => {}
                // The socket's end is announced as well, and told when what came before it was read.
                Err(error) => log::debug!("Cannot write to a peer: {error}"),
            }
            if clock.mono().millis_since(started) >= WRITE_MS {
                return;
            }
        }
    }
}

/// What the reactor does for its member; nothing of it happens on a standalone server.
impl Reactor {
    /// Tells the member, if this is one.
    pub(super) fn tell(&mut self, event: Event<'_>) {
        let now = self.host.clock.now();
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.tell(now, event, &mut self.server);
        }
    }

    /// After input and commits: what the server made becomes the member's, and what that wants is done.
    pub(super) fn pump_member(&mut self, now: Now) -> Result<(), Fatal> {
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        ensemble.member.pump(now, &mut self.server, &mut ensemble.actions);
        let serving = self.server.serving();
        if mem::replace(&mut ensemble.serving, serving) != serving {
            self.host.serving_since = now.mono;
        }
        self.carry_out(now)
    }

    /// Proposals leave before this server's own sync ends.
    pub(super) fn write_links(&mut self, now: Now) -> Result<(), Fatal> {
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        ensemble.write_links(now, &mut self.server, self.host.clock);
        self.carry_out(now)
    }

    fn carry_out(&mut self, now: Now) -> Result<(), Fatal> {
        while let Some(ensemble) = &mut self.ensemble
            && !ensemble.actions.is_empty()
        {
            for action in mem::take(&mut ensemble.actions) {
                self.carry_out_one(now, action)?;
            }
        }
        Ok(())
    }

    fn carry_out_one(&mut self, now: Now, action: Action) -> Result<(), Fatal> {
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        let (registry, server, mono) = (self.poll.registry(), &mut self.server, now.mono);
        match action {
            Action::DialElection { to, addresses } => ensemble.on_peers(now, server, |peers, tell| {
                peers.dial_election(registry, mono, to, addresses, tell)
            })?,
            Action::SendElection { conn, bytes } => {
                ensemble
                    .on_peers(now, server, |peers, tell| peers.send_election(registry, conn, &bytes, tell));
            }
            Action::CloseElection { conn } => ensemble.peers.close_election(registry, mono, conn),
            Action::Listen { addresses } => {
                ensemble.on_peers(now, server, |peers, tell| peers.listen(registry, mono, addresses, tell))?
            }
            Action::StopListening => ensemble.peers.stop_listening(registry),
            Action::DialLeader { dial, addresses } => ensemble.on_peers(now, server, |peers, tell| {
                peers.dial_leader(registry, mono, dial, addresses, tell)
            })?,
            Action::CloseLink(link) => {
                ensemble.peers.close_link(registry, link);
                self.helpers.history(HistoryJob::Drop(link));
            }
            Action::Append(entry) => self.append(entry.zxid, &entry.payload)?,
            Action::PersistEpoch(file, epoch) => self.helpers.sync(SyncWork::Epoch(file, epoch)),
            Action::LoadState { truncate_to } => ensemble.closing = Some(Closing::ToLoad { truncate_to }),
            Action::ImageBegins => {
                ensemble.snapshots_held = true;
                self.snapshot.abandon(server, &self.helpers);
            }
            Action::AbandonSnapshot => self.snapshot.abandon(server, &self.helpers),
            Action::SaveImage { through } => ensemble.closing = Some(Closing::ToSave { through }),
            Action::Locate { link, zxid } => self.helpers.history(HistoryJob::Locate { link, zxid }),
            Action::OpenLog { link, after, before } => {
                self.helpers.history(HistoryJob::Open { link, after, before });
            }
            Action::Membership(views) => self.follow_membership(now, views),
            Action::NextPiece(link) => self.helpers.history(HistoryJob::Next(link)),
        }
        Ok(())
    }

    /// Closes the log if that is wanted and everything in it is on disk. After [`Reactor::start_sync`].
    pub(super) fn close_log_if_wanted(&mut self) -> Result<(), Fatal> {
        let Some(ensemble) = &mut self.ensemble else { return Ok(()) };
        if self.sync_awaited.is_some() {
            return Ok(());
        }
        let Some(closing) = ensemble.closing.take() else { return Ok(()) };
        self.log.close()?;
        match closing {
            Closing::ToLoad { truncate_to } => self.helpers.file(FileJob::Load { truncate_to }),
            Closing::ToSave { through } => {
                ensemble.saving = Some(through);
                let with_last_zxid = self.settings.snapshot_last_zxid;
                self.snapshot.begin(&mut self.server, &self.helpers, with_last_zxid, true);
            }
        }
        Ok(())
    }

    /// Brings files and ports to where the memberships have them now.
    fn follow_membership(&mut self, now: Now, views: Box<Views>) {
        let Some(ensemble) = &mut self.ensemble else { return };
        let places = &mut ensemble.places;
        let me = places.me;
        let client = views.committed().servers.get(&me).and_then(|server| server.client.clone());
        if let Some(address) = client.filter(|address| places.client_address.as_ref() != Some(address)) {
            places.client_address = Some(address.clone());
            let backlog = places.client_backlog;
            self.helpers.file(FileJob::ListenForClients { address, backlog });
        }
        let election = views.committed().election_addresses(me);
        ensemble.peers.move_election_port(now.mono, self.poll.registry(), election);
        if let Some(zoo_cfg) = ensemble.places.zoo_cfg.clone() {
            self.helpers.sync(SyncWork::Membership { zoo_cfg, me, views });
        }
    }

    pub(super) fn on_epoch_written(&mut self, file: EpochFile) {
        self.tell(Event::EpochPersisted(file));
    }

    pub(super) fn on_loaded(&mut self, state: Box<State>) {
        self.log.continue_after(state.tree.last_zxid());
        self.prepare_segment();
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.snapshots_held = false;
        }
        self.tell(Event::StateLoaded(state));
    }

    pub(super) fn on_image_saved(&mut self) {
        let Some(through) = self.ensemble.as_mut().and_then(|ensemble| ensemble.saving.take()) else {
            return;
        };
        self.log.continue_after(through.max(self.server.last_zxid()));
        self.prepare_segment();
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.snapshots_held = false;
            // What was replayed at the start is not part of the history any more.
            ensemble.snapshot_owed = false;
        }
        self.tell(Event::ImageSaved);
    }

    pub(super) fn on_log_piece(&mut self, link: LinkId, piece: Option<Piece>) {
        self.tell(match piece {
            Some(Piece { entries, end }) => Event::LogPiece { link, entries, end },
            None => Event::LogBroken(link),
        });
    }

    /// Whether the log takes transactions: not while a member's history is being replaced.
    pub(super) fn log_is_open(&self) -> bool {
        self.ensemble.as_ref().is_none_or(|ensemble| !ensemble.snapshots_held)
    }

    /// Takes the snapshot that is owed since the start, once clients are served.
    pub(super) fn pay_snapshot(&mut self) {
        if let Some(ensemble) = &mut self.ensemble
            && ensemble.snapshot_owed
            && self.server.serving() != Serving::No
        {
            ensemble.snapshot_owed = false;
            if !self.snapshot.is_running() && !ensemble.snapshots_held {
                self.start_snapshot();
            }
        }
    }

    /// SIGTERM. A leader hands over first, so that its ensemble need not find out that it is gone.
    pub(super) fn begin_to_stop(&mut self, now: Now) {
        let leads = self.server.serving() == Serving::Leading;
        // Without a transaction in its epoch no successor is known, and nobody writes: the others vote when it is gone.
        let may_hand_over = |member: &Member| leads && member.leader().is_some_and(Leader::has_proposed);
        match &mut self.ensemble {
            Some(ensemble) if may_hand_over(&ensemble.member) && ensemble.stop_by.is_none() => {
                ensemble.stop_by = Some(now.mono + STOP_MAX);
                self.tell(Event::HandOver);
            }
            _ => self.stopping = true,
        }
    }

    /// Stops once the leadership is handed over, or has not been in time.
    pub(super) fn stop_if_handed_over(&mut self, now: Now) {
        if let Some(ensemble) = &self.ensemble
            && let Some(by) = ensemble.stop_by
        {
            // Until there is a new leader this server's vote may be needed.
            let handed_over = !matches!(ensemble.member.state(), PeerState::Leading | PeerState::Looking);
            self.stopping |= handed_over || by <= now.mono;
        }
    }
}
