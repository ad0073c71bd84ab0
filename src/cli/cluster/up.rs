//! `ratequeue cluster up`: every node of a file as a process on this machine.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use clap::Args;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::process::{Child, Command};
use tokio::signal::unix::{SignalKind, signal};

use super::{File, LOOK_PAUSE, init};
use crate::cli::print;
use crate::config::ClusterFile;
use crate::exit::{Exit, Failed};

/// How long the processes are given to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);
/// How long the processes are given to stop.
const STOP_WITHIN: Duration = Duration::from_secs(15);

/// Runs every node of a file on this machine, until Ctrl-C; for trying out
#[derive(Debug, Args)]
pub struct Up {
    /// The folder for the nodes' state and logs
    #[arg(long, default_value = "ratequeue-cluster", value_name = "DIR")]
    data: PathBuf,
    #[command(flatten)]
    file: File,
}

impl Up {
    pub async fn run(self) -> Result<Exit, Failed> {
        let file = self.file.read()?;
        let cannot = |error: std::io::Error| Failed::new(Exit::Failed, error.to_string());
        let mut terminate = signal(SignalKind::terminate()).map_err(cannot)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(cannot)?;
        let mut children = self.start(&file)?;
        let running = async {
            self.wait_answering(&file).await?;
            init::init(&self.file, &file).await?;
            print(&self.describe(&file));
            std::future::pending().await
        };
        let ended: Result<Exit, Failed> = tokio::select! {
            failed = running => failed,
            _ = terminate.recv() => Ok(Exit::Done),
            _ = interrupt.recv() => Ok(Exit::Done),
            failed = all_end(&mut children, |id| self.line(id)) => Err(failed),
        };
        stop(children).await;
        ended
    }

    fn start(&self, file: &ClusterFile) -> Result<Vec<(u64, Child)>, Failed> {
        let cannot = |what: String, error: std::io::Error| Failed::new(Exit::Failed, format!("{what}: {error}"));
        let program = std::env::current_exe().map_err(|error| cannot("this program is not found".to_owned(), error))?;
        let mut children = Vec::new();
        for id in file.ids() {
            let data = self.data.join(format!("node-{id}"));
            std::fs::create_dir_all(&data).map_err(|error| cannot(data.display().to_string(), error))?;
            let log = self.data.join(format!("node-{id}.log"));
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
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(errors)
                // Ctrl-C is for this process alone; it stops the nodes in its own time.
                .process_group(0)
                .kill_on_drop(true)
                .spawn();
            children.push((id, child.map_err(|error| cannot(format!("node {id} cannot be started"), error))?));
        }
        Ok(children)
    }

    /// The command line of a node.
    fn line(&self, id: u64) -> String {
        let data = self.data.join(format!("node-{id}"));
        format!("ratequeue node --cluster {} --id {id} --data {}", self.file.cluster.display(), data.display())
    }

    async fn wait_answering(&self, file: &ClusterFile) -> Result<(), Failed> {
        let deadline = Instant::now() + ANSWER_WITHIN;
        loop {
            let asked = self.file.ask(file).await?;
            let Some(silent) = asked.iter().find(|asked| asked.view.is_err()) else { return Ok(()) };
            if Instant::now() > deadline {
                let log = self.data.join(format!("node-{}.log", silent.node.id));
                let text = format!("node {} does not answer: see {}", silent.node.id, log.display());
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
}

/// Says when a node ends by itself, and how to start it again; resolves when none is left.
async fn all_end(children: &mut [(u64, Child)], again: impl Fn(u64) -> String) -> Failed {
    let mut ends: FuturesUnordered<_> =
        children.iter_mut().map(|(id, child)| async move { (*id, child.wait().await) }).collect();
    while let Some((id, status)) = ends.next().await {
        let how = status.map_or_else(|error| error.to_string(), |status| status.to_string());
        eprintln!("ratequeue: node {id} has ended ({how}). Start it again with: {}", again(id));
    }
    Failed::new(Exit::Failed, "all nodes have ended")
}

/// Asks all to stop, and ends those that do not.
async fn stop(children: Vec<(u64, Child)>) {
    for (_, child) in &children {
        crate::cli::pass_on(child, "TERM");
    }
    for (id, mut child) in children {
        if tokio::time::timeout(STOP_WITHIN, child.wait()).await.is_err() {
            eprintln!("ratequeue: node {id} did not stop in time and is ended");
            // It is gone already, or this is the last we can do.
            let _ = child.kill().await;
        }
    }
}
