//! Answers of the service as responses.

use axum::response::Response;

use super::relayed;
use super::response::{DecidedBy, log_index};
use crate::service::{Answered, Decided};

/// The response for an answer: `show` makes it of what a group of this node has decided.
pub fn respond<T>(answered: Answered<T>, show: impl FnOnce(T, &str) -> Response) -> Response {
    match answered {
        Answered::Here(Decided { value, group, index }) => {
            let mut response = show(value, group.name());
            if let Some(index) = index {
                log_index(response.headers_mut(), index);
            }
            response.extensions_mut().insert(DecidedBy(group));
            response
        }
        Answered::Elsewhere(reply) => relayed::response(reply),
    }
}
