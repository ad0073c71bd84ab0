//! `ratequeue tail`: what happens, as it happens.

use clap::Args;
use ratequeue_api::client::{EventMessage, EventsRequest};
use ratequeue_api::event::{Event, EventKind};

use super::completions::resource_names;
use super::output::{json_line, print_line};
use super::{Server, duration, failed, resource_name};
use crate::cli::exit::{Exit, Failed};

/// Shows what happens, as it happens: who waits, who is granted, what ends
///
/// Of all resources that the asked node decides or follows, those of its region and the global
/// ones, until it is interrupted. When a node is lost it goes on at the next one where it was.
#[derive(Debug, Args)]
pub struct Tail {
    /// Which resources, in whatever region; all of the asked node when none is named
    #[arg(value_name = "NAME", value_parser = resource_name, add = resource_names())]
    names: Vec<String>,
    /// Only these kinds, separated by commas: granted, queued, released, ...
    #[arg(long, value_delimiter = ',', value_name = "KINDS", value_parser = kind())]
    kinds: Vec<EventKind>,
    /// Of another region, or only of `global`
    #[arg(long, conflicts_with = "names", value_name = "REGION")]
    region: Option<String>,
    /// As JSON: an object on each line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Reads a kind, and offers all of them.
fn kind() -> impl clap::builder::TypedValueParser<Value = EventKind> {
    use clap::builder::{PossibleValuesParser, TypedValueParser};
    let names = EventKind::ALL.iter().map(|kind| kind.as_str());
    PossibleValuesParser::new(names).try_map(|name| name.parse::<EventKind>())
}

impl Tail {
    pub async fn run(self) -> Result<Exit, Failed> {
        let Self { names: resources, kinds, region, json, server } = self;
        let mut events = server.client()?.events(&EventsRequest { resources, kinds, region });

        loop {
            match events.next().await.map_err(failed)? {
                EventMessage::Ready(_) => {}
                EventMessage::Event(event) => {
                    let line = if json { json_line(&event) } else { line(&event) };
                    if !print_line(&line) {
                        return Ok(Exit::Done);
                    }
                }
                EventMessage::Gap(gap) => {
                    eprintln!(
                        "ratequeue: some events of group {} are not known any more: it goes on at log index {}",
                        gap.group, gap.first_index
                    );
                }
                EventMessage::Lagged(lagged) => {
                    eprintln!(
                        "ratequeue: too slow, some events of group {} are missing: it goes on with what comes",
                        lagged.group
                    );
                }
            }
        }
    }
}

/// An event as a line: when, where, what, and how the resource stands after it.
fn line(event: &Event) -> String {
    let subject = event.resource.as_deref().unwrap_or(&event.group);
    let mut line = format!("{}  {subject}  {}", time_of_day(event.at_ms), event.kind);
    let mut say = |text: String| {
        line.push(' ');
        line.push_str(&text);
    };

    if let Some(id) = &event.id {
        say(id.clone());
    }
    if let Some(load) = event.load {
        say(format!("load {load}"));
    }
    if let Some(priority) = event.priority {
        say(format!("priority {priority}"));
    }
    if let Some(waited) = event.waited_ms {
        say(format!("waited {}", duration::about(waited)));
    }
    if let Some(token) = event.fencing_token {
        say(format!("token {token}"));
    }
    if let Some(reason) = event.reason {
        say(reason.as_str().to_owned());
    }
    if let Some(version) = event.version {
        say(format!("version {version}"));
    }
    if let Some((leader, term)) = event.leader.zip(event.term) {
        say(format!("node {leader} in term {term}"));
    }
    if let Some((held, waiting)) = event.held.zip(event.queue_depth) {
        say(format!("({held} held, {waiting} waiting)"));
    }
    line
}

/// A time as hours, minutes, seconds and milliseconds of its day, UTC.
fn time_of_day(at_ms: u64) -> String {
    let (seconds, ms) = (at_ms / 1000, at_ms % 1000);
    let (hours, minutes) = (seconds / 3_600 % 24, seconds / 60 % 60);
    format!("{hours:02}:{minutes:02}:{:02}.{ms:03}Z", seconds % 60)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_line_says_what_happened_and_how_it_stands() {
        let event: Event = serde_json::from_value(serde_json::json!({
            "kind": "granted", "group": "eu", "log_index": 7, "ordinal": 1, "at_ms": 45_296_789,
            "resource": "a", "id": "eu.1", "load": 3, "priority": 5, "fencing_token": 9,
            "waited_ms": 1500, "queue_depth": 2, "held": 1
        }))
        .unwrap();
        assert_eq!(
            line(&event),
            "12:34:56.789Z  a  granted eu.1 load 3 priority 5 waited 1500ms token 9 (1 held, 2 waiting)"
        );
        let leader: Event = serde_json::from_value(serde_json::json!({
            "kind": "leader_changed", "group": "eu", "log_index": 7, "ordinal": 1, "at_ms": 0,
            "leader": 2, "term": 4
        }))
        .unwrap();
        assert_eq!(line(&leader), "00:00:00.000Z  eu  leader_changed node 2 in term 4");
    }
}
