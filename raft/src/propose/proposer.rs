//! The proposer: puts all commands that wait into one entry, and proposes it when few enough are in
//! flight.
//!
//! ```text
//!  submit --> bounded queue --> waiting --[fewer than N in flight]--> stamp, encode, propose --> answered by apply
//!                                  |                                         |
//!                                  +-- too long: NoQuorum                    +-- too long: UnknownOutcome
//! ```
//! There is no timer that gathers: what comes while entries are in flight is the next batch.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use ratequeue_limiter::Command;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::caps;
use crate::consensus::state_machine::Raft;
use crate::error::SubmitError;
use crate::format::batch;
use crate::format::types::{Data, LeaderId};
use crate::health::Health;
use crate::propose::level;
use crate::propose::proposal::{self, Callers, Submitted};
use crate::propose::space::{Room, Space};
use crate::replica::Replica;
use crate::transport::Transport;

/// What the proposer works with. [`Proposer::run`] runs it.
pub(crate) struct Proposer {
    pub raft: Raft,
    pub replica: Arc<Replica>,
    pub queue: mpsc::Receiver<Submitted>,
    pub stop: watch::Receiver<bool>,
    pub health: watch::Receiver<Health>,
    pub space: Arc<Space>,
    pub transport: Arc<dyn Transport>,
    /// After this long a caller is answered, one way or the other.
    pub patience: Duration,
    /// A leader that no majority has answered for this long does not decide.
    pub lease: Duration,
    /// Entries proposed and not yet applied.
    pub entries_in_flight: usize,
}

struct Running {
    proposer: Proposer,
    in_flight: Arc<Semaphore>,
    /// Taken from the queue, not yet proposed.
    waiting: VecDeque<Submitted>,
    /// Proposed, oldest first.
    proposed: VecDeque<Callers>,
}

impl Proposer {
    /// Until `stop` becomes true, or all handles are gone.
    pub async fn run(self) {
        let mut running = Running {
            in_flight: Arc::new(Semaphore::new(self.entries_in_flight)),
            proposer: self,
            waiting: VecDeque::new(),
            proposed: VecDeque::new(),
        };
        running.run().await;
        running.finish().await;
    }
}

impl Running {
    async fn run(&mut self) {
        let mut alarm = std::pin::pin!(tokio::time::sleep(self.proposer.patience));
        let mut fresh = Vec::new();

        loop {
            let room = caps::ENTRY_COMMANDS_MAX.saturating_sub(self.waiting.len());
            tokio::select! {
                biased;
                _ = self.proposer.stop.changed() => return,
                () = alarm.as_mut(), if self.oldest().is_some() => {
                    self.give_up();
                    alarm.as_mut().reset(self.next_look().into());
                }
                permit = Arc::clone(&self.in_flight).acquire_owned(), if !self.waiting.is_empty() => {
                    let Ok(permit) = permit else { return };
                    self.take_waiting();
                    self.propose(permit).await;
                }
                got = self.proposer.queue.recv_many(&mut fresh, room), if room > 0 => {
                    if got == 0 {
                        return;
                    }
                    let idle = self.oldest().is_none();
                    self.waiting.extend(fresh.drain(..));
                    self.refuse_without_quorum();
                    if idle {
                        alarm.as_mut().reset(self.next_look().into());
                    }
                }
            }
        }
    }

    /// When the oldest command or entry that is not answered came.
    fn oldest(&mut self) -> Option<Instant> {
        while self.proposed.front().is_some_and(Callers::answered) {
            self.proposed.pop_front();
        }
        let proposed = self.proposed.front().map(|callers| callers.since);
        let waiting = self.waiting.front().map(|submitted| submitted.since);
        proposed.into_iter().chain(waiting).min()
    }

    /// When to look again who has waited for too long: at the latest when the quorum may have been
    /// lost meanwhile.
    fn next_look(&mut self) -> Instant {
        let now = Instant::now();
        let late = self.oldest().map_or(now, |oldest| oldest) + self.proposer.patience;
        late.min(now + self.proposer.lease)
    }

