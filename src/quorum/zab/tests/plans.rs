//! The sync plan, in every case of a small space: a learner that carries it out has the leader's history, or gets an
//! image.

use super::z;
use crate::ids::Zxid;
use crate::quorum::zab::sync::{History, Plan, Source, plan};
use crate::quorum::zab::tests::entry_by;
use crate::quorum::zab::window::{CommittedLog, Meeting};

/// What a leader has: all its transactions, and where its window and its log files begin.
struct Side {
    all: Vec<Zxid>,
    window_from: usize,
    files_from: usize,
    last: Zxid,
}

impl Side {
    fn window(&self) -> CommittedLog {
        let mut window = CommittedLog::new(usize::MAX);
        self.all[self.window_from..].iter().for_each(|zxid| window.push(entry_by(*zxid, 0)));
        window
    }

    fn history(&self, p: Zxid) -> History {
        let window = self.window();
        let files = &self.all[self.files_from..];
        let reaches = files.first().is_some_and(|first| *first <= p);
        let at = files.partition_point(|zxid| *zxid < p);
        let meeting =
            Meeting { before: at.checked_sub(1).map(|at| files[at]), at_or_after: files.get(at).copied() };
        History {
            last: self.last,
            window: window.min().zip(window.max()),
            in_window: window.meet(p),
            in_files: reaches.then_some(meeting),
            force_snap: false,
        }
    }

    /// What the learner has after the plan; `None`: an image.
    fn carry_out(&self, learner: &[Zxid], plan: Plan) -> Option<Vec<Zxid>> {
        let (mut has, history) = match plan {
            Plan::Snap => return None,
            Plan::Diff { history, .. } => (learner.to_vec(), history),
            Plan::Trunc { zxid, history } => {
                assert!(
                    learner.contains(&zxid),
                    "told to cut behind {zxid}, which it never had: {learner:?}"
                );
                (learner.iter().copied().filter(|has| *has <= zxid).collect(), history)
            }
        };
        let (Source::Window { after } | Source::Files { after }) =
            history.unwrap_or(Source::Window { after: *self.all.last().unwrap_or(&Zxid::ZERO) });
        has.extend(self.all.iter().filter(|zxid| **zxid > after));
        Some(has)
    }
}

/// Up to three transactions in each of three epochs.
fn histories() -> Vec<Vec<Zxid>> {
    let mut all = Vec::new();
    for counters in 0..4 * 4 * 4u32 {
        let of = [counters % 4, counters / 4 % 4, counters / 16];
        let zxids = (1..=3u32).zip(of).flat_map(|(epoch, n)| (1..=n).map(move |counter| z(epoch, counter)));
        all.push(zxids.collect());
    }
    all
}

/// An epoch has one leader, and what that began with is in front of every transaction of the epoch.
fn can_both_exist(a: &[Zxid], b: &[Zxid]) -> bool {
    (1..=3).all(|epoch| {
        let before = |history: &[Zxid]| history.partition_point(|zxid| zxid.epoch() < epoch);
        let has = |history: &[Zxid]| history.iter().any(|zxid| zxid.epoch() == epoch);
        !has(a) || !has(b) || a[..before(a)] == b[..before(b)]
    })
}

#[test]
fn every_plan_makes_a_learner_equal_or_sends_an_image() {
    let (mut cases, mut diffs, mut truncs) = (0, 0, 0);
    for leader in histories() {
        for learner in histories() {
            if !can_both_exist(&leader, &learner) {
                continue;
            }
            for window_from in 0..=leader.len() {
                for files_from in 0..=window_from {
                    let epoch = leader.last().map_or(1, |last| last.epoch() as u32 + 1);
                    let lasts = [leader.last().copied().unwrap_or(Zxid::ZERO), z(epoch, 0)];
                    for last in lasts {
                        let side = Side { all: leader.clone(), window_from, files_from, last };
                        let p = learner.last().copied().unwrap_or(Zxid::ZERO);
                        let plan = plan(p, &side.history(p));
                        cases += 1;
                        match plan {
                            Plan::Diff { .. } => diffs += 1,
                            Plan::Trunc { .. } => truncs += 1,
                            Plan::Snap => {}
                        }
                        if let Some(has) = side.carry_out(&learner, plan) {
                            assert_eq!(has, leader, "{plan:?} for {learner:?}, window from {window_from}");
                        }
                    }
                }
            }
        }
    }
    assert!(cases > 10_000 && diffs > 1_000 && truncs > 200, "{cases} cases, {diffs} DIFF, {truncs} TRUNC");
}

fn windowed(zxids: &[Zxid], last: Zxid) -> Side {
    Side { all: zxids.to_vec(), window_from: 0, files_from: 0, last }
}

fn plan_for(p: Zxid, side: &Side) -> Plan {
    plan(p, &side.history(p))
}

