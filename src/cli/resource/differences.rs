//! What `ratequeue resource apply` shows of a resource before and after.

use std::collections::{BTreeMap, BTreeSet};

use ratequeue_api::resource::{Algorithm, Kind, LeaseTimes, TrueUp};
use ratequeue_api::{Queue, Resource, ResourceView};
use serde_json::Value;

use crate::cli::output::NONE;

/// What the server adds to a resource.
pub const ADDED: [&str; 3] = ["name", "version", "effective_index"];

/// What an existing resource would differ in, as lines of field, old and new value.
pub fn differences(now: &ResourceView, wanted: &Resource) -> Vec<String> {
    let mut old = flat(&serde_json::to_value(now).unwrap_or_default());
    old.retain(|field, _| !ADDED.contains(&field.as_str()));
    if wanted.placement.is_none() {
        old.remove("placement");
    }

    let new = flat(&serde_json::to_value(with_defaults(wanted)).unwrap_or_default());
    let fields: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let differing = fields.into_iter().filter(|field| old.get(*field) != new.get(*field));
    let show = |value: Option<&Value>| value.map_or_else(|| NONE.to_owned(), ToString::to_string);
    differing
        .map(|field| format!("{field}: {} -> {}", show(old.get(field)), show(new.get(field))))
        .collect()
}

/// A new resource as lines of field and value, without what is left to its defaults.
pub fn as_written(wanted: &Resource) -> Vec<String> {
    let mut fields = flat(&serde_json::to_value(wanted).unwrap_or_default());
    let defaults = serde_json::json!({ "queue": Queue::default(), "lease": LeaseTimes::default() });
    for (field, default) in flat(&defaults) {
        if fields.get(&field) == Some(&default) {
            fields.remove(&field);
        }
    }
    fields.into_iter().map(|(field, value)| format!("{field}: {value}")).collect()
}

/// The resource with the defaults that the server will fill in, so that they are no differences.
fn with_defaults(wanted: &Resource) -> Resource {
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

/// The values by their paths, like `limits.tpm.quota`.
fn flat(value: &Value) -> BTreeMap<String, Value> {
    fn flatten(at: &str, value: &Value, out: &mut BTreeMap<String, Value>) {
        match value {
            Value::Object(map) => {
                for (key, value) in map {
                    let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                    flatten(&at, value, out);
                }
            }
            Value::Null
            | Value::Bool(_)
            | Value::Number(_)
            | Value::String(_)
            | Value::Array(_) => {
                out.insert(at.to_owned(), value.clone());
            }
        }
    }

    let mut out = BTreeMap::new();
    flatten("", value, &mut out);
    out
}
