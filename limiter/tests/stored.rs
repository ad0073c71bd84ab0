//! What is stored and hashed has a form of its own, which a new field of a command or a record does
//! not change: replicas of different versions must have the same digest at the same entry, and a
//! key that is repeated after an upgrade is no conflict.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;

use ratequeue_limiter::{
    Acquire, Algorithm, Command, Condition, DeleteResource, Extend, Kind, LeaseId, LeaseSpec,
    LimitDraft, LimitName, Load, LogTime, Metadata, Patch, PatchResource, Priority, PutResource,
    QueueSpec, Release, Reply, RequestId, ResourceName, ResourcePatch, ResourceSpec, State, TtlMs,
    WaitMs,
};

/// Digests of a state at level 1 after each entry of [`work`], as commit 66656ad computes them.
const LEVEL_1: [u64; 11] = [
    12_601_613_584_367_557_791,
    4_991_062_422_078_383_756,
    2_775_314_583_223_026_532,
    12_701_493_627_146_878_551,
    3_838_478_941_369_047_380,
    7_104_880_166_941_204_273,
    3_445_047_919_073_819_355,
    13_654_480_808_074_218_738,
    16_415_912_237_181_176_976,
    2_220_515_333_604_123_066,
    13_885_066_215_822_285_009,
];

fn limits() -> BTreeMap<LimitName, LimitDraft> {
    let slots =
        LimitDraft { kind: Some(Kind::Concurrency), quota: Some(2), ..LimitDraft::default() };
    let tpm = LimitDraft {
        kind: Some(Kind::Rate),
        algorithm: Some(Algorithm::SlidingWindow),
        quota: Some(1_000),
        window_ms: Some(60_000),
        ..LimitDraft::default()
    };
    BTreeMap::from([
        (LimitName::new("slots").unwrap(), slots),
        (LimitName::new("tpm").unwrap(), tpm),
    ])
}

fn request(key: &str) -> RequestId {
    RequestId::new(key).unwrap()
}

fn put(name: &str) -> Command {
    Command::PutResource(PutResource {
        request: request(&format!("put-{name}")),
        resource: ResourceName::new(name).unwrap(),
        spec: ResourceSpec::new(limits(), QueueSpec::default(), LeaseSpec::default()).unwrap(),
        condition: Condition::Any,
    })
}

fn acquire(key: &str, load: Load) -> Command {
    Command::Acquire(Acquire {
        request: request(key),
        resource: ResourceName::new("api").unwrap(),
        load,
        priority: Priority::new(3).unwrap(),
        wait_ms: WaitMs::new(60_000).unwrap(),
        ttl_ms: Some(TtlMs::new(20_000).unwrap()),
        metadata: Metadata::new(BTreeMap::from([("job".to_owned(), "4711".to_owned())])).unwrap(),
    })
}

/// One entry each: of every command that clients send, with answers that are remembered.
fn work(state: &mut State) -> Vec<u64> {
    let mut digests = Vec::new();
    let mut leases: Vec<LeaseId> = Vec::new();
    let mut apply = |state: &mut State, command: Command| {
        let index = digests.len() as u64 + 1;
        let applied = state.apply(index, LogTime(index * 1_000_000), vec![command]);
        match &applied.outcomes[0] {
            Ok(Reply::Acquired(view)) => leases.push(view.id),
            Ok(_) => {}
            Err(refusal) => panic!("{refusal:?}"),
        }
        digests.push(state.digest());
        leases.clone()
    };

    apply(state, put("api"));
    apply(state, put("other"));
    apply(state, acquire("a", Load::Scalar(10)));
    apply(state, acquire("b", Load::Map(BTreeMap::from([(LimitName::new("input").unwrap(), 7)]))));
    let leases = apply(state, acquire("c", Load::Scalar(20)));

    apply(
        state,
        Command::Extend(Extend { lease: leases[1], ttl_ms: Some(TtlMs::new(30_000).unwrap()) }),
    );

    apply(state, Command::Release(Release { lease: leases[0], used: Some(Load::Scalar(5)) }));
    let patch = ResourcePatch { lease: Patch::Reset, ..ResourcePatch::default() };
    let resource = ResourceName::new("api").unwrap();

    apply(
        state,
        Command::PatchResource(PatchResource {
            request: request("patch"),
            resource,
            patch,
            condition: Condition::Any,
        }),
    );

    let resource = ResourceName::new("other").unwrap();
    apply(
        state,
        Command::DeleteResource(DeleteResource {
            request: request("delete"),
            resource,
            condition: Condition::Any,
        }),
    );

    // The same key again, and time that lets leases expire.
    apply(state, acquire("b", Load::Map(BTreeMap::from([(LimitName::new("input").unwrap(), 7)]))));
    apply(state, Command::Tick);
    digests
}

#[test]
fn at_level_1_all_that_is_stored_is_what_it_was() {
    assert_eq!(work(&mut State::new()), LEVEL_1);
}
