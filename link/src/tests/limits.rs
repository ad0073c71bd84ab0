use super::super::greeting::{Message, RefusalCode};
use super::raw::{Raw, greeting, requests};
use super::*;
use crate::caps;

fn not_sent(result: Result<Bytes, CallError>) -> NotSent {
    match result {
        Err(CallError::NotSent(reason)) => reason,
        other => panic!("expected not sent, got {other:?}"),
    }
}

#[tokio::test]
async fn a_frame_that_is_too_large_is_refused_before_it_is_sent() {
    let (one, two) = pair(echo()).await;
    let max = Lane::Control.caps().frame_bytes_max - 29 - 1 - GROUP.len();
    let request = Bytes::from(vec![0; max + 1]);
    let answer = within(one.call(2, Lane::Control, GROUP, request, DEADLINE)).await;
    assert_eq!(not_sent(answer), NotSent::TooLarge { bytes: max + 1, max });
    assert_eq!(two.connections(), 0);
}

#[tokio::test]
async fn an_answer_that_is_too_large_is_a_refusal() {
    let (one, _two) =
        pair(service(|_| async { Ok(Bytes::from(vec![0; 300 * 1024])) }.boxed())).await;
    let Err(CallError::Refused { reason }) = call(&one, Lane::Forward, "x").await else {
        panic!("not refused")
    };
    assert_eq!(reason, "the answer has 307200 bytes, 262115 are allowed");
    assert_eq!(lane_state(&one, Lane::Forward), LaneState::Connected);
}

#[tokio::test]
async fn names_of_groups_are_bounded() {
    let (one, _two) = pair(echo()).await;
    for name in [String::new(), "x".repeat(caps::GROUP_NAME_BYTES_MAX + 1)] {
        assert_eq!(
            not_sent(within(one.call(2, Lane::Log, &name, "x".into(), DEADLINE)).await),
            NotSent::GroupName
        );
    }
    let name = "x".repeat(caps::GROUP_NAME_BYTES_MAX);
    assert!(within(one.call(2, Lane::Log, &name, "x".into(), DEADLINE)).await.is_ok());
}

#[tokio::test]
async fn a_full_queue_is_not_sent() {
    let (silent, mut coming, _going) = silent();
    let (one, _two) = pair(silent).await;
    for lane in Lane::ALL {
        let max = lane.caps().calls_max;
        let open: Vec<_> =
            (0..max).map(|_| one.call(2, lane, GROUP, "x".into(), DEADLINE)).collect();
        assert_eq!(not_sent(call(&one, lane, "one more").await), NotSent::QueueFull);
        within(coming.recv()).await.unwrap();
        drop(open);
        let mut again = one.call(2, lane, GROUP, "again".into(), DEADLINE).boxed();
        assert!((&mut again).now_or_never().is_none(), "there is room again");
        while within(coming.recv()).await.unwrap() != "again" {}
    }
}

#[tokio::test]
async fn bytes_that_are_open_are_bounded() {
    let (silent, mut coming, _going) = silent();
    let (one, _two) = pair(silent).await;
    let large = Bytes::from(vec![0; 1024 * 1024]);
    let open: Vec<_> =
        (0..8).map(|_| one.call(2, Lane::Bulk, GROUP, large.clone(), DEADLINE)).collect();

    for _ in 0..4 {
        within(coming.recv()).await.unwrap();
    }

    assert_eq!(not_sent(call(&one, Lane::Bulk, "x").await), NotSent::QueueFull);
    drop(open);
    let _again: Vec<_> =
        (0..8).map(|_| one.call(2, Lane::Bulk, GROUP, large.clone(), DEADLINE)).collect();

    for _ in 0..4 {
        within(coming.recv()).await.unwrap();
    }

    assert_eq!(not_sent(call(&one, Lane::Bulk, "x").await), NotSent::QueueFull);
}

#[tokio::test]
async fn a_peer_that_reads_no_answers_cannot_pile_them_up() {
    let handled = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let large = Bytes::from(vec![0; 256 * 1024 - 100]);

    let two = start(
        2,
        service(move |_| {
            count.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            let large = large.clone();
            async move { Ok(large) }.boxed()
        }),
    )
    .await;

    let mut raw = Raw::greeted(&two, 1, Lane::Forward).await;
    raw.send(&requests(raw.session, &["x"; 8_000])).await;
    until("it works", || handled.load(std::sync::atomic::Ordering::SeqCst) > 60).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    let begun = handled.load(std::sync::atomic::Ordering::SeqCst);

    // What the outbox, one batch and the buffers of two kernels hold, not 8,000 of them.
    assert!(begun < 4_500, "{begun} answers were made");
}

#[tokio::test]
async fn connections_are_bounded_in_number() {
    let two = start(2, echo()).await;
    let mut open = Vec::new();
    let nodes = u64::try_from(caps::CONNECTIONS_MAX / Lane::ALL.len()).unwrap();

    for node in 100..100 + nodes {
        for lane in Lane::ALL {
            open.push(Raw::greeted(&two, node, lane).await);
        }
    }

    until("all are admitted", || two.connections() == caps::CONNECTIONS_MAX).await;
    let Message::Refusal(refusal) =
        Raw::open(&two).await.exchange(greeting(1, 2, Lane::Control)).await
    else {
        panic!("not refused")
    };

    assert_eq!(refusal.code, RefusalCode::Busy);
    open.truncate(1);
    until("they are gone", || two.connections() == 1).await;
    Raw::greeted(&two, 1, Lane::Control).await;
}

#[tokio::test]
async fn a_node_has_one_connection_a_lane() {
    let two = start(2, echo()).await;
    let mut old = Raw::greeted(&two, 1, Lane::Log).await;
    let mut new = Raw::greeted(&two, 1, Lane::Log).await;
    old.closed().await;
    until("one is left", || two.connections() == 1).await;
    new.send(&requests(new.session, &["x"])).await;
    assert!(new.piece().await.ends_with(b"x"));
}

#[tokio::test]
async fn whoever_does_not_greet_makes_room_and_is_closed_in_time() {
    let (one, two) = pair(echo()).await;
    let mut mute = Vec::new();
    let began = Instant::now();
    for _ in 0..caps::UNGREETED_MAX + 10 {
        mute.push(Raw::open(&two).await);
    }

    // The oldest make room for an honest peer.
    assert!(call(&one, Lane::Control, "x").await.is_ok());
    for raw in &mut mute[..10] {
        raw.closed().await;
    }

    assert!(
        began.elapsed() < caps::HANDSHAKE_TIME_MAX / 2,
        "they were closed because of the others"
    );

    for raw in &mut mute {
        raw.closed().await;
    }

    assert!(began.elapsed() < caps::HANDSHAKE_TIME_MAX + Duration::from_secs(1));
    assert_eq!(two.connections(), 1);
}

#[tokio::test]
async fn a_greeting_in_drops_is_closed_in_time() {
    let two = start(2, echo()).await;
    let hello = super::super::greeting::encode(&Message::Hello(greeting(1, 2, Lane::Log)));
    let mut raw = Raw::open(&two).await;
    let began = Instant::now();
    for byte in hello.iter().cycle() {
        let slow = timeout(Duration::from_millis(100), raw.closed()).await;
        if slow.is_ok()
            || tokio::io::AsyncWriteExt::write_all(&mut raw.stream, &[*byte]).await.is_err()
        {
            break;
        }
        assert!(began.elapsed() < caps::HANDSHAKE_TIME_MAX + Duration::from_secs(1));
    }
    assert_eq!(two.connections(), 0);
}
