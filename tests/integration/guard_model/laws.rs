//! The laws that hold after each program.

use std::collections::BTreeSet;

use super::log::{Heed, Id, Kind, Log, Node, Record, Time};
use super::play::Mode;

/// A law that a run has broken, with a short name that tells failures apart, and a full
/// description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) law: &'static str,
    pub(super) how: String,
}

/// Returns the error without the wrapping that `Debug` adds. If the future beside a body failed
/// first, a second error of a context whose errors are converted is reported unconverted, because
/// the conversion can run only once.
pub(super) fn plain(what: &str) -> String {
    let inner = what
        .strip_prefix("Context(")
        .and_then(|what| what.strip_suffix(')'));
    let what = inner.unwrap_or(what);
    let error = what
        .strip_prefix("Fault(\"")
        .and_then(|what| what.strip_suffix("\")"));
    error.unwrap_or(what).to_owned()
}

pub(super) fn broken(log: &Log, mode: Mode, reports: &[(String, String)]) -> Vec<Broken> {
    let mut broken = Vec::new();
    for how in &log.broken {
        let how = how.clone();
        broken.push(Broken { law: "model", how });
    }
    exits_once(log, mode, &mut broken);
    beside_ends(log, &mut broken);
    told_once(log, reports, &mut broken);
    for (law, older, younger) in obligations(log, mode) {
        let (older, younger) = (&log.records[older], &log.records[younger]);
        if !is_before(younger.ended, older.begun) {
            let how = format!("{older} began before {younger} had ended");
            broken.push(Broken { law, how });
        }
    }
    broken
}

fn is_before(first: Option<Time>, second: Option<Time>) -> bool {
    matches!((first, second), (Some(first), Some(second)) if first < second)
}

/// Returns the outcomes that an exit may see: the body's own end, or its end by the future beside
/// it.
///
/// The end that came first counts. On one thread, the log tells which end this is. On several
/// threads, an end at the same time as the body's own end may come before or after it.
fn outcomes(log: &Log, mode: Mode, id: Id) -> Option<Vec<String>> {
    let record = &log.records[id];
    let given = record.given.as_ref()?;
    let own = given.outcome.clone()?;
    if record.kind == Kind::Stack {
        return Some(stack_outcomes(log, mode, id, own));
    }
    let Some(end) = &record.ended_beside else {
        return Some(vec![own]);
    };
    let is_first = end.at < given.at;
    if record.kind == Kind::With {
        // The body drops at once, unless it ended in the same poll.
        let is_dropped = is_first && own == "cancelled";
        let local = "panicked(panic of a local's drop";
        return Some(match is_dropped {
            true if record.seen.starts_with(local) => vec![record.seen.clone()],
            true => vec![end.outcome.clone()],
            false => vec![own],
        });
    }
    if record.heed == Heed::Report || record.is_told_of_end == Some(true) {
        return Some(vec![own]);
    }
    let is_sure = mode == Mode::Paused && !end.is_at_once && record.is_told_of_end.is_some();
    Some(match (is_sure, is_first) {
        (true, true) => vec![end.outcome.clone()],
        (true, false) => vec![own],
        (false, _) => vec![own, end.outcome.clone()],
    })
}

/// Returns the outcomes that the last entry of a stack may see. That entry tells when the exit
/// begins. If the future of a lower entry ended the body, the last entry does not see its error.
fn stack_outcomes(log: &Log, mode: Mode, id: Id, own: String) -> Vec<String> {
    let stack = &log.records[id];
    let closed = stack.given.as_ref().map(|given| given.at);
    let mut outcomes = vec![own];
    for entry in log.records.iter().filter(|entry| entry.stack == Some(id)) {
        let released = entry.given.as_ref().filter(|given| given.outcome.is_some());
        let (Some(end), None) = (&entry.ended_beside, released) else {
            continue;
        };
        if mode == Mode::Paused && !end.is_at_once {
            if Some(end.at) < closed {
                return vec!["cancelled".to_owned()];
            }
        } else {
            outcomes.push("cancelled".to_owned());
        }
    }
    outcomes
}

