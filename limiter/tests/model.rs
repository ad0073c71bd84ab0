//! Random commands against a naive model, with every invariant checked after every step.
//!
//! `RATEQUEUE_MODEL_SEQUENCES` (10,000), `RATEQUEUE_MODEL_COMMANDS` (80) and `RATEQUEUE_MODEL_SEED`
//! (1) change the run. A failure prints its seed and the steps that are left once all that do not
//! matter are taken out.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
#![allow(clippy::wildcard_enum_match_arm)]
#![allow(clippy::disallowed_methods, reason = "a test may read its own settings")]

mod history;
mod naive;
mod steps;
mod twins;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use history::{History, KnownLease};
use naive::{Answer, Happens, LeaseStage, Model};
use ratequeue_limiter::{
    Applied, Blocked, EventKind, LeaseId, LeaseState, LogTime, Outcome, Phase, Refusal, Reply,
    State,
};
use steps::translate::{self, resource_name};
use steps::{Advance, Command, Kind, Step};
use twins::Twins;

struct Run {
    state: State,
    /// States that are rebuilt, and checkpointed, all the time; only now and then, since they take
    /// theirs.
    twins: Option<Twins>,
    model: Model,
    history: History,
    index: u64,
    /// The core's id of each lease of the model.
    ids: Vec<LeaseId>,
    /// What concurrency limits may hold beyond their quota, because they were lowered: resource,
    /// limit.
    excess: BTreeMap<(usize, &'static str), u64>,
    tally: Tally,
}

/// How often each kind of answer and event came.
type Tally = BTreeMap<&'static str, u64>;

/// What a long run must have seen, each at least once in a thousand sequences.
const KINDS: [&str; 35] = [
    "waiting",
    "held",
    "limit exceeded",
    "only the queue",
    "queue full",
    "wait timeout",
    "load exceeds",
    "dimension needed",
    "conflict",
    "no resource",
    "no lease",
    "expired",
    "not held",
    "ended",
    "resource deleted",
    "released",
    "refunded",
    "debited",
    "extended",
    "put",
    "patched",
    "deleted",
    "wrong version",
    "invalid",
    "noted",
    "is queued",
    "is granted",
    "is released",
    "is expired",
    "is cancelled",
    "is timed out",
    "is rejected",
    "is lapsed",
    "attended",
    "passed over",
];

fn kind_of(answer: &Answer) -> &'static str {
    match answer {
        Answer::Waiting(_) => "waiting",
        Answer::Held(_) => "held",
        Answer::LimitExceeded(by) if by == &["queue"] => "only the queue",
        Answer::LimitExceeded(_) => "limit exceeded",
        Answer::QueueFull(_) => "queue full",
        Answer::WaitTimeout => "wait timeout",
        Answer::LoadExceeds(_) => "load exceeds",
        Answer::DimensionNeeded(_) => "dimension needed",
        Answer::Conflict => "conflict",
        Answer::NoResource => "no resource",
        Answer::NoLease => "no lease",
        Answer::Expired => "expired",
        Answer::NotHeld(_) => "not held",
        Answer::Ended(_) => "ended",
        Answer::ResourceDeleted => "resource deleted",
        Answer::Released { refunded, .. } if !refunded.is_empty() => "refunded",
        Answer::Released { debited, .. } if !debited.is_empty() => "debited",
        Answer::Released { .. } => "released",
        Answer::Extended(_) => "extended",
        Answer::Attended(..) => "attended",
        Answer::Put { .. } => "put",
        Answer::Patched { .. } => "patched",
        Answer::Deleted => "deleted",
        Answer::WrongVersion(_) => "wrong version",
        Answer::Invalid => "invalid",
        Answer::Noted => "noted",
    }
}

fn kind_of_event(what: Happens) -> &'static str {
    match what {
        Happens::Queued => "is queued",
        Happens::Granted => "is granted",
        Happens::Ends(LeaseStage::Released) => "is released",
        Happens::Ends(LeaseStage::Expired) => "is expired",
        Happens::Ends(LeaseStage::Cancelled) => "is cancelled",
        Happens::Ends(LeaseStage::TimedOut) => "is timed out",
        Happens::Ends(LeaseStage::Lapsed) => "is lapsed",
        Happens::Ends(LeaseStage::Rejected | LeaseStage::Waiting | LeaseStage::Held) => {
            "is rejected"
        }
    }
}

fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}

