//! Golden scripts: one scenario a file, in `tests/golden/<area>/<what it shows>`. The language is
//! described in `language/mod.rs`; `UPDATE_GOLDENFILES=1` writes what the core answers into the
//! files, to be read in the diff.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs
)]

mod language;
mod twins;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use goldenscript::ArgumentConsumer;
use language::{Result, print};
use ratequeue_limiter::{
    Acquire, Applied, Attend, Call, Command, Detach, Extend, Keepalive, LEVEL_MAX, LeaseId,
    LogTime, Outcome, Release, Reply, RequestId, ResourceName,
};
use twins::Twins;

/// Outcomes of one entry that are listed; more are counted.
const OUTCOMES_LISTED_MAX: usize = 12;
/// So many scripts there are: one that is lost is missed.
const SCRIPTS: usize = 179;

struct Script {
    twins: Twins,
    stamp: LogTime,
    labels: print::Labels,
    /// The lease that each request key stands for.
    keys: BTreeMap<String, LeaseId>,
    /// The commands of an entry that is being put together.
    batch: Option<Vec<(String, Command)>>,
    serial: u64,
}

impl Script {
    fn new() -> Self {
        Self {
            twins: Twins::at_level(LEVEL_MAX),
            stamp: LogTime(0),
            labels: print::Labels::default(),
            keys: BTreeMap::new(),
            batch: None,
            serial: 0,
        }
    }

    /// Applies one entry, or adds to the one that is being put together.
    fn submit(&mut self, subject: String, command: Command) -> Result<String> {
        if let Some(batch) = &mut self.batch {
            batch.push((subject, command));
            return Ok(String::new());
        }
        self.apply(vec![(subject, command)])
    }

    fn apply(&mut self, entry: Vec<(String, Command)>) -> Result<String> {
        let (subjects, commands): (Vec<_>, Vec<_>) = entry.into_iter().unzip();
        let applied = self.twins.apply(self.stamp, commands)?;
        for (subject, outcome) in subjects.iter().zip(&applied.outcomes) {
            if let Ok(Reply::Acquired(view)) = outcome {
                self.labels.name(view.id, subject);
                self.keys.insert(subject.clone(), view.id);
            }
        }
        Ok(self.report(&subjects, &applied))
    }

    fn report(&self, subjects: &[String], applied: &Applied) -> String {
        let mut lines = Vec::new();
        if applied.outcomes.len() <= OUTCOMES_LISTED_MAX {
            for (subject, outcome) in subjects.iter().zip(&applied.outcomes) {
                lines.push(format!("{subject}: {}", print::outcome(outcome)));
            }
        } else {
            let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
            for outcome in &applied.outcomes {
                *counts.entry(kind(outcome)).or_default() += 1;
            }
            lines.extend(counts.iter().map(|(kind, n)| format!("{n} times {kind}")));
        }
        lines.extend(self.labels.events(&applied.events));
        lines.join("\n")
    }

    fn lease(&self, key: &str) -> Result<LeaseId> {
        Ok(*self.keys.get(key).ok_or_else(|| format!("no lease of key {key}"))?)
    }

    fn next_lease(&self, args: &mut ArgumentConsumer<'_>) -> Result<(String, LeaseId)> {
        let key = args.next_pos().ok_or("which lease?")?.value.clone();
        Ok((key.clone(), self.lease(&key)?))
    }

    /// Commands that enter the log; `None` for other words.
    fn command(
        &mut self,
        name: &str,
        args: &mut ArgumentConsumer<'_>,
    ) -> Result<Option<(String, Command)>> {
        self.serial += 1;
        if let Some(on_resource) = on_resource(name, args, self.serial)? {
            return Ok(Some(on_resource));
        }
        if let Some(on_lease) = self.on_lease(name, args)? {
            return Ok(Some(on_lease));
        }

        Ok(Some(match name {
            "raise" => {
                let level = u32::try_from(language::number_next(args)?)?;
                ("raise".to_owned(), Command::RaiseLevel(level))
            }
            "tick" => ("tick".to_owned(), Command::Tick),
            _ => return Ok(None),
        }))
    }

