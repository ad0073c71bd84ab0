//! `ratequeue resource`: limits as files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use ratequeue_api::object::unique;
use ratequeue_api::resource::{Algorithm, Kind, TrueUp};
use ratequeue_api::{Resource as Wire, ResourceView};
use serde::Deserialize;
use serde_json::Value;

use super::{Server, failed, print, resource_name, table};
use crate::exit::{Exit, Failed};

/// Items on the pages that a list is read in.
const PAGE_ITEMS: u64 = 500;
/// Entries that one folder may hold, whatever they are.
const ENTRIES_MAX: usize = 10_000;

/// Limits as files: apply, get, list, delete
#[derive(Debug, Subcommand)]
pub enum Resource {
    /// Creates and changes resources as files say
    Apply(Apply),
    /// Shows a resource
    Get(Get),
    /// Lists resources
    List(List),
    /// Deletes resources: waiting leases end, held ones are forgotten
    Delete(Delete),
}

/// Creates and changes resources as files say. A file is TOML or JSON: `[resources.NAME.limits.LIMIT]`
#[derive(Debug, Args)]
pub struct Apply {
    /// A file, or a folder of .toml and .json files
    #[arg(short, long, value_name = "FILE|DIR")]
    file: PathBuf,
    /// Only shows what would change
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    server: Server,
}

/// Shows a resource
#[derive(Debug, Args)]
pub struct Get {
    /// Its name
    #[arg(value_parser = resource_name)]
    name: String,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Lists resources
#[derive(Debug, Args)]
pub struct List {
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

/// Deletes resources: waiting leases end, held ones are forgotten
#[derive(Debug, Args)]
pub struct Delete {
    /// Their names
    #[arg(required = true, value_parser = resource_name)]
    names: Vec<String>,
    #[command(flatten)]
    server: Server,
}

/// A file of resources.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(deserialize_with = "unique")]
    resources: BTreeMap<String, Wire>,
}

impl Resource {
    pub async fn run(self) -> Result<Exit, Failed> {
        match self {
            Self::Apply(apply) => apply.run().await,
            Self::Get(get) => get.run().await,
            Self::List(list) => list.run().await,
            Self::Delete(delete) => delete.run().await,
        }
    }
}

impl Apply {
    async fn run(self) -> Result<Exit, Failed> {
        let resources = read(&self.file)?;
        let client = self.server.client()?;
        for (name, wanted) in &resources {
            let now = client.resource(name).await.map_err(failed)?;
            let changes = differences(now.as_ref(), wanted);
            if now.is_some() && changes.is_empty() {
                print(&format!("{name}: unchanged\n"));
                continue;
            }
            if !self.dry_run {
                client.put_resource(name, wanted).await.map_err(|error| {
                    let failed = failed(error);
                    Failed::new(failed.exit, format!("{name}: {}", failed.text))
                })?;
            }
            let would = if self.dry_run { "would be " } else { "" };
            let done = if now.is_some() { "changed" } else { "created" };
            print(&format!("{name}: {would}{done}\n"));
            for change in changes {
                print(&format!("  {change}\n"));
            }
        }
        Ok(Exit::Done)
    }
}

fn read(path: &Path) -> Result<BTreeMap<String, Wire>, Failed> {
    let cannot = |path: &Path, error: String| Failed::new(Exit::Usage, format!("{}: {error}", path.display()));
    let mut files = Vec::new();
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(|error| cannot(path, error.to_string()))?;
        for (number, entry) in entries.enumerate() {
            if number >= ENTRIES_MAX {
                let text = format!("there are more than {ENTRIES_MAX} entries in this folder: apply them in several");
                return Err(cannot(path, text));
            }
            let file = entry.map_err(|error| cannot(path, error.to_string()))?.path();
            if file.extension().is_some_and(|kind| kind == "toml" || kind == "json") {
                files.push(file);
            }
        }
        files.sort();
        if files.is_empty() {
            return Err(cannot(path, "there is no .toml or .json file in this folder".to_owned()));
        }
    } else {
        files.push(path.to_owned());
    }
    let mut resources = BTreeMap::new();
    for file in files {
        let text = std::fs::read_to_string(&file).map_err(|error| cannot(&file, error.to_string()))?;
        let parsed: File = if file.extension().is_some_and(|kind| kind == "json") {
            serde_json::from_str(&text).map_err(|error| cannot(&file, error.to_string()))?
        } else {
            toml::from_str(&text).map_err(|error| cannot(&file, error.to_string()))?
        };
        for (name, resource) in parsed.resources {
            if resources.insert(name.clone(), resource).is_some() {
                return Err(cannot(&file, format!("{name} is in another file too")));
            }
        }
    }
    Ok(resources)
}