fn run(steps: &[Step], level: u32, twins: bool) -> Result<Tally, String> {
    let mut run = Run {
        state: State::at_level(level),
        twins: twins.then(|| Twins::at_level(level)),
        model: Model::at_level(level),
        history: History::default(),
        index: 0,
        ids: Vec::new(),
        excess: BTreeMap::new(),
        tally: Tally::new(),
    };

    for step in steps {
        run.step(step).map_err(|error| format!("at entry {}: {error}", run.index))?;
    }

    run.twins.as_mut().map_or(Ok(()), Twins::finish)?;
    let passed_over = run.model.leases.iter().filter(|lease| lease.passed_over).count() as u64;
    *run.tally.entry("passed over").or_default() += passed_over;
    Ok(run.tally)
}

impl Run {
    fn step(&mut self, step: &Step) -> Result<(), String> {
        if step.reload {
            self.reload()?;
            self.twins.as_mut().map_or(Ok(()), Twins::reload)?;
        }

        let now = self.state.now();
        let due = self.state.next_due();
        let stamp = match step.advance {
            Advance::By(us) => now.after_us(us),
            Advance::Back(us) => LogTime(now.0.saturating_sub(us)),
            Advance::Due(before) => LogTime(due.unwrap_or(now).0.saturating_sub(before)),
        };

        self.index += 1;
        self.model.targets = self.targets();
        let lease_of = |request| self.model.targets.get(&request).map(|lease| self.ids[*lease]);
        let commands: Vec<_> =
            step.commands.iter().map(|command| translate::command(command, lease_of)).collect();

        let applied = self.state.apply(self.index, stamp, commands.clone());
        if let Some(twins) = &mut self.twins {
            let other = twins.apply(stamp, commands)?;
            ensure(other == applied, || format!("a twin answers {other:?}, not {applied:?}"))?;
            ensure(twins.state.digest() == self.state.digest(), || {
                "a twin has another digest".to_owned()
            })?;
        }

        self.model.begin(stamp.0);
        let answers: Vec<_> =
            step.commands.iter().map(|command| self.model.decide(command)).collect();
        let forgotten = if self.model.level > 1 { 1_000 } else { 64 };
        self.model.end(forgotten + applied.events.len());
        ensure(self.state.now() == now.max(stamp), || format!("now is {}", self.state.now()))?;

        for ((command, answer), outcome) in
            step.commands.iter().zip(&answers).zip(&applied.outcomes)
        {
            self.compare(answer, outcome).map_err(|error| format!("{command:?}: {error}"))?;
        }

        let events = self.model.events.iter().map(|(_, _, what)| kind_of_event(*what));
        for kind in answers.iter().map(kind_of).chain(events) {
            *self.tally.entry(kind).or_default() += 1;
        }

        self.compare_events(&applied)?;
        self.check_history(&applied)?;
        self.check_concurrency(step)?;
        self.check_views()?;
        self.state.check().map_err(|broken| broken.to_string())?;
        let now = self.state.now();

        let next = self.state.next_due();
        ensure(next.is_none_or(|at| at > now), || {
            format!("work is left over: due {next:?}, now {now}")
        })?;

        let punctual = step.advance == Advance::Due(0) && due.is_some();
        ensure(!punctual || !applied.events.is_empty(), || {
            format!("nothing happened at the due time {due:?}")
        })
    }

    /// The leases that requests stand for now; of those forgotten too, which must not be found.
    fn targets(&self) -> BTreeMap<u64, usize> {
        self.model
            .leases
            .iter()
            .enumerate()
            .map(|(lease, view)| (view.acquire.request, lease))
            .collect()
    }

    fn reload(&mut self) -> Result<(), String> {
        let mut rebuilt =
            State::from_records(self.state.to_records()).map_err(|bad| bad.to_string())?;
        ensure(rebuilt.digest() == self.state.digest(), || {
            "the rebuilt state has another digest".to_owned()
        })?;

        ensure(rebuilt.bytes() == self.state.bytes(), || {
            "the rebuilt state has another size".to_owned()
        })?;
        ensure(rebuilt.next_due() == self.state.next_due(), || {
            "the rebuilt state has another next_due".to_owned()
        })?;

        ensure(rebuilt.records() == self.state.records(), || {
            "the rebuilt state has other records".to_owned()
        })?;
        self.state = rebuilt;
        Ok(())
    }

