//! `ratequeue resource list`.

use std::collections::BTreeSet;

use clap::Args;
use ratequeue_api::ResourceView;
use ratequeue_api::client::Client;

use super::{LIMIT_TITLES, limit_cells};
use crate::cli::exit::{Exit, Failed};
use crate::cli::output::{json, print, table};
use crate::cli::{Server, failed};

/// Items on the pages that a list is read in.
const PAGE_ITEMS: u64 = 500;

/// Lists resources
#[derive(Debug, Args)]
pub struct List {
    /// As JSON, which `resource apply` takes
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: Server,
}

impl List {
    pub async fn run(self) -> Result<Exit, Failed> {
        let (views, missing) = all(&self.server.client()?, usize::MAX).await?;
        print(&if self.json { json(&views) } else { rows(&views) });
        missing.map_or(Ok(Exit::Done), Err)
    }
}

/// The resources, or so many of them and up to a page more; and what to say when regions are
/// missing.
pub async fn all(
    client: &Client,
    enough: usize,
) -> Result<(Vec<ResourceView>, Option<Failed>), Failed> {
    let (mut views, mut cursor, mut unreachable) = (Vec::new(), None, BTreeSet::new());
    loop {
        let page = client.resources(PAGE_ITEMS, cursor.as_deref()).await.map_err(failed)?;
        views.extend(page.items);
        unreachable.extend(page.unreachable);
        cursor = page.next_cursor;
        if cursor.is_none() || views.len() > enough {
            break;
        }
    }
    if unreachable.is_empty() {
        return Ok((views, None));
    }

    let regions = unreachable.into_iter().collect::<Vec<_>>().join(", ");
    let text = format!(
        "the list is not whole: the asked node cannot reach {regions}. Ask a node there (--url), or later"
    );
    Ok((views, Some(Failed::new(Exit::Failed, text))))
}

/// A row for each limit.
fn rows(views: &[ResourceView]) -> String {
    let mut rows = Vec::new();
    for view in views {
        for (name, limit) in &view.limits {
            let mut row = vec![view.name.clone(), view.placement.clone(), view.version.to_string()];
            row.extend(limit_cells(name, limit));
            rows.push(row);
        }
    }
    table(&[&["RESOURCE", "PLACEMENT", "VERSION"], &LIMIT_TITLES[..]].concat(), &rows)
}
