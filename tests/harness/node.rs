//! A node as a process.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use super::http::Client;

/// How long a process may take to come up or to end.
const DEADLINE: Duration = Duration::from_secs(30);

const PROGRAM: &str = env!("CARGO_BIN_EXE_ratequeue");

/// Pause between two looks whether it is ready.
const PAUSE: Duration = Duration::from_millis(10);

/// A temporary folder that lives as long as someone uses it.
#[derive(Debug, Clone)]
pub struct Tree(Arc<TempDir>);

impl Tree {
    pub fn new() -> Self {
        Self(Arc::new(tempfile::tempdir().unwrap()))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file with this content.
    pub fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }
}

/// How a node is started.
#[derive(Debug, Clone)]
pub struct Start {
    /// Everything of this node is in here.
    tree: Tree,
    pub data: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    /// What the shell runs before it becomes the node.
    shell: Option<String>,
}

impl Start {
    /// `ratequeue dev` in a folder of its own.
    pub fn dev() -> Self {
        Self::with(&["dev"])
    }

    /// Another command, to which `--http` and `--data` are added.
    pub fn with(args: &[&str]) -> Self {
        let tree = Tree::new();
        let data = tree.path().join("data");
        Self {
            tree,
            data,
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            env: Vec::new(),
            shell: None,
        }
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has a shell set limits before it becomes the node: `ulimit -n 256`.
    pub fn after(mut self, shell: &str) -> Self {
        self.shell = Some(shell.to_owned());
        self
    }

    pub fn data(mut self, data: &Path) -> Self {
        data.clone_into(&mut self.data);
        self
    }

    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    fn stderr_path(&self) -> PathBuf {
        self.tree.path().join("stderr")
    }

    fn command(&self) -> Command {
        let stderr = File::options().create(true).append(true).open(self.stderr_path()).unwrap();
        let mut command = match &self.shell {
            None => program(),
            Some(shell) => {
                let mut command = clean("sh".as_ref());
                command.args(["-c", &format!("{shell} && exec \"$0\" \"$@\""), PROGRAM]);
                command
            }
        };
        command.args(&self.args).args(["--http", "127.0.0.1:0", "--data"]).arg(&self.data);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command.stdout(Stdio::piped()).stderr(stderr);
        command
    }

    /// Starts it, and leaves it to its caller what comes of it.
    pub fn process(&self) -> Child {
        self.command().spawn().unwrap()
    }

    /// What it has written to stderr, over all of its starts.
    pub fn stderr(&self) -> String {
        fs::read_to_string(self.stderr_path()).unwrap_or_default()
    }

    async fn spawn(&self) -> (Child, Lines<BufReader<ChildStdout>>, String) {
        let mut child = self.process();
        let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = tokio::time::timeout(DEADLINE, stdout.next_line()).await;
        let line = line.ok().and_then(Result::ok).flatten();
        let Some(url) = line.as_deref().and_then(url_in) else {
            panic!(
                "the node did not come up; its first line is {line:?}, and its stderr:\n{}",
                self.stderr()
            );
        };
        (child, stdout, url)
    }

    /// Starts it, and waits until it is ready.
    pub async fn run(self) -> Node {
        let (child, stdout, url) = self.spawn().await;
        let mut node = Node { start: self, child, stdout, client: Client::new(url) };
        node.ready().await;
        node
    }
}

/// The URL in the first line that a node prints.
fn url_in(line: &str) -> Option<String> {
    let (_, rest) = line.split_once("listens on http://")?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | ':' | '-' | '[' | ']');
    let end = rest.find(|c: char| !is_part(c)).unwrap_or(rest.len());
    Some(format!("http://{}", rest.get(..end)?.trim_end_matches('.')))
}

/// The program, with nothing of this process's own settings.
pub fn program() -> Command {
    clean(PROGRAM.as_ref())
}

/// The program as a terminal starts it: SIGHUP is not ignored, also when the tests run under
/// `nohup`.
pub fn program_at_terminal() -> Command {
    let mut command = clean("env".as_ref());
    command.arg("--default-signal=HUP").arg(PROGRAM);
    command
}

fn clean(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("RATEQUEUE_") {
            command.env_remove(name);
        }
    }
    command.env("RATEQUEUE_DRAIN", "0").kill_on_drop(true).stdin(Stdio::null());
    command
}

/// Runs the program with these arguments until it ends.
pub async fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = program();
    command.args(args).envs(env.iter().copied());
    let output = tokio::time::timeout(DEADLINE, command.output()).await;
    output.unwrap_or_else(|_| panic!("ratequeue {args:?} did not end")).unwrap()
}

/// A running node. Dropping it kills it; if the test fails, what it wrote to stderr is shown.
#[derive(Debug)]
pub struct Node {
    start: Start,
    child: Child,
    /// Kept open, so that the node can go on to print.
    stdout: Lines<BufReader<ChildStdout>>,
    pub client: Client,
}

impl Node {
    /// A new node, ready.
    pub async fn start() -> Self {
        Start::dev().run().await
    }

    pub fn url(&self) -> String {
        self.client.url()
    }

    pub fn data(&self) -> &Path {
        &self.start.data
    }

    pub fn tree(&self) -> &Tree {
        &self.start.tree
    }

    pub fn pid(&self) -> u32 {
        self.child.id().expect("the node runs")
    }

    /// What it has written to stderr, over all of its starts.
    pub fn stderr(&self) -> String {
        self.start.stderr()
    }

    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Kills it, and waits until it is gone.
    pub async fn kill(&mut self) {
        self.signal(Signal::KILL);
        self.child.wait().await.unwrap();
    }

    /// Waits until it ends by itself.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(DEADLINE, self.child.wait()).await;
        ended.expect("the node ends in time").unwrap()
    }

    /// Stops it, and checks that it ended well.
    pub async fn stop(&mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.ended().await.code(), Some(0), "SIGTERM is a clean end");
    }

    /// Starts it again in the same folder. Its clients follow.
    pub async fn start_again(&mut self) {
        assert!(self.child.id().is_none(), "the node still runs");
        let (child, stdout, url) = self.start.spawn().await;
        (self.child, self.stdout) = (child, stdout);
        self.client.moved(url);
        self.ready().await;
    }

    async fn ready(&mut self) {
        let start = Instant::now();
        loop {
            let answer = self.client.try_call(reqwest::Method::GET, "/readyz", &[], None).await;
            if answer.is_ok_and(|answer| answer.status == 200)
                && self.client.is_at_the_level().await
            {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!("the node ended before it was ready: {status}");
            }
            assert!(start.elapsed() < DEADLINE, "the node is not ready");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.start_kill();
        if std::thread::panicking() {
            eprintln!("--- stderr of the node ---\n{}--- end ---", self.stderr());
        }
    }
}