    /// The same lease of both, also when it is new.
    fn same_lease(&mut self, lease: usize, id: LeaseId) -> Result<(), String> {
        if lease == self.ids.len() {
            ensure(!self.ids.contains(&id), || format!("{id} was given out twice"))?;
            self.ids.push(id);
        }
        ensure(self.ids.get(lease) == Some(&id), || {
            format!("lease {lease} is {:?}, not {id}", self.ids.get(lease))
        })
    }

    fn compare(&mut self, answer: &Answer, outcome: &Outcome) -> Result<(), String> {
        let fits = match (answer, outcome) {
            (Answer::Waiting(lease), Ok(Reply::Acquired(view))) => {
                self.same_lease(*lease, view.id)?;
                view.state() == LeaseState::Waiting
            }
            (Answer::Held(lease), Ok(Reply::Acquired(view))) => {
                self.same_lease(*lease, view.id)?;
                view.state() == LeaseState::Held
            }
            (Answer::Attended(lease, is), Ok(Reply::Attended(view))) => {
                self.same_lease(*lease, view.id)?;
                life(view.state()) == *is
            }
            (Answer::Extended(lease), Ok(Reply::Extended(view))) => {
                self.same_lease(*lease, view.id)?;
                view.state() == LeaseState::Held
            }
            (Answer::Released { life: end, refunded, debited }, Ok(Reply::Released(released))) => {
                let named =
                    |amounts: &[(ratequeue_limiter::LimitName, u64)]| -> Vec<(String, u64)> {
                        amounts.iter().map(|(name, n)| (name.to_string(), *n)).collect()
                    };
                life(released.state) == *end
                    && named(&released.refunded) == *refunded
                    && named(&released.debited) == *debited
            }
            (Answer::Put { created, version }, Ok(Reply::Put { created: c, resource })) => {
                (created, *version) == (c, resource.version)
            }
            (Answer::Patched { version }, Ok(Reply::Patched(resource))) => {
                *version == resource.version
            }
            (Answer::Deleted, Ok(Reply::Deleted)) | (Answer::Noted, Ok(Reply::Noted)) => true,
            (answer, Err(refusal)) => *answer == refused(refusal)?,
            _ => false,
        };

        ensure(fits, || format!("should be {answer:?}, is {outcome:?}"))
    }

    /// What happened to the leases of each resource, in order.
    fn compare_events(&self, applied: &Applied) -> Result<(), String> {
        for name in ["x", "y"] {
            let mine = self
                .model
                .events
                .iter()
                .filter(|(id, _, _)| self.model.resources[*id].name == name);
            let mine: Vec<_> = mine.map(|(_, lease, what)| (self.ids[*lease], *what)).collect();
            let events = applied.events.iter().filter(|event| event.resource.as_str() == name);
            let theirs: Vec<_> = events
                .filter_map(|event| match event.kind {
                    EventKind::Queued { lease, .. } => Some((lease, Happens::Queued)),
                    EventKind::Granted { lease, .. } => Some((lease, Happens::Granted)),
                    EventKind::Ended { lease, state, .. } => {
                        Some((lease, Happens::Ends(life(state))))
                    }
                    EventKind::Refused { .. }
                    | EventKind::LimitsChanged { .. }
                    | EventKind::Deleted => None,
                })
                .collect();
            ensure(mine == theirs, || format!("in {name} should happen {mine:?}, but {theirs:?}"))?;
        }

        Ok(())
    }

    fn check_history(&mut self, applied: &Applied) -> Result<(), String> {
        let known = |id: LeaseId| {
            let lease = &self.model.leases[self.ids.iter().position(|other| *other == id).unwrap()];
            KnownLease {
                priority: lease.acquire.priority,
                deadline: LogTime(lease.deadline),
                until: LogTime(lease.until),
                claim_until: lease.claim_until.map(LogTime),
                may_be_overtaken: lease.passed_over,
            }
        };
        self.history.record(self.state.now(), &applied.events, known)
    }

