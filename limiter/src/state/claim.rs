//! The records of the catalog: claims of names, and its counters.

use serde::{Deserialize, Serialize};

use crate::model::name::{Placement, ResourceName};
use crate::model::outcome::ClaimView;
use crate::model::time::LogTime;

/// The counters of the catalog, and what this group knows of claims elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Catalog {
    pub(crate) claims_made: u64,
    /// Nothing is created here under a claim up to this number.
    pub(crate) fence: u64,
    /// The highest fencing token of which a deleted resource has told.
    pub(crate) fencing_token: u64,
}

/// A name that is claimed, or was until a while ago. Its stored form is in `state/forms.rs`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub(crate) resource: ResourceName,
    pub(crate) placement: Placement,
    /// The log index at which it was made.
    pub(crate) number: u64,
    pub(crate) at: LogTime,
    /// What is created under it has higher fencing tokens.
    pub(crate) fencing_token: u64,
    /// When it was given back.
    pub(crate) past: Option<LogTime>,
}

impl Claim {
    pub(crate) fn view(&self) -> ClaimView {
        ClaimView {
            resource: self.resource.clone(),
            placement: self.placement.clone(),
            number: self.number,
            at: self.at,
            fencing_token: self.fencing_token,
        }
    }
}
