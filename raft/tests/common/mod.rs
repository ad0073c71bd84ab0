//! What the tests of the group share: nodes in temporary folders, and commands.
#![allow(
    dead_code,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

pub mod hub;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ratequeue_limiter::{
    Acquire, Command, Condition, Cost, Event, LEVEL_MAX, LeaseId, LeaseSpec, LeaseView, LimitName,
    LimitSpec, Load, Metadata, Phase, Priority, PutResource, QueueSpec, Release, Reply, RequestId,
    ResourceName, ResourceSpec, Rule, TrueUp, TtlMs, WaitMs,
};
use ratequeue_raft::{
    Address, Attachment, CheckpointPolicy, EventBatch, Group, GroupOptions, Happening, NoTransport,
    OpenError, Timing, Transport, Woken,
};
use ratequeue_storage::{SpaceProbe, StateOptions, StateStore};

/// No test waits longer for anything.
pub const DEADLINE: Duration = Duration::from_secs(20);

pub fn init_log() {
    let filter =
        tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "off".into());
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
}

pub fn name(text: &str) -> ResourceName {
    ResourceName::new(text).unwrap()
}

pub fn request(text: &str) -> RequestId {
    RequestId::new(text).unwrap()
}

/// A resource with so many slots.
pub fn put(resource: &str, quota: u64) -> Command {
    let limit =
        LimitSpec { rule: Rule::Concurrency { quota }, cost: Cost::One, true_up: TrueUp::Both };
    let spec = ResourceSpec {
        limits: BTreeMap::from([(LimitName::new("slots").unwrap(), limit)]),
        queue: QueueSpec::default(),
        lease: LeaseSpec { default_ttl_ms: 60_000, max_ttl_ms: 900_000 },
    };
    let resource = name(resource);
    let request = request(&format!("put-{resource}-{quota}"));
    Command::PutResource(PutResource { request, resource, spec, condition: Condition::Any })
}

pub fn acquire_for(resource: &str, id: &str, wait_ms: u64, ttl_ms: u64) -> Command {
    Command::Acquire(Acquire {
        request: request(id),
        resource: name(resource),
        load: Load::Scalar(1),
        priority: Priority::DEFAULT,
        wait_ms: WaitMs::new(wait_ms).unwrap(),
        ttl_ms: Some(TtlMs::new(ttl_ms).unwrap()),
        metadata: Metadata::default(),
    })
}

/// An acquire that waits up to a minute, with a lease of a minute.
pub fn acquire(resource: &str, id: &str) -> Command {
    acquire_for(resource, id, 60_000, 60_000)
}

pub fn release(lease: LeaseId) -> Command {
    Command::Release(Release { lease, used: None })
}

/// Submits, and expects an accepted acquire.
pub async fn acquired(group: &Group, command: Command) -> LeaseView {
    match group.submit_local(command).await.unwrap().outcome {
        Ok(Reply::Acquired(view)) => view,
        other => panic!("not acquired: {other:?}"),
    }
}

/// The events of a batch.
pub fn happened(batch: &EventBatch) -> &[Event] {
    match &batch.what {
        Happening::Events(events) => events,
        Happening::NewLeader { .. } => &[],
    }
}

pub fn is_held(view: &LeaseView) -> bool {
    matches!(view.phase, Phase::Held(_))
}

pub fn lease(group: &Group, id: LeaseId) -> Option<LeaseView> {
    group.read(|state, now| state.lease(id, now))
}

/// Waits until `ready` gives something, looking every few milliseconds.
pub async fn eventually<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(begun.elapsed() < DEADLINE, "{what}: not within {DEADLINE:?}");
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// The value of a future, within the deadline.
pub async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(DEADLINE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {DEADLINE:?}"),
    }
}

/// A call that waits from now on, and not only once it is asked: it sleeps until it is woken.
pub fn asleep(mut attachment: Attachment) -> impl Future<Output = Woken> {
    let woken = tokio::spawn(async move { attachment.ended_waiting().await });
    async { woken.await.unwrap() }
}

#[derive(Clone)]
pub struct Opening {
    pub node: u64,
    pub timing: Timing,
    pub checkpoint: CheckpointPolicy,
    pub transport: Arc<dyn Transport>,
    pub others: Vec<(u64, Address)>,
    pub space: SpaceProbe,
    /// Where its log is, if not in `log`.
    pub log_dir: Option<PathBuf>,
}

impl Default for Opening {
    fn default() -> Self {
        // Checkpoints when a test asks for them.
        let checkpoint =
            CheckpointPolicy { log_bytes: u64::MAX, interval: Duration::from_secs(3600) };
        Self {
            node: 1,
            timing: Timing::default(),
            checkpoint,
            transport: Arc::new(NoTransport),
            others: Vec::new(),
            space: SpaceProbe::default(),
            log_dir: None,
        }
    }
}

/// Copies a folder with all that is in it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &to);
        } else {
            std::fs::copy(entry.path(), to).unwrap();
        }
    }
}

pub fn open_store(dir: &Path) -> StateStore {
    open_store_in(dir, SpaceProbe::default())
}

pub fn open_store_in(dir: &Path, space: SpaceProbe) -> StateStore {
    let options = StateOptions { pause: Duration::ZERO, space, ..StateOptions::default() };
    StateStore::open(dir.join("state"), options).unwrap().0
}

pub async fn try_open(dir: &Path, opening: &Opening) -> Result<Group, OpenError> {
    init_log();
    let options = GroupOptions {
        name: "test".into(),
        node: opening.node,
        log_dir: opening.log_dir.clone().unwrap_or_else(|| dir.join("log")),
        // On another thread: an earlier life, whose locks this waits for, ends on this one.
        store: tokio::task::spawn_blocking({
            let (dir, space) = (dir.to_path_buf(), opening.space.clone());
            move || open_store_in(&dir, space)
        })
        .await
        .unwrap(),
        timing: opening.timing,
        checkpoint: opening.checkpoint,
        transport: Arc::clone(&opening.transport),
        others: opening.others.clone(),
        is_store_replaceable: !opening.others.is_empty(),
    };

    // An earlier life of the node gives its locks back a moment after it was dropped.
    let begun = Instant::now();
    loop {
        match Group::open(options.clone()).await {
            Err(error) if error.to_string().contains("in use") && begun.elapsed() < DEADLINE => {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            other => return other,
        }
    }
}

/// A group of this node alone, formed and leading.
pub async fn open_alone(dir: &Path) -> Group {
    open_alone_with(dir, &Opening::default()).await
}

pub async fn open_alone_with(dir: &Path, opening: &Opening) -> Group {
    let group = try_open(dir, opening).await.unwrap();
    group.form(BTreeMap::from([(opening.node, Address::default())])).await.unwrap();
    // The first thing that it does is to raise the level.
    eventually("leads", || (group.is_leader() && group.level() == LEVEL_MAX).then_some(())).await;
    group
}
