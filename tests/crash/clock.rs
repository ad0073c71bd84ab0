//! The wall clock jumps by an hour, and nothing happens: no lease ends early or late, no window
//! opens.
//!
//! The node runs under libfaketime, which moves the wall clock and leaves the monotonic one alone.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::harness::{Answer, Client, Node, Start, eventually, until};
use serde_json::json;

/// The time to live of the lease, and the window of the rate.
const TIME: Duration = Duration::from_secs(4);
/// How late anything may be on a loaded machine.
const LATE: Duration = Duration::from_secs(20);
const HOUR_S: i64 = 3600;

/// The library; its variant for threads where there is one.
fn library() -> PathBuf {
    let folders =
        fs::read_dir("/usr/lib").unwrap().map(|entry| entry.unwrap().path().join("faketime"));
    let mut found: Vec<PathBuf> = folders
        .flat_map(|folder| ["libfaketimeMT.so.1", "libfaketime.so.1"].map(|name| folder.join(name)))
        .filter(|path| path.exists())
        .collect();
    assert!(!found.is_empty(), "libfaketime is missing: run scripts/setup.sh test");
    found.remove(0)
}

/// A node whose wall clock is as far from the real one as a file says.
struct Moved {
    node: Node,
    offset: PathBuf,
}

impl Moved {
    async fn start() -> Self {
        let start = Start::dev();
        let offset = start.tree().file("offset", "+0\n");
        let start = start
            .env("LD_PRELOAD", library().to_str().unwrap())
            .env("FAKETIME_TIMESTAMP_FILE", offset.to_str().unwrap())
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1")
            .env("FAKETIME_NO_CACHE", "1")
            .env("RATEQUEUE_LOG", "debug");
        Self { node: start.run().await, offset }
    }

    /// Moves the wall clock to so many seconds beside the real one, and proves that the node sees
    /// it.
    async fn jump(&self, seconds: i64) {
        set(&self.offset, seconds);
        eventually("the node's wall clock has jumped", || async {
            // Something to log about.
            self.node.client.get("/readyz").await.is(200);
            self.node.client.acquire("log", json!({})).await;
            let behind = (last_log_time(&self.node.stderr()) - now_s() - seconds).abs();
            (behind < 600).then_some(())
        })
        .await;
    }
}

/// Whole at any time: the node reads the file at every look at its clock.
fn set(file: &Path, seconds: i64) {
    let new = file.with_extension("new");
    fs::write(&new, format!("{seconds:+}\n")).unwrap();
    fs::rename(new, file).unwrap();
}

fn now_s() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(now.as_secs()).unwrap()
}

/// The time of the last line of a log, in seconds since 1970.
fn last_log_time(log: &str) -> i64 {
    let times = log.lines().rev().filter_map(|line| log_time(line.split_whitespace().next()?));
    times.into_iter().next().expect("the log has times")
}

