//! Every step of a procedure, one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Instant;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tempfile::TempDir;

use crate::common::copy;
use crate::folder::temporary;
use crate::shim::{Point, Ran, Shim};

/// Steps at each of which the process dies; of those after them a sample.
const ALL_OF: usize = 200;
const SAMPLE: usize = 20;
const SEED: u64 = 1;

/// A procedure: a test of this binary that is run as a child on a copy of a folder.
pub struct Procedure<'a> {
    pub test: &'a str,
    pub prepared: &'a Path,
    /// The calls without which it did not do what it is about.
    pub calls: &'a [&'a str],
}

impl Procedure<'_> {
    /// Runs the procedure undisturbed, then once for each of its steps. `check` looks at every
    /// folder that is left.
    pub fn kill_everywhere(&self, mut check: impl FnMut(TempDir, &Ran)) {
        let (shim, begun) = (Shim::build(), Instant::now());
        let undisturbed = self.run(&shim, None, &mut check);
        for call in self.calls {
            assert!(
                undisturbed.calls.iter().any(|made| made == call),
                "no {call}: {undisturbed:?}"
            );
        }

        let only = std::env::var("RATEQUEUE_CRASH_POINT").ok();
        let only = only.map(|text| text.parse::<Point>().unwrap());
        let points = only.map_or_else(|| points(&undisturbed.calls), |only| vec![only]);
        let mut killed = 0;
        for point in &points {
            killed += usize::from(self.run(&shim, Some(*point), &mut check).killed);
        }

        let (steps, within) = (
            undisturbed.calls.len(),
            points.iter().filter(|point| matches!(point, Point::Within(_))).count(),
        );
        println!(
            "{}: {steps} steps; {killed} ends, {within} of them within a write; {:.1} s",
            self.test,
            begun.elapsed().as_secs_f64()
        );
        // Threads take turns as they like, so a run may have a few steps less than the first.
        assert!(killed * 10 >= points.len() * 9, "only {killed} of {} points", points.len());
    }

    fn run(&self, shim: &Shim, point: Option<Point>, check: &mut impl FnMut(TempDir, &Ran)) -> Ran {
        let dir = temporary();
        copy(self.prepared, dir.path());
        let ran = shim.run(self.test, dir.path(), point);
        let checked = catch_unwind(AssertUnwindSafe(|| check(dir, &ran)));

        let Self { test, .. } = self;
        let (at, only) = point.map_or_else(
            || ("the end".to_owned(), String::new()),
            |point| (point.to_string(), format!("RATEQUEUE_CRASH_POINT={point} ")),
        );
        let last = &ran.calls[ran.calls.len().saturating_sub(5)..];
        assert!(
            checked.is_ok(),
            "{test}, {at}, after {last:?}. Again: {only}cargo test -p ratequeue-raft --test crash_points -- --exact {test}"
        );
        ran
    }
}

/// Before each call, and within each write.
fn points(calls: &[String]) -> Vec<Point> {
    let writes = calls.iter().filter(|call| *call == "write").count();
    let before = sample((1..=calls.len()).collect()).into_iter().map(Point::Before);
    before.chain(sample((1..=writes).collect()).into_iter().map(Point::Within)).collect()
}

fn sample(mut calls: Vec<usize>) -> Vec<usize> {
    let mut random = StdRng::seed_from_u64(SEED);
    while calls.len() > ALL_OF + SAMPLE {
        calls.remove(random.random_range(ALL_OF..calls.len()));
    }
    calls
}
