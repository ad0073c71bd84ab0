//! One node of a cluster, as a process.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use reqwest::Method;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use crate::addresses::Place;
use crate::harness::{Answer, Client, eventually};

/// The program as it is.
pub const CURRENT: &str = env!("CARGO_BIN_EXE_ratequeue");

/// What a shell does before it becomes a program that is to find other names: `$0` and `$1` are the
/// files.
const WITH_NAMES: &str =
    r#"mount --bind "$0" /etc/hosts && mount --bind "$1" /etc/resolv.conf && shift && exec "$@""#;

/// How long a process may take to end.
const END_WITHIN: Duration = Duration::from_secs(30);
/// What is shown of a log when a test fails.
const SHOWN_BYTES: usize = 8 * 1024;

/// A node. Dropping it kills it.
#[derive(Debug)]
pub struct Member {
    pub id: u64,
    pub place: Place,
    /// Speaks to this node only.
    pub client: Client,
    pub data: PathBuf,
    file: PathBuf,
    log: PathBuf,
    /// The network namespace it lives in, if not in ours.
    within: Option<String>,
    /// What it finds as `/etc/hosts` and as `/etc/resolv.conf`, when it lives in a namespace.
    pub names: Option<[PathBuf; 2]>,
    /// Further arguments of its next starts.
    pub args: Vec<String>,
    /// What it runs from its next start on.
    pub program: PathBuf,
    child: Option<Child>,
}

impl Member {
    /// A node that does not run yet. Everything it writes is in `dir`.
    pub fn new(id: u64, place: Place, file: &Path, dir: &Path, within: Option<String>) -> Self {
        Self {
            id,
            place,
            client: Client::new(format!("http://{}", place.http)),
            data: dir.join(format!("node-{id}")),
            file: file.to_owned(),
            log: dir.join(format!("node-{id}.log")),
            within,
            names: None,
            args: Vec::new(),
            program: PathBuf::from(CURRENT),
            child: None,
        }
    }

    pub fn url(&self) -> String {
        self.client.url()
    }

    /// The program where this node lives, with nothing of this process's own settings.
    pub fn program(&self) -> Command {
        let mut command = match &self.within {
            None => Command::new(&self.program),
            Some(namespace) => {
                let mut command = Command::new("ip");
                // `ip` becomes the node: the process id is the node's. It gives it mounts of its
                // own.
                command.args(["netns", "exec", namespace]);
                if let Some([hosts, resolver]) = &self.names {
                    command.args(["sh", "-c", WITH_NAMES]).args([hosts, resolver]);
                }
                command.arg(&self.program);
                command
            }
        };

        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("RATEQUEUE_") {
                command.env_remove(name);
            }
        }

        // A variable, which programs that do not know it ignore.
        command
            .env_remove("RUST_BACKTRACE")
            .env("RATEQUEUE_DRAIN", "0")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    fn command(&self) -> Command {
        let mut command = self.program();
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        command
            .args(["node", "--id", &self.id.to_string(), "--cluster"])
            .arg(&self.file)
            .arg("--data")
            .arg(&self.data);
        command.args(&self.args).stdout(Stdio::null()).stderr(log);
        command
    }

    /// Starts the process, without waiting for anything.
    pub fn spawn(&mut self) {
        assert!(self.child.is_none(), "node {} runs already", self.id);
        self.child = Some(self.command().spawn().unwrap());
    }

    /// Starts it, and waits until it answers.
    pub async fn start(&mut self) {
        self.spawn();
        self.answers().await;
    }

    /// Waits until it answers calls.
    pub async fn answers(&self) {
        eventually(&format!("node {} answers", self.id), || async {
            // One that is opening its folder answers 503; one that does not know the path, 404.
            self.try_get("/startupz").await.filter(|answer| answer.status != 503)
        })
        .await;
    }

    /// Waits until it is in touch with a quorum.
    pub async fn ready(&self) {
        eventually(&format!("node {} is ready", self.id), || async {
            self.try_get("/readyz").await.filter(|answer| answer.status == 200)
        })
        .await;
    }

    /// An answer, if there is one.
    pub async fn try_get(&self, path: &str) -> Option<Answer> {
        let answer = self.client.try_call(Method::GET, path, &[], None);
        tokio::time::timeout(Duration::from_secs(10), answer).await.ok()?.ok()
    }

    /// Whether it runs the program as it is.
    pub fn is_current(&self) -> bool {
        self.program == Path::new(CURRENT)
    }

    pub fn runs(&self) -> bool {
        self.child.is_some()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().and_then(Child::id).expect("the node runs");
        let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.ended().await;
    }

    /// Stops it, and checks that it ended well.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(
            self.ended().await.code(),
            Some(0),
            "SIGTERM is a clean end for node {}",
            self.id
        );
    }

    /// Waits until it has ended.
    pub async fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("the node runs");
        let ended = tokio::time::timeout(END_WITHIN, child.wait()).await;
        ended.unwrap_or_else(|_| panic!("node {} does not end", self.id)).unwrap()
    }

    /// What it has written to its log, over all of its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The end of its log, for a test that failed.
    pub fn show(&self) {
        let log = self.log();
        let mut from = log.len().saturating_sub(SHOWN_BYTES);
        while !log.is_char_boundary(from) {
            from += 1;
        }
        eprintln!("--- log of node {} ---\n{}--- end ---", self.id, &log[from..]);
    }
}

/// The program as a version that follows feature level 1 only.
pub fn level_1() -> PathBuf {
    let path = Path::new(CURRENT).with_file_name("ratequeue-level-1");
    assert!(path.exists(), "{} is missing: run scripts/level-1.sh", path.display());
    path
}