    /// Answers all who have waited for too long, and those who would wait in vain.
    fn give_up(&mut self) {
        self.refuse_without_quorum();
        let now = Instant::now();
        let patience = self.proposer.patience;
        let late = |since: Instant| now.saturating_duration_since(since) >= patience;
        for callers in self.proposed.iter().take_while(|callers| late(callers.since)) {
            callers.refuse(SubmitError::UnknownOutcome);
        }
        while self.waiting.front().is_some_and(|submitted| late(submitted.since)) {
            if let Some(submitted) = self.waiting.pop_front() {
                submitted.refuse(SubmitError::NoQuorum);
            }
        }
    }

    /// A leader that has lost its majority decides nothing, and says so to those who would wait for
    /// what is in flight.
    fn refuse_without_quorum(&mut self) {
        let lost = |silence| silence > self.proposer.lease;
        if self.proposer.replica.roles.leading()
            && quorum_silence(&self.proposer.raft).is_some_and(lost)
        {
            self.refuse_waiting(SubmitError::NoQuorum);
        }
    }

    /// Takes what has come meanwhile too, so that one entry carries all there is.
    fn take_waiting(&mut self) {
        while self.waiting.len() < caps::ENTRY_COMMANDS_MAX {
            let Ok(submitted) = self.proposer.queue.try_recv() else { return };
            self.waiting.push_back(submitted);
        }
        debug_assert!(self.waiting.len() <= caps::ENTRY_COMMANDS_MAX, "an entry has a bound");
    }

    async fn propose(&mut self, permit: OwnedSemaphorePermit) {
        let role = self.proposer.replica.roles.get();
        let Some(leadership) = role.leading else {
            let error = if *self.proposer.health.borrow() == Health::Running {
                let leader = role.leader.filter(|leader| *leader != self.proposer.replica.node);
                SubmitError::NotLeader { leader }
            } else {
                SubmitError::ShuttingDown
            };
            self.refuse_waiting(error);
            return;
        };

        self.keep_within(self.proposer.space.room());
        self.keep_to_level();
        if self.waiting.is_empty() {
            return;
        }

        if quorum_silence(&self.proposer.raft).is_none() {
            // A new leader is asked to wait for the first answers of the others rather than to
            // refuse its first callers.
            tokio::time::sleep(caps::NEW_LEADER_POLL).await;
            return;
        }

        let Some((bytes, callers)) = self.encode() else { return };
        self.proposed.push_back(callers.clone());
        self.send(bytes, callers, permit, leadership).await;
    }

    /// Makes one entry of the commands that wait, as many as may be in one.
    fn encode(&mut self) -> Option<(Bytes, Callers)> {
        let mut commands: Vec<Command> = Vec::with_capacity(self.waiting.len());
        let mut rest = Vec::with_capacity(self.waiting.len());
        for submitted in self.waiting.drain(..) {
            commands.push(submitted.command);
            rest.push((submitted.answer, submitted.since));
        }

        let stamp = self.proposer.replica.clock.now();
        let mut count = commands.len();
        let encoded = loop {
            let encoded = batch::encode(stamp, commands.get(..count).unwrap_or_default());
            match &encoded {
                Ok(bytes) if bytes.len() <= caps::ENTRY_BYTES_MAX => break encoded,
                _ if count <= 1 => break encoded,
                _ => count /= 2,
            }
        };

        let left = commands.split_off(count).into_iter().zip(rest.split_off(count));
        self.waiting.extend(left.map(|(command, (answer, since))| Submitted {
            command,
            answer,
            since,
        }));

        let callers =
            Callers::new(rest.into_iter().map(|(answer, _)| answer).collect(), Instant::now());
        match encoded {
            Ok(_) if count == 0 => None,
            Ok(bytes) => Some((bytes, callers)),
            Err(error) => {
                tracing::error!(group = self.proposer.replica.group, %error, "a command cannot be put into the log");
                callers.refuse(SubmitError::Overloaded);
                None
            }
        }
    }

