//! `ratequeue resource`: limits as files.

mod apply;
mod delete;
mod differences;
mod files;
mod get;
mod list;

use clap::Subcommand;
use ratequeue_api::Limit;
use ratequeue_api::resource::{Algorithm, Kind, TrueUp};

use super::duration;
use super::output::{NONE, cell};
use crate::cli::exit::{Exit, Failed};

pub use list::all;

/// Limits as files: apply, get, list, delete
#[derive(Debug, Subcommand)]
pub enum Resource {
    Apply(apply::Apply),
    Get(get::Get),
    List(list::List),
    Delete(delete::Delete),
}

impl Resource {
    pub async fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::Apply(apply) => apply.run().await,
            Self::Get(get) => get.run().await,
            Self::List(list) => list.run().await,
            Self::Delete(delete) => delete.run().await,
        }
    }
}

/// The titles of [`limit_cells`].
const LIMIT_TITLES: [&str; 8] =
    ["LIMIT", "KIND", "ALGORITHM", "QUOTA", "WINDOW", "BURST", "COST", "TRUE-UP"];

/// A limit in the words of its file.
fn limit_cells(name: &str, limit: &Limit) -> [String; 8] {
    let kind = match limit.kind {
        Kind::Concurrency => "concurrency",
        Kind::Rate => "rate",
    };

    let algorithm = limit.algorithm.map_or(NONE, |algorithm| match algorithm {
        Algorithm::SlidingWindow => "sliding_window",
        Algorithm::TokenBucket => "token_bucket",
    });

    let true_up = limit.true_up.map_or(NONE, |true_up| match true_up {
        TrueUp::Both => "both",
        TrueUp::DebitOnly => "debit_only",
        TrueUp::None => "none",
    });

    [
        name.to_owned(),
        kind.to_owned(),
        algorithm.to_owned(),
        limit.quota.to_string(),
        cell(limit.window_ms.map(duration::show)),
        cell(limit.burst),
        cell(limit.cost.as_ref()),
        true_up.to_owned(),
    ]
}
