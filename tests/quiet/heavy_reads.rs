//! Scrapers and list readers at a leader cost nobody the leadership: the short form of
//! `scripts/bench/heavy-reads.py`, which asserts it. How much they may cost an acquire is measured
//! by the long form.

use std::path::Path;
use std::process::Command;

#[test]
fn readers_are_answered_and_depose_no_leader() {
    let _alone = crate::ALONE.blocking_lock();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/bench/heavy-reads.py");
    let mut run = Command::new("python3");
    run.arg(script).args([
        "--binary",
        env!("CARGO_BIN_EXE_ratequeue"),
        "--resources",
        "1500",
        "--seconds",
        "3",
    ]);
    let ended = run.output().expect("python3 is needed");
    let text = String::from_utf8_lossy(&ended.stdout) + String::from_utf8_lossy(&ended.stderr);
    assert!(ended.status.success(), "{text}");
}
