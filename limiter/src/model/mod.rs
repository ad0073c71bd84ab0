//! What is said: commands and the values in them, outcomes, events. The lowest room: nothing here
//! decides.

pub(crate) mod command;
pub(crate) mod event;
pub(crate) mod forms;
pub(crate) mod lease_id;
pub(crate) mod level;
pub(crate) mod load;
pub(crate) mod name;
pub(crate) mod numbers;
pub(crate) mod outcome;
pub(crate) mod patch;
pub(crate) mod spec;
pub(crate) mod time;
