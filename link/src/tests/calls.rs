use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::*;

#[tokio::test]
async fn each_lane_answers_in_both_directions() {
    let (one, two) = pair(echo()).await;
    two.set_peer(1, one.address().to_string());
    for lane in Lane::ALL {
        assert_eq!(call(&one, lane, "hello").await.unwrap(), "hello");
        assert_eq!(
            within(two.call(1, lane, GROUP, "back".into(), DEADLINE)).await.unwrap(),
            "back"
        );
        assert_eq!(call(&one, lane, "").await.unwrap(), "");
    }

    let lanes = Lane::ALL.len();
    assert_eq!((one.connections(), two.connections()), (lanes, lanes));
    let status = one.peers();
    assert_eq!(status[0].met.unwrap().feature_level, 3);
    assert!(
        status[0].lanes.iter().all(|lane| lane.state == LaneState::Connected && lane.rtt.is_some())
    );
}

#[tokio::test]
async fn the_service_learns_who_asks_for_which_group() {
    let (one, _two) = pair(service(|ask| {
        let text = format!("{} {} {} {}", ask.from, ask.lane, ask.group, ask.request.len());
        async move { Ok(text.into()) }.boxed()
    }))
    .await;
    assert_eq!(call(&one, Lane::Bulk, "abc").await.unwrap(), "1 bulk eu-west-1 3");
}