    async fn send(
        &self,
        bytes: Bytes,
        callers: Callers,
        permit: OwnedSemaphorePermit,
        leadership: LeaderId,
    ) {
        let data = Data { bytes, own: true };
        let completion = proposal::completion(callers, permit, self.proposer.replica.node);
        // Only under the leadership for which it was stamped: a later one may have to begin from
        // another base.
        let write = self.proposer.raft.write(data).responder(completion).with_leader(leadership);
        if let Err(error) = write.await {
            tracing::debug!(group = self.proposer.replica.group, %error, "the core has stopped");
        }
    }

    fn refuse_waiting(&mut self, error: SubmitError) {
        self.waiting.drain(..).for_each(|submitted| submitted.refuse(error));
    }

    /// Refuses what the disk has no room for.
    fn keep_within(&mut self, room: Room) {
        if room == Room::Enough {
            return;
        }
        self.refuse_if(SubmitError::StorageFull, |command| room < room_for(command));
    }

    /// Refuses what some members of the group could not read.
    fn keep_to_level(&mut self) {
        let Proposer { raft, replica, transport, .. } = &self.proposer;
        let level = replica.level();
        if self.waiting.iter().all(|submitted| submitted.command.level() <= level) {
            return;
        }
        let behind =
            level::followed_by_all(raft, replica, &**transport).and_then(|(_, behind)| behind);
        self.refuse_if(SubmitError::FeatureNotEnabled { behind }, |command| {
            command.level() > level
        });
    }

    /// Refuses those that wait to be proposed whose command is such a one.
    fn refuse_if(&mut self, error: SubmitError, is_such: impl Fn(&Command) -> bool) {
        for submitted in std::mem::take(&mut self.waiting) {
            if is_such(&submitted.command) {
                submitted.refuse(error);
            } else {
                self.waiting.push_back(submitted);
            }
        }
    }

    /// Refuses what was not proposed, and waits a while for what was.
    async fn finish(&mut self) {
        self.proposer.queue.close();
        while let Ok(submitted) = self.proposer.queue.try_recv() {
            submitted.refuse(SubmitError::ShuttingDown);
        }
        self.refuse_waiting(SubmitError::ShuttingDown);
        let all = u32::try_from(self.proposer.entries_in_flight).unwrap_or(u32::MAX);
        // What is not applied by then is answered as unknown when the core drops it.
        let _ = tokio::time::timeout(caps::SHUTDOWN_DRAIN, self.in_flight.acquire_many(all)).await;
    }
}

/// How much room there must be for a command: least for what gives something back.
fn room_for(command: &Command) -> Room {
    match command {
        Command::PutResource(_)
        | Command::PatchResource(_)
        | Command::Acquire(_)
        | Command::Call(_)
        | Command::Claim(_)
        | Command::PutClaimed(_) => Room::Enough,
        Command::Extend(_)
        | Command::DeleteResource(_)
        | Command::Keepalive(_)
        | Command::Attend(_)
        | Command::RaiseLevel(_) => Room::Low,
        Command::Release(_)
        | Command::Detach(_)
        | Command::Unclaim(_)
        | Command::Fence(_)
        | Command::Tick => Room::Scarce,
    }
}

/// How long ago a majority answered this leader; `None` when none has yet. openraft refuses what a
/// leader proposes that has lost its majority, but not what waits to be proposed.
pub(crate) fn quorum_silence(raft: &Raft) -> Option<Duration> {
    use openraft::async_runtime::{Instant as _, WatchReceiver};
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let mut voters = metrics.membership_config.voter_ids();
    if voters.next() == Some(metrics.id) && voters.next().is_none() {
        return Some(Duration::ZERO);
    }
    metrics.last_quorum_acked.as_ref().map(|acked| acked.elapsed())
}
