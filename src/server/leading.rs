//! What only a leader does: the requests of its learners' clients, and whose sessions they are.

use super::{Made, Server};
use crate::auth::Identity;
use crate::ids::SessionId;
use crate::pipeline::{Author, World};
use crate::quorum::zab::leader::handler::LearnerId;
use crate::quorum::zab::packet::{self, AuthId, Touched};
use crate::session::Owner;
use crate::time::Now;
use crate::wire::error::ErrorCode;
use crate::wire::jute::Reader;
use crate::wire::op::{Op, Route};
use crate::wire::request::Request;

impl Server {
    /// A learner's client asked this. It is prepared and, whatever comes of it, proposed: the learner knows the
    /// answer by the session and the number in the transaction.
    pub fn forwarded(&mut self, now: Now, from: LearnerId, request: &packet::Request) {
        let owner = Owner::Learner(from.0);
        let packet::Request { session, cxid, op, body, ids } = request;
        let (session, cxid) = (*session, *cxid);
        let identities: Vec<Identity> = ids.iter().flatten().map(identity).collect();
        let author = Author { session, cxid, identities: &identities };
        let mut r = Reader::new(body, self.options.field_max);
        let time = now.wall.0;
        let op = Op::from_code(*op);
        let outcome = match op {
            Some(Op::Sync) => return self.made.push(Made::ForwardedSync(from)),
            Some(Op::CreateSession) => match r.int() {
                Ok(timeout_ms) => {
                    self.sessions.begin(session, owner);
                    let world = World {
                        standing: self.standing.as_ref(),
                        tree: &self.tree,
                        sessions: &self.sessions,
                        auth: &self.options.auth,
                    };
                    let out = &mut self.scratch;
                    let zxid = self.preparer.prepare_create_session(world, session, timeout_ms, time, out);
                    return self.propose(zxid, None, cxid, Op::CreateSession, now.mono, 0);
                }
                Err(_) => Err(ErrorCode::MarshallingError),
            },
            // Java's learners before 3.9.3 send it, and wait for the answer for ever (ZOOKEEPER-2623, 4712).
            Some(Op::Check) => Err(ErrorCode::Unimplemented),
            Some(op) if op.spec().route == Route::Write => self.readable_from(owner, session, op, &mut r),
            _ => {
                let kind = request.op;
                log::warn!(
                    "Ignored a request of unknown type {kind} that a learner sent (session {session})"
                );
                return;
            }
        };
        self.metrics.prep_processor_request_queued += 1;
        let op = op.expect("anything else was ignored");
        let changes_before = self.preparer.outstanding_changes();
        let world = World {
            standing: self.standing.as_ref(),
            tree: &self.tree,
            sessions: &self.sessions,
            auth: &self.options.auth,
        };
        let zxid = match outcome {
            Ok(request) => self.preparer.prepare(world, author, time, &request, &mut self.scratch),
            Err(error) => self.preparer.prepare_error(world, author, time, error, &mut self.scratch),
        };
        if op == Op::CloseSession {
            self.sessions.set_closing(session);
        }
        self.metrics.outstanding_changes_queued +=
            (self.preparer.outstanding_changes() - changes_before) as u64;
        self.propose(zxid, None, cxid, op, now.mono, 0);
    }

    /// Reads a write's record, if the session's requests come through `owner`.
    pub(super) fn readable_from<'r>(
        &mut self,
        owner: Owner,
        session: SessionId,
        op: Op,
        r: &mut Reader<'r>,
    ) -> Result<Request<'r>, ErrorCode> {
        // Java lets these two pass whoever sends them.
        let anybodys = matches!(op, Op::CloseSession | Op::DeleteContainer);
        if !anybodys && !self.sessions.claim(session, owner) {
            log::info!("Session {session} has moved: refused a request that came by its old way");
            return Err(ErrorCode::SessionMoved);
        }
        Request::read(op, r).map_err(|_| ErrorCode::MarshallingError)
    }

    /// A client wants to go on with its session at a learner. True if there is such a session and it is not closing:
    /// it is that learner's from now on, and its clock starts anew with this timeout.
    pub fn revalidate(&mut self, now: Now, from: LearnerId, session: SessionId, timeout_ms: i32) -> bool {
        let valid = self.sessions.extend(session, u32::try_from(timeout_ms).unwrap_or(0), now.mono);
        if valid {
            self.sessions.give(session, Owner::Learner(from.0));
        }
        valid
    }

    /// Sessions that a learner's clients have used. Unknown ones have ended meanwhile.
    pub fn touched(&mut self, now: Now, touched: &[Touched]) {
        for &(session, timeout_ms) in touched {
            self.sessions.extend(session, u32::try_from(timeout_ms).unwrap_or(0), now.mono);
        }
    }
}

fn identity(id: &AuthId) -> Identity {
    Identity { scheme: id.scheme.clone().into(), id: id.id.clone() }
}
