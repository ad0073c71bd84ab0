//! Files of resources: TOML or JSON, written by people or printed by `ratequeue resource get` and
//! `list`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ratequeue_api::Resource;
use ratequeue_api::object::unique;
use serde::Deserialize;
use serde_json::Value;

use super::differences::ADDED;
use crate::cli::exit::{Exit, Failed};

/// Entries that one folder may hold, whatever they are.
const ENTRIES_MAX: usize = 10_000;

/// Why a text is no file of resources.
#[derive(Debug, thiserror::Error)]
enum InvalidResources {
    #[error(transparent)]
    Toml(#[from] toml::de::Error),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error("a resource in the list has no name")]
    NoName,
    #[error("{name}: {why}")]
    Resource { name: String, why: serde_json::Error },
    #[error("{0} is there twice")]
    Twice(String),
}

/// A file of resources.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(deserialize_with = "unique")]
    resources: BTreeMap<String, Resource>,
}

/// Reads files, and the files in folders; `-` is standard input.
///
/// # Errors
/// What is wrong in which file; a name that is there twice.
pub fn read(paths: &[PathBuf]) -> Result<BTreeMap<String, Resource>, Failed> {
    let mut resources = BTreeMap::new();
    for path in paths {
        for file in files_of(path)? {
            let is_stdin = file.as_os_str() == "-";
            let text = if is_stdin {
                std::io::read_to_string(std::io::stdin())
            } else {
                std::fs::read_to_string(&file)
            };
            let text = text.map_err(|error| cannot(&file, error.to_string()))?;

            for (name, resource) in
                parse(&text, is_json(&file, &text)).map_err(|why| cannot(&file, why.to_string()))?
            {
                if resources.insert(name.clone(), resource).is_some() {
                    return Err(cannot(&file, format!("{name} is in another file too")));
                }
            }
        }
    }
    Ok(resources)
}

fn cannot(path: &Path, why: String) -> Failed {
    let name = if path.as_os_str() == "-" {
        "standard input".to_owned()
    } else {
        path.display().to_string()
    };
    Failed::new(Exit::Usage, format!("{name}: {why}"))
}

/// A file itself, or the files of a folder in the order of their names.
fn files_of(path: &Path) -> Result<Vec<PathBuf>, Failed> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }

    let mut files = Vec::new();
    let entries = std::fs::read_dir(path).map_err(|error| cannot(path, error.to_string()))?;
    for (number, entry) in entries.enumerate() {
        if number >= ENTRIES_MAX {
            let why = format!(
                "there are more than {ENTRIES_MAX} entries in this folder: apply them in several"
            );
            return Err(cannot(path, why));
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
    Ok(files)
}

/// By its name, or by how it begins: in TOML a `[` begins the name of a table, in JSON a list of
/// objects.
fn is_json(file: &Path, text: &str) -> bool {
    if let Some(kind) = file.extension() {
        return kind == "json";
    }
    let text = text.trim_start();
    let list = text.strip_prefix('[').map(str::trim_start);
    text.starts_with('{') || list.is_some_and(|list| list.starts_with(['{', ']']))
}

fn parse(text: &str, is_json: bool) -> Result<BTreeMap<String, Resource>, InvalidResources> {
    if !is_json {
        return Ok(toml::from_str::<File>(text)?.resources);
    }
    let is_printed = |value: &Value| value.is_array() || value.get("name").is_some();
    match serde_json::from_str::<Value>(text) {
        Ok(value) if is_printed(&value) => printed(value),
        // With the line of what is wrong, and names that are there twice.
        Ok(_) | Err(_) => Ok(serde_json::from_str::<File>(text)?.resources),
    }
}

/// One resource or a list of them, as `--json` prints them.
fn printed(value: Value) -> Result<BTreeMap<String, Resource>, InvalidResources> {
    let items = if let Value::Array(items) = value { items } else { vec![value] };
    let mut resources = BTreeMap::new();
    for mut item in items {
        let name =
            item.get("name").and_then(Value::as_str).ok_or(InvalidResources::NoName)?.to_owned();
        if let Some(fields) = item.as_object_mut() {
            fields.retain(|field, _| !ADDED.contains(&field.as_str()));
        }

        let resource = Resource::deserialize(item);
        let resource =
            resource.map_err(|why| InvalidResources::Resource { name: name.clone(), why })?;
        if resources.insert(name.clone(), resource).is_some() {
            return Err(InvalidResources::Twice(name));
        }
    }
    Ok(resources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standard_input_is_told_by_how_it_begins() {
        for (text, json) in [
            ("{\"resources\":{}}", true),
            ("  [ {\"name\":\"a\"} ]", true),
            ("[]", true),
            ("[resources.a]", false),
            ("[\"resources\".a]", false),
            ("# text\n[resources.a]", false),
            ("", false),
        ] {
            assert_eq!(is_json(Path::new("-"), text), json, "{text}");
        }
    }
}