    /// Commands on leases; `None` for other words.
    fn on_lease(
        &self,
        name: &str,
        args: &mut ArgumentConsumer<'_>,
    ) -> Result<Option<(String, Command)>> {
        let serial = self.serial;
        Ok(Some(match name {
            "acquire" => {
                let acquire = language::acquire(args, serial)?;
                (acquire.request.to_string(), Command::Acquire(acquire))
            }
            "call" => {
                let call = args.lookup("call").map_or(Ok(1), |arg| arg.value.parse())?;
                let acquire = language::acquire(args, serial)?;
                (acquire.request.to_string(), Command::Call(Call { acquire, call }))
            }
            "attend" => {
                let (key, lease) = self.next_lease(args)?;
                (
                    format!("attend {key}"),
                    Command::Attend(Attend { lease, call: language::number_next(args)? }),
                )
            }
            "detach" | "forsake" => {
                let (key, lease) = self.next_lease(args)?;
                let calls = vec![(lease, language::number_next(args)?)];
                (
                    format!("{name} {key}"),
                    Command::Detach(Detach { calls, for_good: name == "forsake" }),
                )
            }
            "release" => {
                let (key, lease) = self.next_lease(args)?;
                (
                    format!("release {key}"),
                    Command::Release(Release { lease, used: language::used(args)? }),
                )
            }
            "extend" => {
                let (key, lease) = self.next_lease(args)?;
                (
                    format!("extend {key}"),
                    Command::Extend(Extend { lease, ttl_ms: language::ttl(args)? }),
                )
            }
            "keepalive" => {
                let keys = args.rest_pos();
                let leases =
                    keys.iter().map(|arg| self.lease(&arg.value)).collect::<Result<_>>()?;
                ("keepalive".to_owned(), Command::Keepalive(Keepalive { leases }))
            }
            _ => return Ok(None),
        }))
    }

    /// `crowd NAME N [arguments of acquire]`: N acquires in one entry, with the keys `<key>1`,
    /// `<key>2`, ...
    fn crowd(&mut self, args: &mut ArgumentConsumer<'_>) -> Result<String> {
        let mut first = language::acquire(args, 0)?;
        let count: u64 = args.next_pos().ok_or("how many?")?.parse()?;
        let key = first.request.to_string();
        let mut entry = Vec::new();
        for n in 1..=count {
            first.request = RequestId::new(&format!("{key}{n}"))?;
            entry.push((first.request.to_string(), Command::Acquire(Acquire::clone(&first))));
        }
        self.apply(entry)
    }

    /// Words that only look.
    fn look(&mut self, name: &str, args: &mut ArgumentConsumer<'_>) -> Result<String> {
        let state = &mut self.twins.state;
        let mut resource = || -> Result<ResourceName> {
            Ok(ResourceName::new(&args.next_pos().ok_or("which resource?")?.value)?)
        };

        Ok(match name {
            "get" => state
                .resource(&resource()?)
                .map_or("none".to_owned(), |view| print::resource(&view)),
            "list" => {
                let views = state.resources(None, 100);
                views.iter().map(|view| view.name.as_str()).collect::<Vec<_>>().join(" ")
            }
            "claims" => {
                let claims: Vec<_> = state.claims(None, 100).iter().map(print::claim).collect();
                if claims.is_empty() { "no claims".to_owned() } else { claims.join("\n") }
            }
            "show" => state
                .usage(&resource()?, self.stamp)
                .map_or("none".to_owned(), |usage| print::usage(&usage)),
            "queue" | "held" => {
                let (name, resource) = (name, resource()?);
                let views = match name {
                    "queue" => state.waiting(&resource, None, 100, self.stamp),
                    _ => state.held(&resource, None, 100, self.stamp),
                };
                let labels = views.iter().flatten().map(|view| self.labels.of(view.id));
                let labels: Vec<_> = labels.collect();
                format!(
                    "{name}: {}",
                    if labels.is_empty() { "nobody".to_owned() } else { labels.join(" ") }
                )
            }
            "lease" => {
                let key = args.next_pos().ok_or("which lease?")?.value.clone();
                let view = state.lease(*self.keys.get(&key).ok_or("no such lease")?, self.stamp);
                let text = view.map_or("none".to_owned(), |v| {
                    format!("{}; {}", print::lease(&v), print::said(&v))
                });
                format!("{key}: {text}")
            }
            "due" => state
                .next_due()
                .map_or("due: never".to_owned(), |at| format!("due: {}", print::time(at.0))),
            "now" => format!("now: {}", print::time(state.now().0)),
            "size" => {
                let early = state.forgotten_early();
                format!(
                    "{} records, {} live leases, {early} forgotten early",
                    state.records(),
                    state.leases_live()
                )
            }
            _ => return Err(format!("no such word: {name}").into()),
        })
    }
}

