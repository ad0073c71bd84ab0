//! Which cluster is meant: the one that a file describes, or that of a running node.

use std::path::PathBuf;

use clap::Args;
use futures::future::join_all;
use ratequeue_api::client::Client;
use ratequeue_api::cluster::{ClusterView, NodeView};

use super::NODE_PATIENCE;
use super::nodes::{FILE, Nodes, Silence, client_of, look};
use crate::cli::exit::{Exit, Failed};
use crate::cli::{DEFAULT_URL, failed};
use crate::config::ClusterFile;

/// The file of a cluster, for commands that need what only a file says.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// The file that describes the cluster
    #[arg(long, env = "RATEQUEUE_CLUSTER", value_name = "FILE")]
    pub cluster: PathBuf,
    /// The API key
    #[arg(long, env = "RATEQUEUE_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
}

/// A cluster, by its file or by its nodes.
///
/// What is typed goes before what is in the environment, and a file before a URL.
#[derive(Debug, Args)]
pub struct Place {
    /// The file that describes the cluster [env: RATEQUEUE_CLUSTER=]
    #[arg(long, value_name = "FILE", conflicts_with = "url")]
    cluster: Option<PathBuf>,
    /// Instead of the file, URLs of nodes, which say what others there are [env: RATEQUEUE_URL=]
    /// [default: http://127.0.0.1:7600]
    #[arg(long, value_name = "URLS")]
    url: Option<String>,
    /// The API key
    #[arg(long, env = "RATEQUEUE_API_KEY", hide_env_values = true, value_name = "KEY")]
    api_key: Option<String>,
}

impl ClusterArgs {
    pub fn read(&self) -> Result<ClusterFile, Failed> {
        Ok(ClusterFile::read(&self.cluster)?)
    }

    /// The nodes of the file.
    pub fn nodes(&self, file: &ClusterFile) -> Nodes {
        Nodes::new(file.views(), self.api_key.clone(), FILE)
    }
}

impl Place {
    /// The nodes of the cluster.
    pub async fn nodes(&self) -> Result<Nodes, Failed> {
        let in_environment = || std::env::var_os("RATEQUEUE_CLUSTER").map(PathBuf::from);
        let file = self
            .cluster
            .clone()
            .or_else(|| if self.url.is_none() { in_environment() } else { None });
        if let Some(file) = file {
            return Ok(Nodes::new(ClusterFile::read(&file)?.views(), self.api_key.clone(), FILE));
        }

        let url = self.url.clone().or_else(|| std::env::var("RATEQUEUE_URL").ok());
        self.ask(&url.unwrap_or_else(|| DEFAULT_URL.to_owned())).await
    }

    /// Asks the nodes at these URLs which there are.
    async fn ask(&self, urls: &str) -> Result<Nodes, Failed> {
        // All of them are checked, before any is asked.
        let given = Client::new(urls, None, NODE_PATIENCE).map_err(failed)?;
        let asking = given.urls().iter().map(async |url| {
            let view = match client_of(url, self.api_key.clone()) {
                Ok(client) => look(&client).await,
                Err(failed) => Err(Silence::NoClient(failed.text)),
            };
            (url.as_str(), view)
        });

        let (mut views, mut silent) = (Vec::new(), Vec::new());
        for (url, view) in join_all(asking).await {
            match view {
                Ok(view) => views.push((url, view)),
                Err(why) => silent.push(format!("{url}: {why}")),
            }
        }
        let Some(nodes) = nodes_of(&views) else {
            let text = format!(
                "no node answers: {}. Give the URL of one that runs, or --cluster FILE",
                silent.join("; ")
            );
            return Err(Failed::new(Exit::Unavailable, text));
        };
        Ok(Nodes::new(nodes, self.api_key.clone(), "the cluster"))
    }
}

/// The nodes that those name who were asked, one that is part of a cluster before others. A node is
/// asked at the URL at which it has answered: its own address may not be reachable from here.
fn nodes_of(views: &[(&str, ClusterView)]) -> Option<Vec<NodeView>> {
    let is_formed = |(_, view): &&(&str, ClusterView)| view.cluster_id.is_some();
    let (_, named_by) = views.iter().find(is_formed).or(views.first())?;
    let nodes = named_by.regions.values().flat_map(|region| region.nodes.iter().cloned());
    let answered_at =
        |id: u64| views.iter().find(|(_, view)| view.node == id).map(|(url, _)| (*url).to_owned());
    Some(
        nodes
            .map(|node| NodeView {
                http: answered_at(node.id).unwrap_or_else(|| node.http.clone()),
                ..node
            })
            .collect(),
    )
}