/// Reads `2026-01-31T23:59:59.123456Z`.
fn log_time(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let date: Vec<i64> = date.split('-').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let time: Vec<i64> =
        time.split('.').next()?.split(':').map(|part| part.parse().ok()).collect::<Option<_>>()?;
    let ([year, month, day], [hours, minutes, seconds]) =
        (date[..].try_into().ok()?, time[..].try_into().ok()?);
    // Days of the Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days: i64 =
        365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
    Some(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
}

#[test]
fn log_times_are_read() {
    assert_eq!(log_time("1970-01-01T00:00:01.5Z"), Some(1));
    assert_eq!(log_time("2024-02-29T12:00:00.000000Z"), Some(1_709_208_000));
    assert_eq!(log_time("2000-03-01T00:00:00Z"), Some(951_868_800));
}

async fn create(client: &Client) {
    let ms = u64::try_from(TIME.as_millis()).unwrap();
    client.create("lease", json!({"slots": {"kind": "concurrency", "quota": 3}})).await;
    client.create("wait", json!({"slots": {"kind": "concurrency", "quota": 1}})).await;
    client.create("window", json!({"rpm": {"kind": "rate", "quota": 5, "window_ms": ms}})).await;
    let bucket = json!({"kind": "rate", "algorithm": "token_bucket", "quota": 1, "window_ms": ms});
    client.create("bucket", json!({"rpm": bucket})).await;
}

fn ms(answer: &Answer, field: &str) -> Duration {
    Duration::from_millis(answer.u64(field))
}

/// Starts leases, waits and windows, jumps, and looks when they end.
async fn nothing_happens(jumps: [i64; 2]) {
    let moved = Moved::start().await;
    let client = &moved.node.client;
    create(client).await;
    let start = Instant::now();
    let ttl = json!({"ttl_ms": 4000});
    let expiring = client.granted("lease", ttl.clone()).await;
    let kept = client.granted("lease", json!({"ttl_ms": 900_000})).await;
    client.granted("window", json!({"load": 5})).await;
    client.granted("bucket", json!({})).await;
    client.granted("wait", json!({"ttl_ms": 900_000})).await;
    let patient = client.waiting("wait", json!({"wait_ms": 60_000})).await;
    let impatient = {
        let client = client.clone();
        tokio::spawn(async move { client.acquire("wait", json!({"wait_ms": 4000})).await })
    };
    let in_queue = ["window", "bucket"].map(|name| {
        let client = client.clone();
        tokio::spawn(async move {
            (client.granted(name, json!({"wait_ms": 60_000})).await, Instant::now())
        })
    });
    let mut early_looks = 0;
    for jump in jumps {
        moved.jump(jump).await;
        if start.elapsed() < TIME {
            let seen = client.lease(&expiring.id()).await;
            if start.elapsed() < TIME {
                early_looks += 1;
                assert_eq!(seen.str("state"), "held", "it does not expire early");
                assert!(ms(&seen, "expires_in_ms") <= TIME);
            }
        }
        assert_eq!(client.lease(&kept.id()).await.str("state"), "held");
        assert_eq!(client.lease(&patient.id()).await.str("state"), "waiting");
    }
    assert!(early_looks > 0, "the machine was too slow to look before the end");

    for call in in_queue {
        let (granted, at) = call.await.unwrap();
        assert!(at - start >= TIME, "no window opens early: {:?}", at - start);
        assert!(at - start < TIME + LATE, "and none late: {:?}", at - start);
        assert!(ms(&granted, "waited_ms") < TIME + LATE);
    }
    impatient.await.unwrap().problem(429, "wait-timeout");
    assert!(start.elapsed() >= TIME);
    let path = format!("/v1/leases/{}", expiring.id());
    eventually("the lease expires", || async {
        (client.get(&path).await.str("state") == "expired").then_some(())
    })
    .await;
    assert!(start.elapsed() < TIME + LATE);
    until(start + TIME).await;
    assert_eq!(client.lease(&kept.id()).await.str("state"), "held");
    assert!(client.lease(&kept.id()).await.u64("expires_in_ms") > 900_000 - 60_000);
    client.release(&expiring.id()).await.problem(410, "lease-expired");
}

#[tokio::test]
async fn the_wall_clock_jumps_ahead() {
    nothing_happens([HOUR_S, 2 * HOUR_S]).await;
}

#[tokio::test]
async fn the_wall_clock_jumps_back() {
    nothing_happens([-HOUR_S, -2 * HOUR_S]).await;
}

/// While it is down the wall clock moves, too.
#[tokio::test]
async fn a_start_after_a_jump_ends_nothing() {
    let mut moved = Moved::start().await;
    let client = moved.node.client.clone();
    create(&client).await;
    let kept = client.granted("lease", json!({"ttl_ms": 900_000})).await;
    client.granted("window", json!({"load": 5})).await;
    for jump in [HOUR_S, -HOUR_S] {
        moved.node.kill().await;
        set(&moved.offset, jump);
        moved.node.start_again().await;
        moved.jump(jump).await;
        let seen = client.lease(&kept.id()).await;
        assert_eq!(seen.str("state"), "held");
        assert!((900_000 - 60_000..=900_000).contains(&seen.u64("expires_in_ms")), "{}", seen.text);
    }
}
