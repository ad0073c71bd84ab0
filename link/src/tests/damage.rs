use tokio::io::AsyncWriteExt;

use super::super::frame::{Batch, Kind};
use super::super::greeting::{Message, encode};
use super::raw::{Raw, greeting, listener, requests, written};
use super::*;

/// A service that must only ever see the payload "whole", and an honest caller beside the one that
/// misbehaves.
async fn guarded() -> (Link, Link, mpsc::UnboundedReceiver<Bytes>) {
    let (came, coming) = mpsc::unbounded_channel();
    let (one, two) = pair(service(move |ask| {
        if ask.from != 1 {
            came.send(ask.request.clone()).unwrap();
        }
        async move { Ok(ask.request) }.boxed()
    }))
    .await;
    assert!(call(&one, Lane::Log, "before").await.is_ok());
    (one, two, coming)
}

async fn unaffected(one: &Link, two: &Link) {
    assert_eq!(call(one, Lane::Log, "after").await.unwrap(), "after");
    until("only the honest one is left", || two.connections() == 1).await;
    assert!(one.peers()[0].lanes.iter().all(|lane| lane.error.is_none()));
}

#[tokio::test]
async fn garbage_closes_the_connection_and_nothing_else() {
    let (one, two, mut coming) = guarded().await;
    let pieces: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\nhost: x\r\n\r\n",
        &[0; 64],
        &[0xff; 64],
        &[1, 0, 0, 0, 9],
        b"\x04\0\0\0RQPL",
    ];

    for garbage in pieces {
        let mut raw = Raw::open(&two).await;
        raw.send(garbage).await;
        raw.closed().await;
        let mut raw = Raw::greeted(&two, 7, Lane::Log).await;
        raw.send(garbage).await;
        raw.closed().await;
    }

    assert!(coming.try_recv().is_err());
    unaffected(&one, &two).await;
}

#[tokio::test]
async fn a_claim_of_four_gigabytes_closes_the_connection_at_once() {
    let (one, two, _coming) = guarded().await;
    for claim in [u32::MAX, u32::try_from(Lane::Forward.caps().frame_bytes_max).unwrap() + 1] {
        let mut raw = Raw::greeted(&two, 7, Lane::Forward).await;
        raw.send(&claim.to_le_bytes()).await;
        raw.closed().await;
    }
    let mut raw = Raw::open(&two).await;
    raw.send(&u32::MAX.to_le_bytes()).await;
    raw.closed().await;
    unaffected(&one, &two).await;
}

#[tokio::test]
async fn half_a_frame_is_no_request() {
    let (one, two, mut coming) = guarded().await;
    let mut raw = Raw::greeted(&two, 7, Lane::Log).await;
    let frames = requests(raw.session, &["whole", "half"]);
    raw.send(&frames[..frames.len() - 1]).await;
    assert_eq!(within(coming.recv()).await.unwrap(), "whole");
    raw.stream.shutdown().await.unwrap();
    raw.closed().await;
    assert!(coming.try_recv().is_err());
    unaffected(&one, &two).await;
}

#[tokio::test]
async fn frames_of_an_older_connection_are_refused() {
    let (one, two, mut coming) = guarded().await;
    let mut raw = Raw::greeted(&two, 7, Lane::Log).await;
    let recorded = requests(raw.session, &["whole"]);
    raw.send(&recorded).await;
    assert_eq!(within(coming.recv()).await.unwrap(), "whole");
    // Once more on the same connection: its number does not rise.
    raw.send(&recorded).await;
    raw.closed().await;
    // And on a later one: it carries another session.
    let mut raw = Raw::greeted(&two, 7, Lane::Log).await;
    raw.send(&recorded).await;
    raw.closed().await;
    assert!(coming.try_recv().is_err());
    unaffected(&one, &two).await;
}

#[tokio::test]
async fn frames_that_are_missing_or_swapped_are_noticed() {
    let (one, two, mut coming) = guarded().await;
    let len = requests(0, &["whole"]).len();
    for swapped in [false, true] {
        let mut raw = Raw::greeted(&two, 7, Lane::Log).await;
        let frames = requests(raw.session, &["whole", "later"]);
        if swapped {
            raw.send(&[&frames[len..], &frames[..len]].concat()).await;
        } else {
            raw.send(&frames[len..]).await;
        }
        raw.closed().await;
    }
    assert!(coming.try_recv().is_err());
    unaffected(&one, &two).await;
}

