//! One log applied to three states that must never differ: one that lives on, one that is rebuilt
//! from its records before every entry, and one whose checkpoints are carried away in small pieces
//! and put together again.

use std::collections::BTreeMap;

use ratequeue_limiter::{
    Applied, Command, Cut, Extent, LogTime, NotCut, Period, Record, RecordKey, State,
};

/// Records handed out at a time: few, so that a checkpoint spans many entries.
const PIECE: usize = 2;

/// The three states, and the log index they are at.
pub struct Twins {
    pub state: State,
    pub index: u64,
    rebuilt: State,
    checkpointed: Checkpointed,
}

impl Twins {
    pub fn at_level(level: u32) -> Self {
        let state = || State::at_level(level);
        Self {
            state: state(),
            index: 0,
            rebuilt: state(),
            checkpointed: Checkpointed::new(state()),
        }
    }

    /// Applies one entry to all three; an error says in what they differ, or which invariant broke.
    pub fn apply(&mut self, stamp: LogTime, commands: Vec<Command>) -> Result<Applied, String> {
        self.index += 1;
        self.rebuilt = rebuild(self.rebuilt.to_records())?;
        self.checkpointed.step()?;
        let applied = self.state.apply(self.index, stamp, commands.clone());
        let rebuilt = self.rebuilt.apply(self.index, stamp, commands.clone());
        let checkpointed = self.checkpointed.state.apply(self.index, stamp, commands);

        self.checkpointed.step()?;
        same("the answers of the rebuilt state", &rebuilt, &applied)?;
        same("the answers of the checkpointed state", &checkpointed, &applied)?;

        for (what, twin) in
            [("rebuilt", &mut self.rebuilt), ("checkpointed", &mut self.checkpointed.state)]
        {
            same(
                &format!("next_due of the {what} state"),
                &twin.next_due(),
                &self.state.next_due(),
            )?;
            same(&format!("the digest of the {what} state"), &twin.digest(), &self.state.digest())?;
            twin.check().map_err(|broken| format!("{what}: {broken}"))?;
        }

        self.state.check().map_err(|broken| broken.to_string())?;
        Ok(applied)
    }

    /// Puts every state together from its records, as after a restart.
    pub fn reload(&mut self) -> Result<(), String> {
        self.state = rebuild(self.state.to_records())?;
        self.checkpointed = Checkpointed::new(rebuild(self.checkpointed.state.to_records())?);
        Ok(())
    }

    /// Carries the checkpoint under way, and one more into either slot, to their ends.
    pub fn finish(&mut self) -> Result<(), String> {
        // Some are given up on the way.
        let wanted = self.checkpointed.done + 3;
        while self.checkpointed.done < wanted {
            self.checkpointed.step()?;
        }
        Ok(())
    }
}

/// A state with the two slots that its checkpoints are written to in turn.
struct Checkpointed {
    state: State,
    slots: [Slot; 2],
    turn: usize,
    cut: Option<Cut>,
    done: u64,
    begun: u64,
}

/// The records of a slot, and which state they are; without a period nobody knows.
#[derive(Default)]
struct Slot {
    records: BTreeMap<RecordKey, Record>,
    period: Option<Period>,
}

impl Checkpointed {
    /// A state that was just loaded from one slot; of the other nothing is known.
    fn new(state: State) -> Self {
        let loaded = Slot { records: state.to_records().collect(), period: Some(state.period()) };
        Self { state, slots: [Slot::default(), loaded], turn: 0, cut: None, done: 0, begun: 0 }
    }

    fn step(&mut self) -> Result<(), String> {
        if self.cut.is_none() {
            self.begin()?;
        }

        let Some(cut) = self.cut else { return Err("a checkpoint cannot be cut".to_owned()) };
        let mut out = Vec::new();
        let more = self.state.drain(PIECE, &mut out);
        let slot = &mut self.slots[self.turn];

        for (key, record) in out {
            match record {
                Some(record) => slot.records.insert(key, record),
                None => slot.records.remove(&key),
            };
        }

        // Now and then a checkpoint is given up half way. Its slot is worth nothing then.
        if self.begun % 5 == 3 && slot.records.len() > 3 {
            self.state.abandon();
            self.cut = None;
            return Ok(());
        }

        if more {
            return Ok(());
        }

        same("the records of a checkpoint", &(slot.records.len() as u64), &cut.records)?;
        let mut stored = rebuild(slot.records.iter().map(|(key, record)| (*key, record.clone())))?;
        same("the digest of a checkpoint", &stored.digest(), &cut.digest)?;
        slot.period = Some(cut.period);
        self.turn = 1 - self.turn;
        self.cut = None;

        self.done += 1;
        Ok(())
    }

    /// Cuts the next checkpoint, into what its slot holds.
    fn begin(&mut self) -> Result<(), String> {
        self.begun += 1;
        let slot = &mut self.slots[self.turn];
        let cut = match slot.period.take() {
            Some(period) => self.state.freeze(Extent::Since(period)),
            None => Err(NotCut::TooOld),
        };
        self.cut = Some(match cut {
            Err(NotCut::TooOld) => {
                slot.records.clear();
                self.state.freeze(Extent::Full).map_err(|error| error.to_string())?
            }
            cut => cut.map_err(|error| error.to_string())?,
        });
        Ok(())
    }
}

/// A state from records.
fn rebuild(records: impl Iterator<Item = (RecordKey, Record)>) -> Result<State, String> {
    State::from_records(records).map_err(|bad| bad.to_string())
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, other: &T, this: &T) -> Result<(), String> {
    if other == this { Ok(()) } else { Err(format!("{what} differ:\n  {other:?}\n  {this:?}")) }
}