    /// Held cost is within the quota, or on its way down after the limit was lowered.
    fn check_concurrency(&mut self, step: &Step) -> Result<(), String> {
        let changed =
            step.commands.iter().any(|c| matches!(c, Command::Put { .. } | Command::Patch { .. }));
        for id in 0..self.model.resources.len() {
            let name = resource_name(self.model.resources[id].name);
            if self.model.resources[id].deleted {
                continue;
            }
            let usage = self.state.usage(&name, self.state.now()).ok_or("the resource is gone")?;
            for limit in usage.limits.iter().filter(|limit| limit.window_ms.is_none()) {
                let (key, _) = self.model.resources[id]
                    .limits
                    .get_key_value(limit.name.as_str())
                    .ok_or("no limit")?;
                let excess = self.excess.entry((id, key)).or_insert(0);
                let most = limit.quota.max(if changed { u64::MAX } else { *excess });
                ensure(limit.used <= most, || {
                    format!("{} holds {} of {}", limit.name, limit.used, limit.quota)
                })?;
                *excess = limit.used;
            }
        }

        Ok(())
    }

    fn check_views(&self) -> Result<(), String> {
        let now = self.state.now();
        for (lease, id) in self.model.leases.iter().zip(&self.ids) {
            let Some(view) = self.state.lease(*id, now) else {
                ensure(lease.forgotten, || format!("{id} is forgotten, but {lease:?}"))?;
                continue;
            };
            let same = !lease.forgotten && lease.life == life(view.state());
            ensure(same, || format!("{id} is {:?}, but should be {:?}", view.state(), lease.life))?;
            let timer = match &view.phase {
                Phase::Waiting(place) => {
                    place.waits_until.0 == lease.until && place.retry_after_ms >= 1
                }
                Phase::Held(grant) => grant.deadline.0 == lease.deadline,
                Phase::Ended(_) => true,
            };
            ensure(timer, || format!("{id} has other times than {lease:?}: {:?}", view.phase))?;
        }

        (0..self.model.resources.len()).try_for_each(|id| self.check_resource(id))
    }

    fn check_resource(&self, id: usize) -> Result<(), String> {
        let (now, resource) = (self.state.now(), &self.model.resources[id]);
        let name = resource_name(resource.name);
        if resource.deleted {
            return Ok(());
        }

        let usage = self.state.usage(&name, now).ok_or("the resource is gone")?;
        for limit in &usage.limits {
            let tracked = &resource.limits[limit.name.as_str()];
            let held = match tracked.spec.kind {
                Kind::Concurrency => self.model.held_cost(id, limit.name.as_str()),
                Kind::Window | Kind::Bucket => 0,
            };
            let used = tracked.used(held, now.0);
            ensure(limit.used == used, || {
                format!("{} uses {}, should be {used}", limit.name, limit.used)
            })?;
        }

        let queue: Vec<_> = self.model.queue(id).into_iter().map(|lease| self.ids[lease]).collect();
        let views = self.state.waiting(&name, None, 1000, now).ok_or("the resource is gone")?;
        ensure(views.iter().map(|view| view.id).eq(queue.iter().copied()), || {
            format!("the queue is not {queue:?}")
        })?;

        for (view, position) in views.iter().zip(1..) {
            let right = matches!(&view.phase, Phase::Waiting(place) if place.position == position);
            ensure(right, || format!("{} is not at place {position}", view.id))?;
        }

        Ok(())
    }
}

fn life(state: LeaseState) -> LeaseStage {
    match state {
        LeaseState::Waiting => LeaseStage::Waiting,
        LeaseState::Held => LeaseStage::Held,
        LeaseState::Released => LeaseStage::Released,
        LeaseState::Expired => LeaseStage::Expired,
        LeaseState::Cancelled => LeaseStage::Cancelled,
        LeaseState::TimedOut => LeaseStage::TimedOut,
        LeaseState::Rejected => LeaseStage::Rejected,
        LeaseState::Lapsed => LeaseStage::Lapsed,
    }
}

fn violated(blocked: &Blocked) -> Result<Vec<String>, String> {
    ensure(blocked.retry_after_ms >= 1, || "come back at once?".to_owned())?;
    Ok(blocked
        .violated
        .iter()
        .map(|name| name.as_ref().map_or("queue".to_owned(), ToString::to_string))
        .collect())
}

