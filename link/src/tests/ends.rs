use futures::future::join_all;

use super::raw::{Raw, listener};
use super::*;
use crate::Lost;

fn lost(result: Result<Bytes, CallError>) -> Lost {
    match result {
        Err(CallError::Lost(reason)) => reason,
        other => panic!("expected lost, got {other:?}"),
    }
}

#[tokio::test]
async fn calls_go_on_after_the_peer_was_replaced_or_started_again() {
    let (one, two) = pair(echo()).await;
    assert!(call(&one, Lane::Log, "x").await.is_ok());
    let listen = two.address();
    two.shutdown().await;
    // The same node starts again, then another folder takes its place.
    for incarnation in [1, 2] {
        let listen = ListenAddress::At(listen);
        let again =
            Link::start(LinkOptions { incarnation, listen, ..options(2) }, echo()).await.unwrap();
        call_until_answered(&one, Lane::Log).await;
        assert_eq!(one.peers()[0].met.unwrap().incarnation, incarnation);
        again.shutdown().await;
    }
}

#[tokio::test]
async fn before_the_peer_had_it_nothing_happened() {
    let (one, two) = pair(echo()).await;
    assert!(call(&one, Lane::Forward, "x").await.is_ok());
    two.shutdown().await;
    until("the break is noticed", || lane_state(&one, Lane::Forward) != LaneState::Connected).await;
    let began = Instant::now();
    let results = join_all((0..100).map(|_| call(&one, Lane::Forward, "y"))).await;
    assert!(
        results.iter().all(|result| result.as_ref().is_err_and(CallError::is_certain)),
        "{results:?}"
    );
    assert!(began.elapsed() < Duration::from_millis(500), "calls to a dead peer fail fast");
}

#[tokio::test]
async fn after_the_peer_had_it_nobody_knows() {
    let (silent, mut coming, mut going) = silent();
    let (one, two) = pair(silent).await;
    let open = tokio::spawn(one.call(2, Lane::Forward, GROUP, "x".into(), DEADLINE));
    within(coming.recv()).await.unwrap();
    two.shutdown().await;
    within(going.recv()).await.unwrap();
    assert!(matches!(lost(within(open).await.unwrap()), Lost::Broken(_)));
}

#[tokio::test]
async fn what_waits_for_a_connection_is_not_sent_when_time_runs_out() {
    let (one, listener) = (start(1, echo()).await, listener().await);
    one.set_peer(2, listener.local_addr().unwrap().to_string());
    // Nobody answers the greeting.
    let limited = one.call(2, Lane::Log, GROUP, "x".into(), Duration::from_millis(50));
    assert_eq!(within(limited).await, Err(CallError::NotSent(NotSent::TimedOut)));
}

#[tokio::test]
async fn nothing_of_a_call_without_a_greeting_leaves_this_node() {
    let (one, listener) = (start(1, echo()).await, listener().await);
    one.set_peer(2, listener.local_addr().unwrap().to_string());
    let open = tokio::spawn(one.call(2, Lane::Log, GROUP, "x".into(), DEADLINE));
    drop(within(listener.accept()).await.unwrap());
    let result = within(open).await.unwrap();
    assert!(matches!(result, Err(CallError::NotSent(NotSent::Down(_)))), "{result:?}");
}

#[tokio::test]
async fn an_unknown_peer_is_not_called() {
    let (one, _two) = pair(echo()).await;
    let unknown = one.call(3, Lane::Log, GROUP, "x".into(), DEADLINE);
    assert_eq!(within(unknown).await, Err(CallError::NotSent(NotSent::NoPeer)));
    one.remove_peer(2);
    assert_eq!(call(&one, Lane::Log, "x").await, Err(CallError::NotSent(NotSent::NoPeer)));
}