/// What a resource would differ in, as lines of field, old and new value.
fn differences(now: Option<&ResourceView>, wanted: &Wire) -> Vec<String> {
    let (mut old, mut new) = (BTreeMap::new(), BTreeMap::new());
    if let Some(now) = now {
        flatten("", &serde_json::to_value(now).unwrap_or_default(), &mut old);
        old.retain(|field, _| !matches!(field.as_str(), "name" | "version" | "effective_index"));
    }
    flatten("", &serde_json::to_value(with_defaults(wanted)).unwrap_or_default(), &mut new);
    if wanted.placement.is_none() {
        old.remove("placement");
    }
    let fields: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = fields.into_iter().filter(|field| old.get(*field) != new.get(*field));
    let show = |value: Option<&Value>| value.map_or_else(|| "-".to_owned(), ToString::to_string);
    differing.map(|field| format!("{field}: {} -> {}", show(old.get(field)), show(new.get(field)))).collect()
}

/// The resource with the defaults that the server will fill in, so that they are no differences.
fn with_defaults(wanted: &Wire) -> Wire {
    let mut full = wanted.clone();
    for limit in full.limits.values_mut() {
        let rate = limit.kind == Kind::Rate;
        limit.cost.get_or_insert_with(|| if rate { "load".to_owned() } else { "one".to_owned() });
        if rate {
            limit.algorithm.get_or_insert(Algorithm::SlidingWindow);
            limit.true_up.get_or_insert(TrueUp::Both);
        }
    }
    full
}

fn flatten(at: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                flatten(&at, value, out);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => {
            out.insert(at.to_owned(), value.clone());
        }
    }
}

impl Get {
    async fn run(self) -> Result<Exit, Failed> {
        let view = self.server.client()?.resource(&self.name).await.map_err(failed)?;
        let Some(view) = view else {
            return Err(Failed::new(Exit::Failed, format!("no resource is named {}", self.name)));
        };
        print(&if self.json { json(&view) } else { table(&rows(&[view])) });
        Ok(Exit::Done)
    }
}

impl List {
    async fn run(self) -> Result<Exit, Failed> {
        let client = self.server.client()?;
        let (mut views, mut cursor, mut unreachable) = (Vec::new(), None, BTreeSet::new());
        loop {
            let page = client.resources(PAGE_ITEMS, cursor.as_deref()).await.map_err(failed)?;
            views.extend(page.items);
            unreachable.extend(page.unreachable);
            cursor = page.next_cursor;
            if cursor.is_none() {
                break;
            }
        }
        print(&if self.json { json(&views) } else { table(&rows(&views)) });
        if unreachable.is_empty() {
            return Ok(Exit::Done);
        }
        let regions = unreachable.into_iter().collect::<Vec<_>>().join(", ");
        let text =
            format!("the list is not whole: the asked node cannot reach {regions}. Ask a node there (--url), or later");
        Err(Failed::new(Exit::Failed, text))
    }
}

impl Delete {
    async fn run(self) -> Result<Exit, Failed> {
        let client = self.server.client()?;
        let mut failures = Vec::new();
        for name in &self.names {
            match client.delete_resource(name).await.map_err(failed) {
                Ok(()) => print(&format!("{name}: deleted\n")),
                Err(failed) => failures.push((failed.exit, format!("{name}: {}", failed.text))),
            }
        }
        let Some((exit, _)) = failures.first() else { return Ok(Exit::Done) };
        let texts: Vec<_> = failures.iter().map(|(_, text)| text.as_str()).collect();
        Err(Failed::new(*exit, texts.join("\nratequeue: ")))
    }
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// A row for each limit.
fn rows(views: &[ResourceView]) -> Vec<Vec<String>> {
    let titles = ["RESOURCE", "PLACEMENT", "LIMIT", "KIND", "QUOTA", "WINDOW", "COST", "VERSION"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    for view in views {
        for (name, limit) in &view.limits {
            let kind = match (limit.kind, limit.algorithm) {
                (Kind::Concurrency, _) => "concurrency",
                (Kind::Rate, Some(Algorithm::TokenBucket)) => "token_bucket",
                (Kind::Rate, Some(Algorithm::SlidingWindow) | None) => "sliding_window",
            };
            rows.push(vec![
                view.name.clone(),
                view.placement.clone(),
                name.clone(),
                kind.to_owned(),
                limit.quota.to_string(),
                limit.window_ms.map_or_else(|| "-".to_owned(), |ms| format!("{ms}ms")),
                limit.cost.clone().unwrap_or_default(),
                view.version.to_string(),
            ]);
        }
    }
    rows
}
