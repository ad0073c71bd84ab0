//! What happens when the state holds what cannot be.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::model::command::{Acquire, Command, Condition, PutResource, Release};
use crate::model::lease_id::LeaseId;
use crate::model::load::Load;
use crate::model::name::{LimitName, RequestId, ResourceName};
use crate::model::numbers::{Metadata, Priority, WaitMs};
use crate::model::outcome::{Outcome, Refusal, Reply};
use crate::model::spec::{Kind, LeaseSpec, LimitDraft, QueueSpec, ResourceSpec};
use crate::model::time::LogTime;
use crate::state::State;

fn apply(state: &mut State, second: u64, command: Command) -> Outcome {
    state.apply(second, LogTime(second * 1_000_000), vec![command]).outcomes.remove(0)
}

fn acquire(key: &str) -> Command {
    Command::Acquire(Acquire {
        request: RequestId::new(key).unwrap(),
        resource: ResourceName::new("api").unwrap(),
        load: Load::Scalar(1),
        priority: Priority::DEFAULT,
        wait_ms: WaitMs::new(60_000).unwrap(),
        ttl_ms: None,
        metadata: Metadata::default(),
    })
}

/// One slot, which is held, and a waiting lease whose record is lost.
fn broken() -> (State, LeaseId) {
    let mut state = State::at_level(2);
    let slots =
        LimitDraft { kind: Some(Kind::Concurrency), quota: Some(1), ..LimitDraft::default() };
    let limits = BTreeMap::from([(LimitName::new("slots").unwrap(), slots)]);

    let put = PutResource {
        request: RequestId::new("put").unwrap(),
        resource: ResourceName::new("api").unwrap(),
        spec: ResourceSpec::new(limits, QueueSpec::default(), LeaseSpec::default()).unwrap(),
        condition: Condition::Any,
    };

    apply(&mut state, 1, Command::PutResource(put)).unwrap();
    let Ok(Reply::Acquired(held)) = apply(&mut state, 2, acquire("held")) else {
        panic!("it is not held")
    };

    let Ok(Reply::Acquired(waiting)) = apply(&mut state, 3, acquire("waits")) else {
        panic!("it does not wait")
    };

    assert!(state.records.leases.remove(waiting.id.seq).is_some());
    (state, held.id)
}

/// With assertions, as in every test, the program stops. Without them the command that meets it is
/// refused, and so often it is counted; time passes it by. Run with `--release` for that.
#[test]
fn what_cannot_be_is_refused_and_counted() {
    let (mut state, held) = broken();
    let release = Command::Release(Release { lease: held, used: None });
    let released = catch_unwind(AssertUnwindSafe(|| apply(&mut state, 4, release)));
    if cfg!(debug_assertions) {
        assert!(released.is_err(), "the assertion is silent: {released:?}");
        return;
    }

    assert!(matches!(released, Ok(Err(Refusal::Internal(_)))), "{released:?}");
    assert_eq!(state.defects(), 1);
    // It is overdue after 15 s, and is met again by time alone.
    assert_eq!(apply(&mut state, 30, Command::Tick), Ok(Reply::Noted));
    assert!(state.defects() > 1);
}