/// Checks that the future beside a body runs once, after enter, and is gone when exit begins.
fn beside_ends(log: &Log, broken: &mut Vec<Broken>) {
    for record in &log.records {
        if record.beside_begins > 1 {
            let how = format!("{record} began {} times beside", record.beside_begins);
            broken.push(Broken { law: "beside", how });
        }
        if record.beside_begun.is_none() {
            continue;
        }
        let is_after_enter = is_before(record.entered, record.beside_begun);
        if !is_after_enter || !is_before(record.beside_gone, record.begun) {
            let how = format!("{record} went on beside a body that it had not, or no longer");
            broken.push(Broken { law: "beside", how });
        }
    }
}

/// Checks law 1.
fn exits_once(log: &Log, mode: Mode, broken: &mut Vec<Broken>) {
    for (id, record) in log.records.iter().enumerate() {
        if record.opened.is_some() && record.entered.is_none() && !record.enter_failed {
            broken.push(Broken {
                law: "exits once",
                how: format!("the enter of {record} was dropped"),
            });
        }
        let exits = u32::from(record.entered.is_some());
        if record.begins != exits || record.ends != exits {
            let (begins, ends) = (record.begins, record.ends);
            let how = format!("{record} began {begins} and ended {ends} exits, and not {exits}");
            broken.push(Broken {
                law: "exits once",
                how,
            });
            continue;
        }
        let outcomes = outcomes(log, mode, id);
        let others = outcomes.filter(|all| exits == 1 && !all.contains(&record.seen));
        if let Some(outcomes) = others {
            let how = format!(
                "{record} saw {}, not {}",
                record.seen,
                outcomes.join(" or ")
            );
            broken.push(Broken {
                law: "true outcome",
                how,
            });
        }
    }
}

/// Checks law 4. An exit that a limit cut off must be told at least once.
fn told_once(log: &Log, reports: &[(String, String)], broken: &mut Vec<Broken>) {
    const LAW: &str = "told once";
    let is_limit = |what: &str| what.starts_with("limit of ");
    let mut told: Vec<_> = log.returned.clone();
    told.extend(reports.iter().map(|(_, what)| what.clone()));
    let limits = told.iter().filter(|what| is_limit(what)).count();
    let plain = reports
        .iter()
        .filter(|(kind, _)| kind == "TimedOut")
        .count();
    let cuts = log.records.iter().filter(|record| record.is_cut).count();
    if limits + plain < cuts || limits > cuts || plain > cuts {
        let how = format!("{cuts} limits, told {plain} times by kind, {limits} times as an error");
        broken.push(Broken { law: LAW, how });
    }
    let mut told: Vec<_> = told
        .into_iter()
        .filter(|what| !what.is_empty() && !is_limit(what))
        .collect();
    for raised in &log.raised {
        match told.iter().position(|what| what == raised) {
            Some(at) => drop(told.remove(at)),
            None => broken.push(Broken {
                law: LAW,
                how: format!("`{raised}` was lost"),
            }),
        }
    }
    for what in told {
        let how = format!("`{what}` was told once too often");
        broken.push(Broken { law: LAW, how });
    }
    for (kind, _) in reports {
        if kind == "NotRun" || kind == "Lost" {
            let how = format!("a report of the kind {kind}");
            broken.push(Broken { law: LAW, how });
        }
    }
}

/// Returns the pairs for law 3, older and younger, where the younger must end before the older
/// begins.
fn obligations(log: &Log, mode: Mode) -> Vec<(&'static str, Id, Id)> {
    let order = Order { log, mode };
    let mut pairs = Vec::new();
    let exited = |id: &Id| log.records[*id].begun.is_some() && log.records[*id].given.is_some();
    let all: Vec<_> = (0..log.records.len()).collect();
    for older in all.iter().copied().filter(exited) {
        for younger in all.iter().copied() {
            if let Some(law) = order.law(older, younger) {
                pairs.push((law, older, younger));
            }
        }
    }
    order.stacks(&mut pairs);
    pairs
}

struct Order<'a> {
    log: &'a Log,
    mode: Mode,
}