#[tokio::test]
async fn calls_to_a_removed_or_moved_peer_end() {
    let (silent, mut coming, mut going) = silent();
    let (one, two) = pair(silent).await;
    let three = start(2, echo()).await;

    for moved in [true, false] {
        one.set_peer(2, two.address().to_string());
        let open = tokio::spawn(one.call(2, Lane::Forward, GROUP, "x".into(), DEADLINE));
        within(coming.recv()).await.unwrap();
        if moved {
            one.set_peer(2, three.address().to_string());
            assert_eq!(call(&one, Lane::Forward, "moved").await.unwrap(), "moved");
        } else {
            one.remove_peer(2);
        }
        assert_eq!(lost(within(open).await.unwrap()), Lost::Removed);
        within(going.recv()).await.unwrap();
    }

    assert!(one.peers().is_empty());
}

#[tokio::test]
async fn setting_the_same_peer_again_changes_nothing() {
    let (silent, mut coming, _going) = silent();
    let (one, two) = pair(silent).await;
    let mut open = one.call(2, Lane::Forward, GROUP, "x".into(), DEADLINE).boxed();
    within(coming.recv()).await.unwrap();
    one.set_peer(2, two.address().to_string());
    assert!((&mut open).now_or_never().is_none());
    assert_eq!(lane_state(&one, Lane::Forward), LaneState::Connected);
}

#[tokio::test]
async fn a_shutdown_ends_every_task_and_call() {
    let (silent, mut coming, mut going) = silent();
    let (one, two) = pair(silent).await;
    two.set_peer(1, one.address().to_string());
    let lanes = Lane::ALL.map(|lane| tokio::spawn(one.call(2, lane, GROUP, "x".into(), DEADLINE)));
    for _ in 0..4 {
        within(coming.recv()).await.unwrap();
    }

    assert!(within(two.call(1, Lane::Log, GROUP, "x".into(), DEADLINE)).await.is_ok());
    let _mute = Raw::open(&one).await;
    until("five tasks for lanes, one that accepts, one that waits", || one.tasks() == 7).await;
    within(one.shutdown()).await;
    assert_eq!((one.tasks(), one.connections()), (0, 0));

    for open in lanes {
        assert_eq!(lost(within(open).await.unwrap()), Lost::Shutdown);
        within(going.recv()).await.unwrap();
    }

    assert_eq!(call(&one, Lane::Log, "x").await, Err(CallError::NotSent(NotSent::Shutdown)));
    one.set_peer(2, two.address().to_string());
    assert_eq!(call(&one, Lane::Log, "x").await, Err(CallError::NotSent(NotSent::Shutdown)));
    assert!(tokio::net::TcpStream::connect(one.address()).await.is_err());
    until("the other side notices", || two.connections() == 0).await;
    within(two.shutdown()).await;
    assert_eq!(two.tasks(), 0);
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_link() {
    let (one, two) = pair(echo()).await;
    let clone = one.clone();
    assert!(call(&one, Lane::Log, "x").await.is_ok());
    drop(one);
    assert!(call(&clone, Lane::Log, "x").await.is_ok());
    let address = clone.address();
    drop(clone);
    until("the other side notices", || two.connections() == 0).await;
    let began = Instant::now();
    while tokio::net::TcpStream::connect(address).await.is_ok() {
        assert!(began.elapsed() < DEADLINE);
    }
}

#[tokio::test]
async fn a_link_works_after_many_failed_attempts() {
    let one = start(1, echo()).await;
    let gone = listener().await;
    let listen = gone.local_addr().unwrap();
    drop(gone);
    one.set_peer(2, listen.to_string());
    for _ in 0..50 {
        down_reason(&one, Lane::Control).await;
    }
    until("it is known to be down", || lane_state(&one, Lane::Control) == LaneState::Down).await;
    let listen = ListenAddress::At(listen);
    let _two = Link::start(LinkOptions { listen, ..options(2) }, echo()).await.unwrap();
    call_until_answered(&one, Lane::Control).await;
}
