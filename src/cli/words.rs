//! What a failed call means at a terminal: its exit code, and what to do in words of the command
//! line.

use ratequeue_api::client::ClientError;
use ratequeue_api::{ErrorCode, Problem};

use crate::cli::exit::{Exit, Failed};

/// What a failed call means to the user.
pub fn failed(error: ClientError) -> Failed {
    let (exit, text) = match &error {
        ClientError::Configuration(_) => (Exit::Usage, error.to_string()),
        ClientError::WaitOver(_) => (Exit::WaitRanOut, error.to_string()),
        ClientError::Unavailable(_) | ClientError::Foreign(..) => {
            (Exit::Unavailable, error.to_string())
        }
        ClientError::Problem(problem) => (exit(problem), text(problem)),
    };
    Failed::new(exit, text)
}

fn exit(problem: &Problem) -> Exit {
    use ErrorCode::{Forbidden, LimitExceeded, QueueFull, Unauthenticated, Unknown, WaitTimeout};

    if matches!(problem.code, Unauthenticated | Forbidden) {
        return Exit::NotAllowed;
    }
    // Also a 429 of a later version says: not now.
    let is_not_now = matches!(problem.code, WaitTimeout | LimitExceeded | QueueFull)
        || (problem.code == Unknown && problem.status == 429);
    if is_not_now { Exit::WaitRanOut } else { Exit::Refused }
}

fn text(problem: &Problem) -> String {
    // "Malformed request" would blame a request that nobody here has written.
    let what = if problem.code == ErrorCode::BadRequest {
        format!("refused ({}): {}", problem.code.as_str(), problem.detail)
    } else {
        problem.to_string()
    };
    match advice(problem.code) {
        Some(advice) => format!("{what} {advice}"),
        None => what,
    }
}

/// What to do, where a command can.
fn advice(code: ErrorCode) -> Option<&'static str> {
    use ErrorCode::{LeaseNotFound, LimitExceeded, ResourceNotFound, Unauthenticated};

    if code == ResourceNotFound {
        Some(
            "`ratequeue resource list` shows those that there are, `ratequeue resource apply FILE` creates one.",
        )
    } else if code == LeaseNotFound {
        Some("`ratequeue lease list RESOURCE` shows those that there are.")
    } else if code == LimitExceeded {
        Some("With --wait TIME it waits in the queue.")
    } else if code == Unauthenticated {
        Some("Give a key with --api-key or RATEQUEUE_API_KEY.")
    } else {
        None
    }
}
