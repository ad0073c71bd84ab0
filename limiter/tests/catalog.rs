//! Creating and deleting by many at once, over the states of several groups: whatever is
//! interleaved, repeated or broken off, a name never exists in two groups, and can be created
//! again.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

use std::collections::BTreeMap;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use ratequeue_limiter::{
    ClaimName, Command, Condition, DeleteResource, FenceClaims, Kind, LEVEL_FIRST, LEVEL_MAX,
    LeaseSpec, LimitDraft, LimitName, LogTime, Outcome, Placement, PutClaimed, PutResource,
    QueueSpec, Refusal, Reply, RequestId, ResourceName, ResourceSpec, State, UnclaimName,
};

const SEEDS: u64 = 300;
const STEPS: usize = 400;
const AGENTS: usize = 6;
const PLACES: [&str; 3] = ["eu", "us", "global"];
const NAMES: [&str; 3] = ["a", "b", "c"];

/// A group: its state and its log index.
struct Group(State, u64);

impl Group {
    fn apply(&mut self, command: Command) -> Outcome {
        self.1 += 1;
        self.0.apply(self.1, LogTime(self.1), vec![command]).outcomes.remove(0)
    }
}

/// What an agent does next. Each is one message to one group; between two of them anything may
/// happen.
#[derive(Debug, Clone)]
enum Step {
    Claim { after: u64 },
    Create { place: &'static str, claim: u64, token: u64 },
    Delete { place: &'static str },
    Fence { place: &'static str, claim: u64 },
    Unclaim { claim: u64, token: u64 },
}

struct Agent {
    name: &'static str,
    wanted: &'static str,
    step: Step,
}

fn place(text: &str) -> &'static str {
    PLACES.into_iter().find(|place| *place == text).unwrap()
}

struct World {
    groups: BTreeMap<&'static str, Group>,
    random: StdRng,
    requests: u64,
    /// The highest fencing token that a resource of a name ever had.
    tokens: BTreeMap<&'static str, u64>,
    created: u64,
    /// Claims that were sent to look first where the name had been.
    past: u64,
}

impl World {
    fn new(seed: u64) -> Self {
        let level = if seed.is_multiple_of(3) { LEVEL_FIRST } else { LEVEL_MAX };
        let groups =
            PLACES.into_iter().map(|place| (place, Group(State::at_level(level), 0))).collect();
        Self {
            groups,
            random: StdRng::seed_from_u64(seed),
            requests: 0,
            tokens: BTreeMap::new(),
            created: 0,
            past: 0,
        }
    }

    fn at(&mut self, place: &str) -> &mut Group {
        self.groups.get_mut(place).unwrap()
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from[self.random.random_range(0..from.len())]
    }

    /// A new errand: to create a name somewhere, or to delete it where it is claimed.
    fn agent(&mut self) -> Agent {
        let (name, wanted) = (self.pick(&NAMES), self.pick(&PLACES));
        let claim = self.at("global").0.claim(&ResourceName::new(name).unwrap());
        let step = match claim {
            Some(claim) if self.random.random_bool(0.4) => {
                Step::Delete { place: place(claim.placement.as_str()) }
            }
            // A claim that is there already, perhaps long ago: its number is used as it was seen.
            Some(claim) if self.random.random_bool(0.5) => {
                let (place, token) = (place(claim.placement.as_str()), claim.fencing_token);
                Step::Create { place, claim: claim.number, token }
            }
            // Somebody cleans up what may be half done.
            Some(claim) if self.random.random_bool(0.5) => {
                Step::Fence { place: place(claim.placement.as_str()), claim: claim.number }
            }
            Some(_) | None => Step::Claim { after: 0 },
        };

        Agent { name, wanted, step }
    }

    /// Sends the agent's message; its next step, or none when it is done.
    fn act(&mut self, agent: &Agent) -> Option<Step> {
        let resource = ResourceName::new(agent.name).unwrap();
        match agent.step.clone() {
            Step::Claim { after } => {
                let claim =
                    ClaimName { resource, placement: Placement::new(agent.wanted).unwrap(), after };
                let claim = match self.at("global").apply(Command::Claim(claim)) {
                    Ok(Reply::Claimed { claim, .. }) => claim,
                    Err(Refusal::NamePast(past)) => {
                        self.past += 1;
                        assert!(past.number > after && !past.placements.is_empty(), "{past:?}");
                        return Some(Step::Claim { after: past.number });
                    }
                    other => panic!("{other:?}"),
                };
                let place = place(claim.placement.as_str());
                Some(Step::Create { place, claim: claim.number, token: claim.fencing_token })
            }
            Step::Create { place, claim, token } => {
                let put = put(resource, self.request());
                let put = PutClaimed { put, claim, fencing_token: token };
                match self.at(place).apply(Command::PutClaimed(put)) {
                    Err(Refusal::ClaimOutdated { fence }) => Some(Step::Claim { after: fence }),
                    Ok(Reply::Put { created, .. }) => {
                        self.created += u64::from(created);
                        self.grant(agent.name, place);
                        None
                    }
                    other => panic!("{other:?}"),
                }
            }
            Step::Delete { place } => {
                let delete =
                    DeleteResource { request: self.request(), resource, condition: Condition::Any };
                let deleted = self.at(place).apply(Command::DeleteResource(delete));
                assert!(
                    matches!(deleted, Ok(Reply::Deleted) | Err(Refusal::ResourceNotFound)),
                    "{deleted:?}"
                );
                let claim = self.at("global").0.claim(&ResourceName::new(agent.name).unwrap())?;
                (claim.placement.as_str() == place)
                    .then_some(Step::Fence { place, claim: claim.number })
            }
            Step::Fence { place, claim } => {
                let fence = FenceClaims { resource, number: claim };
                match self.at(place).apply(Command::Fence(fence)) {
                    Ok(Reply::Fenced { fencing_token }) => {
                        Some(Step::Unclaim { claim, token: fencing_token })
                    }
                    Err(Refusal::ResourceExists) => None,
                    other => panic!("{other:?}"),
                }
            }
            Step::Unclaim { claim, token } => {
                let unclaim = UnclaimName { resource, number: claim, fencing_token: token };
                assert_eq!(self.at("global").apply(Command::Unclaim(unclaim)), Ok(Reply::Noted));
                None
            }
        }
    }

    /// A grant of the resource has a higher fencing token than any before, in whatever group.
    fn grant(&mut self, name: &'static str, place: &str) {
        let acquire = ratequeue_limiter::Acquire {
            request: self.request(),
            resource: ResourceName::new(name).unwrap(),
            load: ratequeue_limiter::Load::Scalar(1),
            priority: ratequeue_limiter::Priority::DEFAULT,
            wait_ms: ratequeue_limiter::WaitMs::NONE,
            ttl_ms: None,
            metadata: ratequeue_limiter::Metadata::default(),
        };

        let Ok(Reply::Acquired(view)) = self.at(place).apply(Command::Acquire(acquire)) else {
            return;
        };

        let ratequeue_limiter::Phase::Held(grant) = view.phase else { return };
        let before = self.tokens.insert(name, grant.fencing_token).unwrap_or_default();
        assert!(
            grant.fencing_token > before,
            "{name}: token {} after {before}",
            grant.fencing_token
        );
    }

    fn request(&mut self) -> RequestId {
        self.requests += 1;
        RequestId::new(&format!("r{}", self.requests)).unwrap()
    }

    fn check(&self) {
        for name in NAMES {
            let name = ResourceName::new(name).unwrap();
            let homes: Vec<_> =
                self.groups.iter().filter(|(_, group)| group.0.resource(&name).is_some()).collect();
            assert!(
                homes.len() <= 1,
                "{name} is in {:?}",
                homes.iter().map(|(place, _)| place).collect::<Vec<_>>()
            );
            let claim = self.groups["global"].0.claim(&name);
            let claimed = claim.as_ref().map(|claim| claim.placement.as_str());
            assert!(
                homes.iter().all(|(place, _)| claimed == Some(**place)),
                "{name} is claimed for {claimed:?}"
            );
        }

        self.groups.values().for_each(|group| group.0.check().unwrap());
    }
}

fn put(resource: ResourceName, request: RequestId) -> PutResource {
    let draft = LimitDraft {
        kind: Some(Kind::Concurrency),
        quota: Some(1_000_000),
        ..LimitDraft::default()
    };
    let limits = BTreeMap::from([(LimitName::new("slots").unwrap(), draft)]);
    let spec = ResourceSpec::new(limits, QueueSpec::default(), LeaseSpec::default()).unwrap();
    PutResource { request, resource, spec, condition: Condition::Any }
}

#[test]
fn a_name_never_exists_in_two_groups() {
    let (mut created, mut past) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed);
        let mut agents: Vec<Agent> = (0..AGENTS).map(|_| world.agent()).collect();
        for _ in 0..STEPS {
            let who = world.random.random_range(0..AGENTS);
            let next = world.act(&agents[who]);
            world.check();
            // A message may be sent twice, and an agent may die between two of them.
            let fate = world.random.random_range(0..10);
            match next {
                _ if fate == 0 => {}
                Some(step) if fate > 1 => agents[who].step = step,
                _ => agents[who] = world.agent(),
            }
        }
        created += world.created;
        past += world.past;
    }

    assert!(created > SEEDS * 10, "only {created} resources were created");
    assert!(past > SEEDS, "only {past} names were remembered");
}
