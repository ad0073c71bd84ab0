//! Random commands against a naive model, with every invariant checked after every step.
//!
//! `RATEQUEUE_MODEL_SEQUENCES` (10,000), `RATEQUEUE_MODEL_COMMANDS` (80) and `RATEQUEUE_MODEL_SEED`
//! (1) change the run. A failure prints its seed and the steps that are left once all that do not
//! matter are taken out.
//!
//! ```text
//!   steps/      random steps, in words that do not depend on the state
//!   naive/      the model: what each command must come to
//!   run.rs      takes the steps in the model and in the core, and compares
//!   compare.rs  answers and events
//!   state.rs    what the state shows
//!   history/    what must hold whatever the model says
//!   kinds.rs    what a long run must have seen
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]
#![allow(clippy::wildcard_enum_match_arm)]
#![allow(clippy::disallowed_methods, reason = "a test may read its own settings")]

mod compare;
mod history;
mod kinds;
mod naive;
mod run;
mod state;
mod steps;
#[path = "../twins/mod.rs"]
mod twins;

use std::panic::{AssertUnwindSafe, catch_unwind};

use kinds::{KINDS, Tally};
use run::run;
use steps::Step;

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
