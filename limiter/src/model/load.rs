//! Load: how much one acquire weighs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::caps;
use crate::model::name::LimitName;
use crate::model::numbers::Bounds;
use crate::model::spec::Cost;

/// How much one acquire weighs: one number, or one number for each dimension.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// One number, 0 to 2^53.
    Scalar(u64),
    /// A number for each dimension; their sum, 0 to 2^53, is the scalar load.
    Map(BTreeMap<LimitName, u64>),
}

/// Why a load is refused before it is looked at by any limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadLoad {
    /// The number, or the sum of the map, is over 2^53.
    #[error("a load, or the sum of a load map, must be {}", Bounds::LOAD)]
    TooLarge,
    /// More than 16 dimensions.
    #[error("a load map has at most {} dimensions", caps::DIMENSIONS_PER_LOAD_MAX)]
    TooManyDimensions,
}

impl Load {
    /// Checks the bounds that [`Load`] documents.
    ///
    /// # Errors
    /// [`BadLoad`] names the bound that is passed.
    pub fn validate(&self) -> Result<(), BadLoad> {
        if let Self::Map(map) = self
            && map.len() > caps::DIMENSIONS_PER_LOAD_MAX
        {
            return Err(BadLoad::TooManyDimensions);
        }
        if Bounds::LOAD.contains(self.total()) { Ok(()) } else { Err(BadLoad::TooLarge) }
    }

    /// The scalar load: the number, or the sum of the map.
    #[must_use]
    pub fn total(&self) -> u64 {
        match self {
            Self::Scalar(n) => *n,
            Self::Map(map) => map.values().fold(0, |sum, n| sum.saturating_add(*n)),
        }
    }

    /// Whether this load says how much it weighs under a limit that counts `cost`: a dimension that
    /// is missing says nothing.
    #[must_use]
    pub fn mentions(&self, cost: &Cost) -> bool {
        match (cost, self) {
            (Cost::One | Cost::Load, _) => true,
            (Cost::Dimension(name), Self::Map(map)) => map.contains_key(name),
            (Cost::Dimension(_), Self::Scalar(_)) => false,
        }
    }

    /// What this load costs under a limit that counts `cost`. A dimension that is missing counts 0.
    #[must_use]
    pub fn cost(&self, cost: &Cost) -> u64 {
        match (cost, self) {
            (Cost::One, _) => 1,
            (Cost::Load, _) => self.total(),
            (Cost::Dimension(name), Self::Map(map)) => map.get(name).copied().unwrap_or(0),
            (Cost::Dimension(_), Self::Scalar(_)) => 0,
        }
    }
}
