//! Raise level: other rules count from now on.

use crate::model::level::Features;
use crate::model::outcome::Reply;
use crate::state::State;
use crate::state::records::RecordKey;

impl State {
    /// An empty state of a feature level, as if the first entry had raised it.
    #[must_use]
    pub fn at_level(level: u32) -> Self {
        let mut state = Self::new();
        state.raise_level(level);
        state
    }

    pub(crate) fn raise_level(&mut self, level: u32) -> Reply {
        if level > self.level().0 {
            let changes = &mut self.records.changes;
            let create = || changes.create(RecordKey::Features, Features::default());
            let features = self.records.features.get_or_insert_with(create);
            self.records.changes.edit(RecordKey::Features, features).level = level;

            // Time changes something in them by other rules now.
            self.reschedule_all();
        }
        Reply::Level(self.level().0)
    }
}
