//! A child process that is killed at a step.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::str::FromStr;

use tempfile::TempDir;

use crate::folder::temporary;

/// The folder that a child works on. Set, it says that this process is one.
const DIR: &str = "CRASH_DIR";
/// The files that a child opens to say that its procedure begins and ends.
const BEGIN: &str = "CRASH_BEGIN";
const END: &str = "CRASH_END";
const TRACE: &str = "CRASH_TRACE";
/// The exit code of a child that was killed at its step.
const KILLED: i32 = 137;

/// Where a child dies. Calls that change files are counted from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Point {
    /// Before this call.
    Before(usize),
    /// After half of the bytes of this write, of the writes alone.
    Within(usize),
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Before(call) => write!(f, "before/{call}"),
            Self::Within(call) => write!(f, "within/{call}"),
        }
    }
}

impl FromStr for Point {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let call = |number: &str| number.parse().map_err(|error| format!("{text}: {error}"));
        match text.split_once('/') {
            Some(("before", number)) => Ok(Self::Before(call(number)?)),
            Some(("within", number)) => Ok(Self::Within(call(number)?)),
            _ => Err(format!("{text}: it is before/N or within/N")),
        }
    }
}

/// What came of a child.
#[derive(Debug)]
pub struct Ran {
    /// The calls that it began, in order.
    pub calls: Vec<String>,
    /// What it said, a line each.
    pub said: Vec<String>,
    /// It died at its point. Otherwise it came to its end.
    pub killed: bool,
}

impl Ran {
    /// What the child said that begins with `word`, without it.
    pub fn said(&self, word: &str) -> impl Iterator<Item = &str> {
        self.said.iter().filter_map(move |line| line.strip_prefix(word)?.strip_prefix(' '))
    }
}

/// The library that kills.
pub struct Shim {
    dir: TempDir,
    library: PathBuf,
}

impl Shim {
    pub fn build() -> Self {
        let dir = temporary();
        let library = dir.path().join("shim.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/crash_points/shim.c");
        let built = Command::new("cc")
            .args(["-O1", "-shared", "-fPIC", "-o"])
            .arg(&library)
            .arg(source)
            .args(["-ldl", "-lpthread"])
            .status();
        assert!(built.is_ok_and(|status| status.success()), "a C compiler is needed: cc");

        for mark in ["begin", "end"] {
            std::fs::write(dir.path().join(mark), "").unwrap();
        }
        Self { dir, library }
    }

    /// Runs `test` of this binary as a child that works on `dir`, to its point or its end.
    pub fn run(&self, test: &str, dir: &Path, point: Option<Point>) -> Ran {
        let (at, trace) = (|name: &str| self.dir.path().join(name), self.dir.path().join("trace"));
        let _ = std::fs::remove_file(&trace);
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--exact", test, "--nocapture", "--test-threads=1"])
            .env("LD_PRELOAD", &self.library)
            .env(DIR, dir)
            .env(BEGIN, at("begin"))
            .env(END, at("end"))
            .env(TRACE, &trace);
        match point {
            None => &mut command,
            Some(Point::Before(call)) => command.env("CRASH_BEFORE", call.to_string()),
            Some(Point::Within(call)) => command.env("CRASH_WITHIN", call.to_string()),
        };

        let output = command.output().unwrap();
        let lines = |bytes: &[u8]| -> Vec<String> {
            String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect()
        };
        let killed = output.status.code() == Some(KILLED);
        assert!(
            output.status.success() || (killed && point.is_some()),
            "the child failed: {}\n{}\n{}",
            output.status,
            lines(&output.stdout).join("\n"),
            lines(&output.stderr).join("\n")
        );
        let calls = lines(&std::fs::read(&trace).unwrap_or_default());
        Ran { calls, said: lines(&output.stdout), killed }
    }
}

/// The folder of a child; nothing in the test itself.
pub fn child_folder() -> Option<PathBuf> {
    std::env::var_os(DIR).map(PathBuf::from)
}

/// The steps of the procedure count from here on.
pub fn begin() {
    std::fs::File::open(std::env::var_os(BEGIN).unwrap()).unwrap();
}

/// The end of the procedure and of the child, which leaves everything as it is.
pub fn end() -> ! {
    std::fs::File::open(std::env::var_os(END).unwrap()).unwrap();
    std::process::exit(0)
}

/// Says something to the test: it is out when this returns.
pub fn say(line: &str) {
    println!("\n{line}");
}