/// Commands on resources and their names; `None` for other words.
fn on_resource(
    name: &str,
    args: &mut ArgumentConsumer<'_>,
    serial: u64,
) -> Result<Option<(String, Command)>> {
    Ok(Some(match name {
        "put" => {
            let claim = language::claim_of_put(args)?;
            let put = language::put(args, serial)?;
            let subject = format!("put {}", put.resource);
            (subject, language::under(claim, put))
        }
        "claim" => {
            let claim = language::claim(args)?;
            (format!("claim {}", claim.resource), Command::Claim(claim))
        }
        "unclaim" => {
            let unclaim = language::unclaim(args)?;
            (format!("unclaim {}", unclaim.resource), Command::Unclaim(unclaim))
        }
        "fence" => {
            let fence = language::fence(args)?;
            (format!("fence {}", fence.resource), Command::Fence(fence))
        }
        "patch" => {
            let patch = language::patch(args, serial)?;
            (format!("patch {}", patch.resource), Command::PatchResource(patch))
        }
        "delete" => {
            let delete = language::delete(args, serial)?;
            (format!("delete {}", delete.resource), Command::DeleteResource(delete))
        }
        _ => return Ok(None),
    }))
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(Reply::Acquired(view)) => view.state().as_str(),
        Ok(_) => "done",
        Err(_) => "refused",
    }
}

impl goldenscript::Runner for Script {
    fn run(&mut self, command: &goldenscript::Command) -> Result<String> {
        let mut args = command.consume_args();
        let output = match command.name.as_str() {
            "at" => {
                self.stamp = language::log_time(&args.next_pos().ok_or("when?")?.value)?;
                String::new()
            }
            "begin" => {
                self.batch = Some(Vec::new());
                String::new()
            }
            "commit" => {
                let batch = self.batch.take().ok_or("nothing was begun")?;
                self.apply(batch)?
            }
            "level" => {
                self.twins = Twins::at_level(u32::try_from(language::number_next(&mut args)?)?);
                String::new()
            }
            "crowd" => self.crowd(&mut args)?,
            "reload" => {
                self.twins.reload()?;
                String::new()
            }
            name => match self.command(name, &mut args)? {
                Some((subject, command)) => self.submit(subject, command)?,
                None => self.look(name, &mut args)?,
            },
        };

        args.reject_rest()?;
        Ok(output)
    }

    fn end_script(&mut self) -> Result<()> {
        Ok(self.twins.finish()?)
    }
}

fn scripts(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { scripts(&path, found) } else { found.push(path) }
    }
}

#[test]
fn golden_scripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let mut paths = Vec::new();
    scripts(&folder, &mut paths);
    paths.sort();
    let mut failed = String::new();

    for path in &paths {
        let run = || goldenscript::run(&mut Script::new(), path);
        let name = path.strip_prefix(&folder).unwrap().display();
        match std::panic::catch_unwind(run) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => _ = writeln!(failed, "{name}: {error}"),
            Err(_) => _ = writeln!(failed, "{name}: the output differs, see above"),
        }
    }

    assert!(failed.is_empty(), "{} scripts\n{failed}", paths.len());
    assert_eq!(paths.len(), SCRIPTS, "scripts came or went: say so in SCRIPTS");
}