#[tokio::test]
async fn a_refusal_carries_its_reason() {
    let (one, _two) =
        pair(service(|_| async { Err(CallRefused("not the leader".to_owned())) }.boxed())).await;
    let refused = CallError::Refused { reason: "not the leader".to_owned() };
    assert_eq!(call(&one, Lane::Forward, "x").await.unwrap_err(), refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_pipelined_calls_keep_their_order() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let (one, _two) = pair(service(move |ask| {
        log.lock().push(u32::from_le_bytes(ask.request.as_ref().try_into().unwrap()));
        async move { Ok(ask.request) }.boxed()
    }))
    .await;

    let mut open = VecDeque::new();
    for number in 0_u32..10_000 {
        if open.len() == 1_000 {
            let (number, call): (u32, BoxFuture<'_, _>) = open.pop_front().unwrap();
            let answer: Result<Bytes, CallError> = within(call).await;
            assert_eq!(answer.unwrap(), number.to_le_bytes().as_slice());
        }
        let request = Bytes::copy_from_slice(&number.to_le_bytes());
        open.push_back((number, one.call(2, Lane::Log, GROUP, request, DEADLINE).boxed()));
    }

    for (number, call) in open {
        assert_eq!(within(call).await.unwrap(), number.to_le_bytes().as_slice());
    }

    assert_eq!(*seen.lock(), (0..10_000).collect::<Vec<u32>>());
}

#[tokio::test]
async fn the_order_is_that_of_the_calls_not_of_the_polls() {
    let (silent, mut coming, _going) = silent();
    let (one, _two) = pair(silent).await;
    let names = ["a", "b", "c", "d"];
    let calls: Vec<_> = names
        .map(|name| one.call(2, Lane::Log, GROUP, name.into(), DEADLINE))
        .into_iter()
        .collect();
    let polled = tokio::spawn(join_all(calls.into_iter().rev()));
    for name in names {
        assert_eq!(within(coming.recv()).await.unwrap(), name);
    }
    polled.abort();
}

#[tokio::test]
async fn answers_come_in_any_order() {
    let (one, _two) = pair(service(|ask| {
        async move {
            if ask.request == "slow" {
                std::future::pending::<()>().await;
            }
            Ok(ask.request)
        }
        .boxed()
    }))
    .await;
    let slow = one.call(2, Lane::Log, GROUP, "slow".into(), DEADLINE);
    assert_eq!(call(&one, Lane::Log, "fast").await.unwrap(), "fast");
    assert!(slow.now_or_never().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_than_the_lane_allows_are_handled_at_a_time() {
    for lane in Lane::ALL {
        let limit = lane.caps().concurrency;
        let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let gate = Arc::new(Semaphore::new(0));
        let state = (Arc::clone(&running), Arc::clone(&most), Arc::clone(&gate));

        let (one, two) = pair(service(move |ask| {
            let (running, most, gate) = state.clone();
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            async move {
                gate.acquire().await.unwrap().forget();
                running.fetch_sub(1, Ordering::SeqCst);
                Ok(ask.request)
            }
            .boxed()
        }))
        .await;

        let count = (limit + limit / 2).min(lane.caps().calls_max);
        let calls: Vec<_> =
            (0..count).map(|_| one.call(2, lane, GROUP, "x".into(), DEADLINE)).collect();
        let calls = tokio::spawn(join_all(calls));
        until("the limit is reached", || running.load(Ordering::SeqCst) == limit).await;
        gate.add_permits(count);

        assert!(within(calls).await.unwrap().iter().all(Result::is_ok));
        assert_eq!(most.load(Ordering::SeqCst), limit, "{lane}");
        one.shutdown().await;
        two.shutdown().await;
    }
}

#[tokio::test]
async fn a_dropped_call_is_dropped_at_the_peer() {
    let (silent, mut coming, mut going) = silent();
    let (one, _two) = pair(silent).await;
    let mut dropped = one.call(2, Lane::Forward, GROUP, "dropped".into(), DEADLINE).boxed();
    let mut kept = one.call(2, Lane::Forward, GROUP, "kept".into(), DEADLINE).boxed();
    assert!((&mut dropped).now_or_never().is_none() && (&mut kept).now_or_never().is_none());
    assert_eq!(within(coming.recv()).await.unwrap(), "dropped");
    assert_eq!(within(coming.recv()).await.unwrap(), "kept");
    drop(dropped);
    assert_eq!(within(going.recv()).await.unwrap(), "dropped");
    assert!(going.try_recv().is_err());
    drop(kept);
    assert_eq!(within(going.recv()).await.unwrap(), "kept");
    assert_eq!(one.peers()[0].lanes.iter().map(|lane| lane.calls_open).sum::<usize>(), 0);
}

#[tokio::test]
async fn a_call_that_was_never_begun_can_be_cancelled() {
    let (silent, mut coming, mut going) = silent();
    let (one, _two) = pair(silent).await;
    let limit = Lane::Bulk.caps().concurrency;
    let first: Vec<_> =
        (0..limit).map(|_| one.call(2, Lane::Bulk, GROUP, "first".into(), DEADLINE)).collect();

    let waiting = one.call(2, Lane::Bulk, GROUP, "waiting".into(), DEADLINE);
    let last = one.call(2, Lane::Bulk, GROUP, "last".into(), DEADLINE);
    for _ in 0..limit {
        assert_eq!(within(coming.recv()).await.unwrap(), "first");
    }

    drop(waiting);
    drop(first);
    assert_eq!(within(coming.recv()).await.unwrap(), "last");
    assert_eq!(within(going.recv()).await.unwrap(), "first");
    drop(last);
}

#[tokio::test]
async fn what_runs_out_of_time_is_lost_and_cancelled() {
    let (silent, mut coming, mut going) = silent();
    let (one, _two) = pair(silent).await;
    let limited = one.call(2, Lane::Forward, GROUP, "x".into(), Duration::from_millis(50));
    assert_eq!(within(limited).await.unwrap_err(), CallError::Lost(crate::Lost::TimedOut));
    within(coming.recv()).await.unwrap();
    within(going.recv()).await.unwrap();
}

#[tokio::test]
async fn large_requests_and_answers_are_whole() {
    let (one, _two) = pair(echo()).await;
    for lane in Lane::ALL {
        let max = lane.caps().frame_bytes_max - 29 - 1 - GROUP.len();
        for bytes in [4 * 1024, 4 * 1024 + 1, max] {
            let request: Bytes = (0..bytes).map(|at| u8::try_from(at % 251).unwrap()).collect();
            let answers = (0..3).map(|_| one.call(2, lane, GROUP, request.clone(), DEADLINE));
            for answer in within(join_all(answers)).await {
                assert!(answer.unwrap() == request, "{bytes} bytes over {lane}");
            }
        }
    }
}
