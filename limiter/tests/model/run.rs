//! One run: each step taken by the model and by the core, and everything compared after it.

use std::collections::BTreeMap;

use ratequeue_limiter::{LeaseId, LogTime, State};

use crate::history::History;
use crate::kinds::{Tally, kind_of, kind_of_event};
use crate::naive::Model;
use crate::steps::{Advance, Step, translate};
use crate::twins::Twins;

pub struct Run {
    pub state: State,
    /// States that are rebuilt, and checkpointed, all the time; only now and then, since they take
    /// theirs.
    twins: Option<Twins>,
    pub model: Model,
    pub history: History,
    index: u64,
    /// The core's id of each lease of the model.
    pub ids: Vec<LeaseId>,
    /// What concurrency limits may hold beyond their quota, because they were lowered: resource,
    /// limit.
    pub excess: BTreeMap<(usize, &'static str), u64>,
    tally: Tally,
}

pub fn ensure(holds: bool, text: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(text()) }
}

pub fn run(steps: &[Step], level: u32, twins: bool) -> Result<Tally, String> {
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
}