#[tokio::test]
async fn no_flipped_bit_reaches_the_service() {
    let (one, two, mut coming) = guarded().await;
    let len = requests(0, &["whole"]).len();
    for bit in 0..len * 8 {
        let mut raw = Raw::greeted(&two, 7, Lane::Control).await;
        let mut frame = requests(raw.session, &["whole"]);
        frame[bit / 8] ^= 1 << (bit % 8);
        raw.send(&frame).await;
        raw.stream.shutdown().await.unwrap();
        raw.closed().await;
    }
    assert!(coming.try_recv().is_err());
    unaffected(&one, &two).await;
}

#[tokio::test]
async fn well_formed_nonsense_closes_the_connection() {
    let (one, two, mut coming) = guarded().await;
    let frames: [(Kind, u64, &[u8]); 6] = [
        (Kind::Request, 0, b"\x01gx"),
        (Kind::Request, 1, b""),
        (Kind::Request, 1, b"\0x"),
        (Kind::Request, 1, b"\x09short"),
        (Kind::Request, 1, b"\x02\xff\xff"),
        (Kind::Answer, 1, b"x"),
    ];

    for (kind, call, body) in frames {
        let mut raw = Raw::greeted(&two, 7, Lane::Control).await;
        let mut batch = Batch::new(raw.session);
        batch.push(kind, call, &[], Bytes::from_static(body));
        raw.send(&written(batch)).await;
        raw.closed().await;
    }

    assert!(coming.try_recv().is_err());
    // A cancellation of what is not there is no offence: the answer may just have left.
    let mut raw = Raw::greeted(&two, 7, Lane::Control).await;
    let mut batch = Batch::new(raw.session);
    batch.push(Kind::Cancel, 5, &[], Bytes::new());
    batch.push(Kind::Request, 6, b"\x01g", Bytes::from_static(b"whole"));

    raw.send(&written(batch)).await;
    assert!(raw.piece().await.ends_with(b"whole"));
    drop(raw);
    unaffected(&one, &two).await;
}

#[tokio::test]
async fn a_caller_does_not_believe_damaged_answers() {
    let (one, listener) = (start(1, echo()).await, listener().await);
    one.set_peer(2, listener.local_addr().unwrap().to_string());

    for damage in 0..4 {
        let caller = one.clone();
        let waiting = tokio::spawn(async move {
            loop {
                match call(&caller, Lane::Log, "x").await {
                    Err(CallError::NotSent(_)) => {
                        tokio::time::sleep(Duration::from_millis(1)).await
                    }
                    other => return other,
                }
            }
        });
        let mut raw = Raw::accept(&listener).await;
        let request = raw.piece().await;
        let number = u64::from_le_bytes(request[21..29].try_into().unwrap());
        let mut batch = Batch::new(if damage == 0 { 1 } else { raw.session });
        let kind = if damage == 1 { Kind::Request } else { Kind::Answer };
        batch.push(
            kind,
            if damage == 2 { number + 1 } else { number },
            &[],
            Bytes::from_static(b"forged"),
        );
        let mut answer = written(batch);
        if damage == 3 {
            *answer.last_mut().unwrap() ^= 1;
        }
        raw.send(&answer).await;
        raw.closed().await;
        let result = within(waiting).await.unwrap();
        assert!(matches!(result, Err(CallError::Lost(_))), "damage {damage}: {result:?}");
    }
}

#[tokio::test]
async fn a_connection_that_was_delayed_never_follows_its_successor() {
    let (one, two, mut coming) = guarded().await;
    for successor_gone in [false, true] {
        let mut delayed = Raw::open(&two).await;
        let Message::Welcome(welcome) = delayed.exchange(greeting(7, 2, Lane::Log)).await else {
            panic!("not welcome")
        };
        let mut successor = Raw::greeted(&two, 7, Lane::Log).await;
        successor.send(&requests(successor.session, &["whole"])).await;
        assert_eq!(within(coming.recv()).await.unwrap(), "whole");
        if successor_gone {
            drop(successor);
            until("it has ended", || two.connections() == 1).await;
        }
        let late = [
            encode(&Message::Confirm { echo: welcome.session }).to_vec(),
            requests(welcome.session, &["late"]),
        ];
        delayed.send(&late.concat()).await;
        delayed.closed().await;
    }

    assert!(coming.try_recv().is_err());
    unaffected(&one, &two).await;
}

#[tokio::test]
async fn a_service_that_panics_costs_one_connection() {
    let (one, two) = pair(service(|ask| {
        async move {
            assert!(ask.request != "boom", "asked to");
            Ok(ask.request)
        }
        .boxed()
    }))
    .await;
    assert!(call(&one, Lane::Log, "x").await.is_ok());
    assert!(matches!(call(&one, Lane::Forward, "boom").await, Err(CallError::Lost(_))));
    assert_eq!(lane_state(&one, Lane::Log), LaneState::Connected);
    call_until_answered(&one, Lane::Forward).await;
    assert_eq!(two.connections(), 2);
}