fn refused(refusal: &Refusal) -> Result<Answer, String> {
    Ok(match refusal {
        Refusal::LimitExceeded(blocked) => Answer::LimitExceeded(violated(blocked)?),
        Refusal::QueueFull(blocked) => Answer::QueueFull(violated(blocked)?),
        Refusal::WaitTimeout(blocked) => violated(blocked).map(|_| Answer::WaitTimeout)?,
        Refusal::LoadExceedsCapacity { limit, .. } => Answer::LoadExceeds(limit.to_string()),
        Refusal::DimensionNeeded { limit, .. } => Answer::DimensionNeeded(limit.to_string()),
        Refusal::IdempotencyConflict => Answer::Conflict,
        Refusal::ResourceNotFound => Answer::NoResource,
        Refusal::LeaseNotFound => Answer::NoLease,
        Refusal::LeaseExpired => Answer::Expired,
        Refusal::LeaseNotHeld(state) => Answer::NotHeld(life(*state)),
        Refusal::LeaseEnded(state) => Answer::Ended(life(*state)),
        Refusal::ResourceDeleted => Answer::ResourceDeleted,
        Refusal::VersionConflict { version } => Answer::WrongVersion(*version),
        Refusal::InvalidResource(_) => Answer::Invalid,
        // The model has no claims: `catalog.rs` has.
        Refusal::TooManyResources
        | Refusal::TooManyLeases
        | Refusal::Malformed(_)
        | Refusal::Internal(_)
        | Refusal::ResourceExists
        | Refusal::ClaimOutdated { .. }
        | Refusal::NamePast(_) => {
            return Err(format!("unexpected: {refusal}"));
        }
    })
}

/// Runs steps; a panic is a failure like any other.
fn outcome(steps: &[Step], level: u32, twins: bool) -> Result<Tally, String> {
    catch_unwind(AssertUnwindSafe(|| run(steps, level, twins))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(format!(
            "panic: {}",
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default()
        ))
    })
}

/// Takes out, as long as it goes on failing, whatever can be taken out.
fn shortened(mut steps: Vec<Step>, level: u32, twins: bool) -> Vec<Step> {
    loop {
        let before = steps.iter().map(|step| 1 + step.commands.len()).sum::<usize>();
        let mut at = 0;
        while at < steps.len() {
            let mut shorter = steps.clone();
            shorter.remove(at);
            if outcome(&shorter, level, twins).is_err() { steps = shorter } else { at += 1 }
        }

        for at in 0..steps.len() {
            let mut command = 0;
            while command < steps[at].commands.len() {
                let mut shorter = steps.clone();
                shorter[at].commands.remove(command);
                if outcome(&shorter, level, twins).is_err() {
                    steps = shorter
                } else {
                    command += 1
                }
            }
        }

        if steps.iter().map(|step| 1 + step.commands.len()).sum::<usize>() == before {
            return steps;
        }
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn with_twins(seed: u64) -> bool {
    seed % 20 < 2
}

fn report(error: &str, steps: Vec<Step>, seed: u64, commands: usize) {
    let (level, twins) = (steps::level(seed), with_twins(seed));
    let left = shortened(steps, level, twins);
    let error = outcome(&left, level, twins).err().unwrap_or(error.to_owned());
    let list: Vec<_> = left.iter().map(|step| format!("  {step:?}")).collect();
    let again = format!(
        "RATEQUEUE_MODEL_SEED={seed} RATEQUEUE_MODEL_SEQUENCES=1 RATEQUEUE_MODEL_COMMANDS={commands}"
    );
    panic!(
        "{error}\n{}\nagain: {again} cargo test -p ratequeue-limiter --test model",
        list.join("\n")
    );
}

/// Every second sequence, so that two tests share the work.
fn sequences(from: u64) {
    let count = setting("RATEQUEUE_MODEL_SEQUENCES", 10_000);
    let commands = usize::try_from(setting("RATEQUEUE_MODEL_COMMANDS", 80)).unwrap();
    let first = setting("RATEQUEUE_MODEL_SEED", 1);
    let mut total = Tally::new();

    for seed in (first + from..first + count).step_by(2) {
        let steps = steps::steps(seed, commands);
        match outcome(&steps, steps::level(seed), with_twins(seed)) {
            Ok(tally) => {
                tally.into_iter().for_each(|(kind, n)| *total.entry(kind).or_default() += n)
            }
            Err(error) => report(&error, steps, seed, commands),
        }
    }

    println!("{total:?}");
    // A run that did little proves little.
    for kind in KINDS.iter().filter(|_| count >= 1000) {
        let seen = total.get(kind).copied().unwrap_or(0);
        assert!(seen * 1000 >= count, "only {seen} times in {count} sequences: {kind}");
    }
}

#[test]
fn random_commands_agree_with_the_model_on_odd_seeds() {
    sequences(0);
}

#[test]
fn random_commands_agree_with_the_model_on_even_seeds() {
    sequences(1);
}