impl Order<'_> {
    fn of(&self, id: Id) -> &Record {
        &self.log.records[id]
    }

    /// Returns the contexts that this one is directly inside of, by its opening and by its
    /// declaration.
    fn parents(&self, id: Id) -> impl Iterator<Item = Id> + use<> {
        let record = self.of(id);
        record.home.into_iter().chain(record.declared)
    }

    /// Returns the contexts that this one was directly inside of then. A context that has ended
    /// leaves the contexts inside it to the contexts around.
    fn homes_at(&self, id: Id, time: Time) -> Vec<Id> {
        let mut homes = Vec::new();
        let mut left: Vec<_> = self.parents(id).collect();
        while let Some(id) = left.pop() {
            // The contexts inside an independent context stay there (rule e).
            let leads_on = is_before(self.of(id).over, Some(time)) && !self.of(id).independent;
            if leads_on {
                left.extend(self.parents(id));
            } else {
                homes.push(id);
            }
        }
        homes
    }

    /// Returns all contexts that this one is inside of.
    fn around(&self, id: Id) -> BTreeSet<Id> {
        let mut around = BTreeSet::new();
        let mut left: Vec<_> = self.parents(id).collect();
        while let Some(id) = left.pop() {
            if around.insert(id) {
                left.extend(self.parents(id));
            }
        }
        around
    }

    /// Returns the contexts that opened one another, from the outermost to this one.
    fn homes(&self, id: Id) -> Vec<Id> {
        let mut homes = vec![id];
        while let Some(home) = self.of(homes[homes.len() - 1]).home {
            homes.push(home);
        }
        homes.reverse();
        homes
    }

    /// Returns `true` if the first is younger (rule d).
    fn is_younger(&self, younger: Id, older: Id) -> bool {
        let (its, others) = (self.homes(younger), self.homes(older));
        for (one, other) in its.iter().zip(&others) {
            if one == other {
                continue;
            }
            // If the younger one was put inside that context, it is beside the older one itself.
            let has_both = self.around(younger).contains(other);
            let beside = if has_both { older } else { *other };
            return self.of(*one).opened > self.of(beside).opened;
        }
        its.len() > others.len()
    }

    /// Returns the context, then the context in whose code it was given up, and so on outwards.
    fn path(&self, id: Id) -> Vec<Id> {
        let mut path = vec![id];
        let mut last = id;
        while let Some(next) = self.node(last).and_then(Node::context) {
            // A drop in the code of a context that is not given up leads no further out.
            if path.contains(&next) {
                break;
            }
            path.push(next);
            last = next;
        }
        path
    }

    fn node(&self, id: Id) -> Option<Node> {
        self.of(id).given.as_ref().map(|given| given.node)
    }

    fn given(&self, id: Id) -> Option<Time> {
        self.of(id).given.as_ref().map(|given| given.at)
    }

    /// Returns `true` if, as others see it, the context had been given up before this time: it runs
    /// detached, or its exit is awaited.
    fn counts_before(&self, id: Id, time: Time) -> bool {
        let record = self.of(id);
        let is_before = |at: Option<Time>| at.is_some_and(|at| at < time);
        let has_ended = record.ended.is_some() && record.given.is_some();
        is_before(record.detached)
            || is_before(record.polled)
            || has_ended && is_before(record.ended)
    }

    /// Returns `true` if the context is independent, or its exit was cut off (rule e).
    fn is_let_go(&self, id: Id) -> bool {
        self.of(id).independent || self.of(id).is_cut
    }

    /// Returns `true` if nobody waits for the context, and so not for the contexts that its exit
    /// gives up (rule e).
    fn was_let_go(&self, id: Id) -> bool {
        let around = self.around(id);
        self.of(id).independent || around.iter().any(|id| self.is_let_go(*id))
    }

    fn law(&self, older: Id, younger: Id) -> Option<&'static str> {
        let (h, g) = (older, younger);
        let begun = self.of(h).begun?;
        if h == g || self.given(g)? > begun {
            return None;
        }
        // The older context was given up by the exit of the younger one.
        if self.path(h).contains(&g) {
            return None;
        }
        if self.around(g).contains(&h) {
            return self.is_owed_inside(h, g).then_some("inside");
        }
        self.side_by_side(h, g)
    }

    /// Returns `true` if the exit of `h` must wait for `g` inside it (rule b).
    fn is_owed_inside(&self, h: Id, g: Id) -> bool {
        let Some(given) = self.given(h) else {
            return false;
        };
        let exempt = |by: Id| self.around(by).contains(&h);
        !self.path(h)[1..].iter().any(|by| exempt(*by)) && self.leads_to(g, h, given)
    }

    /// Returns `true` if every context on the way from `g` out to `h` has been given up, and none
    /// has been let go.
    fn leads_to(&self, g: Id, h: Id, time: Time) -> bool {
        let may = !self.is_let_go(g) && self.counts_before(g, time);
        let mut parents = self.parents(g);
        may && parents.any(|parent| parent == h || self.leads_to(parent, h, time))
    }

    /// Returns `true` inside four contexts that have ended by then, because all contexts there are
    /// of the same age.
    fn is_of_no_age(&self, id: Id) -> bool {
        let begun = self.of(id).begun;
        let homes = self.homes(id);
        let around = homes.iter().filter(|home| **home != id);
        let ended = around.filter(|home| is_before(self.of(**home).ended, begun));
        ended.count() >= 4
    }

    /// Returns the law by which `h` must wait for `g` side by side, if there is one (rule c).
    fn side_by_side(&self, h: Id, g: Id) -> Option<&'static str> {
        if self.is_of_no_age(h) {
            return None;
        }
        let (older, younger) = (self.of(h), self.of(g));
        let is_guard = matches!(older.kind, Kind::Guard | Kind::Stack);
        // Each must be younger in both ways: by itself, and by the contexts that it is inside of.
        let is_younger = |id: Id| self.is_younger(id, h) && older.opened < self.of(id).opened;
        if !is_guard || older.independent || !is_younger(g) {
            return None;
        }
        let around = self.around(g);
        if self.is_let_go(g) || around.iter().any(|id| self.is_let_go(*id)) {
            return None;
        }
        let given = self.given(h)?;
        let homes = self.homes_at(h, given);
        if homes.iter().any(|home| !around.contains(home)) {
            return None;
        }
        // Outside tokio, only contexts count that are given up inside a context.
        let is_of_a_task = matches!(self.node(h), Some(Node::Task(_)));
        if self.mode == Mode::NoRuntime && is_of_a_task {
            return None;
        }
        // The same code must have given up `first` before.
        let path = self.path(g);
        let at = path.iter().position(|id| self.node(*id) == self.node(h))?;
        let first = path[at];
        let is_detached = |id: Id| is_before(self.of(id).detached, Some(given));
        if first == h || !is_detached(first) {
            return None;
        }
        if first == g {
            return Some("side by side");
        }
        // Otherwise other code waits for `g`: for example, an enter that was let go.
        if !is_before(younger.detached, older.begun) {
            return None;
        }
        // Nobody waits for a context on the way that was let go, and rule c does not speak of
        // enters.
        let entering = |id: &Id| matches!(self.node(*id), Some(Node::Enter(_)));
        let is_alone = |id: &Id| self.was_let_go(*id);
        if path[..=at].iter().any(|id| entering(id) || is_alone(id)) {
            return None;
        }
        // As others see them, the entries of a stack have its age.
        let in_stack = younger
            .stack
            .is_some_and(|stack| !self.is_younger(stack, h));
        if in_stack {
            return None;
        }
        // No order holds for a context that was handed to an older one, which gave it up.
        let are_younger = path[1..=at].iter().all(|id| is_younger(*id));
        // The contexts that an exit has left are seen once that exit has ended. Until then, the
        // guard waits for that exit itself, unless it is not inside every context that the guard is
        // inside of.
        let are_waited_for = path[1..=at].iter().all(|id| {
            let around = self.around(*id);
            homes.iter().all(|home| around.contains(home))
                || is_before(self.of(*id).over, older.begun)
        });
        (are_younger && are_waited_for).then_some("left over")
    }

    /// Adds the pairs of the entries of stacks (rule f).
    fn stacks(&self, pairs: &mut Vec<(&'static str, Id, Id)>) {
        let all = 0..self.log.records.len();
        for lower in all.clone() {
            let Some(stack) = self.of(lower).stack else {
                continue;
            };
            let its = |id: Id| {
                self.of(id).stack == Some(stack) && self.node(id) == Some(Node::Exit(stack))
            };
            if !its(lower) {
                continue;
            }
            // Entries were entered in the order of their numbers.
            for upper in all.clone().filter(|upper| *upper > lower && its(*upper)) {
                pairs.push(("a stack", lower, upper));
                for left in all.clone().filter(|left| *left != upper) {
                    let path = self.path(left);
                    let is_left = path
                        .iter()
                        .take_while(|id| !self.was_let_go(**id))
                        .any(|id| *id == upper);
                    let around = self.around(left);
                    let let_go =
                        self.is_let_go(left) || around.iter().any(|id| self.is_let_go(*id));
                    let of_lower = around.contains(&lower) || left == lower;
                    if is_left && !let_go && !of_lower {
                        pairs.push(("left over in a stack", lower, left));
                    }
                }
            }
        }
    }
}
