//! `ratequeue cluster up`: every node of a file as a process on this machine.
//!
//! The nodes end with it, however it ends: they ask the kernel for a signal at its death.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::process::{Child, Command};

use super::{ClusterArgs, LOOK_PAUSE, Nodes, init};
use crate::cli::exit::{Exit, Failed};
use crate::cli::output::print;
use crate::cli::signals::{Ending, Signals};
use crate::config::ClusterFile;

/// How long the processes are given to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);
/// How long they are given to find leaders: all of them share one machine, and end when this fails.
const FORM_WITHIN: Duration = Duration::from_secs(60);
/// How long the processes are given to stop.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Runs every node of a file on this machine, until Ctrl-C; for trying out
#[derive(Debug, Args)]
pub struct Up {
    /// The folder for the nodes' state and logs
    #[arg(long, default_value = "ratequeue-cluster", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    file: ClusterArgs,
}

impl Up {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let nodes = self.file.nodes(&file);
        refuse_taken(&file)?;
        let mut signals = Signals::install()?;
        let mut children = self.start(&file)?;

        let running = async {
            self.wait_answering(&nodes).await?;
            init::init(&nodes, &file, FORM_WITHIN).await?;
            print(&self.describe(&file));
            std::future::pending().await
        };

        let ended: Result<Exit, Failed> = tokio::select! {
            failed = running => failed,
            _ = signals.next() => Ok(Exit::Done),
            failed = self.all_end(&mut children) => Err(failed),
        };

        stop(children).await;
        ended
    }

    fn start(&self, file: &ClusterFile) -> Result<Vec<(u64, Child)>, Failed> {
        let cannot = |what: String, error: std::io::Error| {
            Failed::new(Exit::Failed, format!("{what}: {error}"))
        };

        let program = std::env::current_exe()
            .map_err(|error| cannot("this program is not found".to_owned(), error))?;
        let mut children = Vec::new();

        for id in file.ids() {
            let data = self.data.join(format!("node-{id}"));
            std::fs::create_dir_all(&data)
                .map_err(|error| cannot(data.display().to_string(), error))?;
            let log = self.log_of(id);
            let errors = std::fs::OpenOptions::new().create(true).append(true).open(&log);
            let errors = errors.map_err(|error| cannot(log.display().to_string(), error))?;
            let child = Command::new(&program)
                .arg("node")
                .arg("--cluster")
                .arg(&self.file.cluster)
                .args(["--id", &id.to_string()])
                .arg("--data")
                .arg(&data)
                // Nobody looks whether it is ready before it stops.
                .args(["--drain", "0"])
                .args(["--parent", &std::process::id().to_string()])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors)
                // Ctrl-C is for this process alone; it stops the nodes in its own time.
                .process_group(0)
                .kill_on_drop(true)
                .spawn();
            children.push((
                id,
                child.map_err(|error| cannot(format!("node {id} cannot be started"), error))?,
            ));
        }

        Ok(children)
    }

    /// The command line of a node.
    fn line(&self, id: u64) -> String {
        let data = self.data.join(format!("node-{id}"));
        format!(
            "ratequeue node --cluster {} --id {id} --data {}",
            self.file.cluster.display(),
            data.display()
        )
    }

    fn log_of(&self, id: u64) -> PathBuf {
        self.data.join(format!("node-{id}.log"))
    }

    async fn wait_answering(&self, nodes: &Nodes) -> Result<(), Failed> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let asked = nodes.ask().await?;
            let Some(silent) = asked.iter().find(|asked| asked.view.is_err()) else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let log = self.log_of(silent.node.id);
                let text =
                    format!("node {} does not answer: see {}", silent.node.id, log.display());
                return Err(Failed::new(Exit::Failed, text));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
    }

    fn describe(&self, file: &ClusterFile) -> String {
        let mut text = String::new();
        for (region, config) in &file.regions {
            for node in &config.nodes {
                text += &format!("  node {} in {region}: http://{}\n", node.id, node.http);
            }
        }
        let status = format!("ratequeue cluster status --cluster {}", self.file.cluster.display());
        format!(
            "RateQueue runs {} nodes, their state and logs are in {}:\n{text}See {status}. Ctrl-C stops them.\n",
            file.ids().len(),
            self.data.display()
        )
    }

    /// Says when a node ends by itself, why, and how to start it again; resolves when none is left.
    async fn all_end(&self, children: &mut [(u64, Child)]) -> Failed {
        let mut ends: FuturesUnordered<_> = children
            .iter_mut()
            .map(|(id, child)| async move { (*id, child.wait().await) })
            .collect();
        while let Some((id, status)) = ends.next().await {
            let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
            let said =
                last_line(&self.log_of(id)).map(|line| format!(": {line}")).unwrap_or_default();
            eprintln!(
                "ratequeue: node {id} has ended ({how}){said}. Start it again with: {}",
                self.line(id)
            );
        }
        Failed::new(Exit::Failed, "all nodes have ended")
    }
}

/// Refuses to start what could not listen, before anything is started.
fn refuse_taken(file: &ClusterFile) -> Result<(), Failed> {
    for node in file.views() {
        let http = node.http.strip_prefix("http://").unwrap_or(&node.http);
        for (what, address) in [("http", http), ("peer", node.peer.as_str())] {
            let Err(error) = std::net::TcpListener::bind(address) else { continue };
            let text = format!(
                "node {} cannot listen at its {what} address {address}: {error}. If the cluster runs already, `ratequeue cluster \
                 status` shows it; otherwise end what has the port, or give the node another address in the file",
                node.id
            );
            return Err(Failed::new(Exit::Failed, text));
        }
    }
    Ok(())
}

/// What a node said last: why it ended, if it ended by itself. One that was killed says nothing.
fn last_line(log: &Path) -> Option<String> {
    let text = std::fs::read_to_string(log).ok()?;
    let line = text.lines().last()?.strip_prefix("ratequeue: ")?;
    Some(line.to_owned())
}

/// Asks all to stop, and ends those that do not.
async fn stop(children: Vec<(u64, Child)>) {
    for (_, child) in &children {
        Ending::Terminate.pass_on(child);
    }
    for (id, mut child) in children {
        if tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err() {
            eprintln!("ratequeue: node {id} did not stop in time and is ended");
            // It is gone already, or this is the last we can do.
            let _ = child.kill().await;
        }
    }
}
