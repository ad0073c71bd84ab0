//! One process at a time uses a data folder. A test binary of its own: between fork and exec the
//! process that it starts holds whatever locks the other tests of a binary have at that moment.
#![allow(missing_docs, clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use ratequeue_storage::{DataDir, OpenError};

#[test]
fn another_process_holds_the_lock() {
    if let Some(dir) = std::env::var_os("RATEQUEUE_TEST_HOLD") {
        let _data = DataDir::open(dir).unwrap();
        println!("\nheld");
        let _ = std::io::stdin().read_line(&mut String::new());
        return;
    }

    let dir = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "another_process_holds_the_lock", "--nocapture"])
        .env("RATEQUEUE_TEST_HOLD", dir.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();

    let output = BufReader::new(child.stdout.take().unwrap());
    assert!(output.lines().any(|line| line.unwrap() == "held"));
    let error = DataDir::open(dir.path()).unwrap_err();

    assert!(
        matches!(error, OpenError::Locked { holder: Some(pid), .. } if pid == child.id()),
        "{error}"
    );

    assert!(error.needs_operator());
    // Not even a killed process keeps the lock.
    child.kill().unwrap();
    child.wait().unwrap();
    DataDir::open(dir.path()).unwrap();
    let _ = std::io::stdout().flush();
}