#[test]
fn rows_are_as_in_the_table() {
    let side = windowed(&[z(1, 1), z(1, 2), z(1, 3), z(2, 1)], z(2, 1));
    let window = |after| Some(Source::Window { after });
    assert_eq!(plan_for(z(2, 1), &side), Plan::Diff { zxid: z(2, 1), history: None }, "row 1");
    assert_eq!(plan_for(z(2, 4), &side), Plan::Trunc { zxid: z(2, 1), history: None }, "row 2");
    assert_eq!(plan_for(z(1, 2), &side), Plan::Diff { zxid: z(2, 1), history: window(z(1, 2)) }, "walk a");
    assert_eq!(plan_for(z(2, 0), &side), Plan::Diff { zxid: z(2, 1), history: window(z(2, 0)) }, "walk b");
    assert_eq!(plan_for(z(1, 4), &side), Plan::Snap, "walk d: cutting across epochs is not done");
    assert_eq!(plan_for(z(3, 0), &side), Plan::Snap, "row 5");
    let forced = History { force_snap: true, ..side.history(z(2, 1)) };
    assert_eq!(plan(z(2, 1), &forced), Plan::Snap, "row 0");

    let all = [z(1, 1), z(1, 2), z(1, 3), z(1, 4)];
    let filed = Side { all: all.to_vec(), window_from: 2, files_from: 0, last: z(1, 4) };
    let files = Some(Source::Files { after: z(1, 1) });
    assert_eq!(plan_for(z(1, 1), &filed), Plan::Diff { zxid: z(1, 4), history: files }, "row 4");
    assert_eq!(plan_for(Zxid::ZERO, &filed), Plan::Snap, "an empty learner");
    assert!(filed.history(z(1, 1)).asks_files(z(1, 1)) && !filed.history(z(1, 3)).asks_files(z(1, 3)));
}

/// 4352: a leader whose window is empty took its bounds, 0, for a history, and sent a part of it.
#[test]
fn zookeeper_4352_an_empty_window_is_no_history() {
    let side = Side { all: vec![z(1, 1), z(1, 2)], window_from: 2, files_from: 2, last: z(1, 2) };
    assert_eq!(plan_for(Zxid::ZERO, &side), Plan::Snap);
    assert_eq!(plan_for(z(1, 1), &side), Plan::Snap);
    assert_eq!(plan_for(z(1, 2), &side), Plan::Diff { zxid: z(1, 2), history: None });
}

/// B2: a leader without transactions told a learner that had one to cut behind 0, and it kept one too many.
#[test]
fn b2_nobody_is_told_to_cut_behind_what_he_may_not_have() {
    assert_eq!(plan_for(z(1, 1), &windowed(&[], Zxid::ZERO)), Plan::Snap);
    assert_eq!(plan_for(z(2, 3), &windowed(&[], z(2, 0))), Plan::Snap, "an epoch is no transaction");
    assert_eq!(plan_for(z(2, 3), &windowed(&[z(1, 1)], z(3, 0))), Plan::Snap, "of another epoch");
}

/// 1154, 1156: a cut that took more than what nobody else has.
#[test]
fn zookeeper_1156_a_cut_leaves_what_the_leader_has() {
    let side = windowed(&[z(1, 1), z(1, 2), z(2, 1), z(2, 2)], z(2, 2));
    assert_eq!(plan_for(z(2, 4), &side), Plan::Trunc { zxid: z(2, 2), history: None });
    let learner = [z(1, 1), z(1, 2), z(2, 1), z(2, 2), z(2, 3), z(2, 4)];
    assert_eq!(side.carry_out(&learner, plan_for(z(2, 4), &side)).as_deref(), Some(&side.all[..]));
}

/// 2832, 2846: a learner with a tail that was never committed was given what follows, and kept the tail.
#[test]
fn zookeeper_2846_no_tail_is_kept_by_a_diff_from_files() {
    let all = [z(1, 1), z(1, 2), z(2, 1), z(2, 2)];
    for window_from in [0, 3] {
        let side = Side { all: all.to_vec(), window_from, files_from: 0, last: z(2, 2) };
        assert_eq!(plan_for(z(1, 3), &side), Plan::Snap, "{window_from}");
    }
}

/// 4925: a window with a hole, made by a learner that did not enter what it got in its own synchronisation, was
/// handed on.
#[test]
fn zookeeper_4925_the_window_has_no_holes() {
    let mut window = CommittedLog::new(10);
    for counter in [1, 2, 3, 6, 7] {
        window.push(entry_by(z(1, counter), 0));
    }
    assert_eq!(
        (window.min(), window.max()),
        (Some(z(1, 6)), Some(z(1, 7))),
        "it starts anew behind the hole"
    );
    let holed = History {
        last: z(1, 7),
        window: Some((z(1, 1), z(1, 7))),
        in_window: Meeting { before: Some(z(1, 3)), at_or_after: Some(z(1, 6)) },
        in_files: None,
        force_snap: false,
    };
    assert_eq!(plan(z(1, 5), &holed), Plan::Snap);
}

#[test]
fn the_window_forgets_from_the_front_and_takes_nothing_twice() {
    let mut window = CommittedLog::new(2);
    for zxid in [z(1, 1), z(1, 2), z(1, 2), z(2, 1), z(1, 2)] {
        window.push(entry_by(zxid, 0));
    }
    assert_eq!((window.min(), window.max()), (Some(z(1, 2)), Some(z(2, 1))));
    assert_eq!(window.after(z(1, 2)).map(|entry| entry.zxid).collect::<Vec<_>>(), [z(2, 1)]);
}
