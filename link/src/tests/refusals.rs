use super::super::greeting::{Message, Refusal, RefusalCode, encode};
use super::raw::{Raw, greeting, listener};
use super::*;

async fn refusal(
    link: &Link,
    change: impl FnOnce(&mut super::super::greeting::Greeting),
) -> Refusal {
    let mut hello = greeting(1, 2, Lane::Control);
    change(&mut hello);
    let mut raw = Raw::open(link).await;
    let Message::Refusal(refusal) = raw.exchange(hello).await else { panic!("not refused") };
    raw.closed().await;
    refusal
}

#[tokio::test]
async fn another_cluster_is_refused_on_both_sides() {
    let one = start(1, echo()).await;
    let two = Link::start(LinkOptions { cluster_id: "c-2".to_owned(), ..options(2) }, echo())
        .await
        .unwrap();
    one.set_peer(2, two.address().to_string());
    let reason = down_reason(&one, Lane::Control).await;
    assert_eq!(reason, "refused by the peer: node 1 belongs to another cluster: 'c-1', not 'c-2'");

    let (liar, listener) = (start(1, echo()).await, listener().await);
    liar.set_peer(2, listener.local_addr().unwrap().to_string());
    let waiting = tokio::spawn(async move { down_reason(&liar, Lane::Log).await });
    let (stream, _) = listener.accept().await.unwrap();
    let mut raw = Raw { stream, session: 0 };
    let Message::Hello(hello) = raw.message().await else { panic!("no hello") };
    let mut welcome = greeting(2, 1, Lane::Log);
    (welcome.cluster, welcome.echo) = ("c-3".to_owned(), hello.session);
    raw.send(&encode(&Message::Welcome(welcome))).await;
    let Message::Refusal(refusal) = raw.message().await else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::Cluster);
    assert_eq!(within(waiting).await.unwrap(), format!("refused the peer: {}", refusal.reason));
}

#[tokio::test]
async fn a_wrong_node_at_the_address_is_refused() {
    let (one, three) = (start(1, echo()).await, start(3, echo()).await);
    one.set_peer(2, three.address().to_string());
    let reason = down_reason(&one, Lane::Control).await;
    assert_eq!(reason, "refused by the peer: wrong node at this address: this is node 3, not 2");
    let status = &one.peers()[0].lanes[0];
    assert_eq!((status.state, status.error.as_ref()), (LaneState::Down, Some(&reason)));
}

#[tokio::test]
async fn a_node_that_calls_itself_is_refused() {
    let one = start(1, echo()).await;
    let Message::Refusal(refusal) = Raw::open(&one).await.exchange(greeting(1, 1, Lane::Log)).await
    else {
        panic!("not refused")
    };
    assert_eq!(refusal.code, RefusalCode::Node);
}

#[tokio::test]
async fn lower_incarnations_are_refused_and_closed() {
    let two = start(2, echo()).await;
    let mut control = Raw::greeted(&two, 1, Lane::Control).await;
    let mut log = Raw::greeted(&two, 1, Lane::Log).await;
    until("both are admitted", || two.connections() == 2).await;
    let one = Link::start(LinkOptions { incarnation: 2, ..options(1) }, echo()).await.unwrap();
    one.set_peer(2, two.address().to_string());
    assert!(call(&one, Lane::Control, "x").await.is_ok());
    control.closed().await;
    log.closed().await;
    let refusal = refusal(&two, |hello| hello.incarnation = 1).await;
    assert_eq!(refusal.code, RefusalCode::Incarnation);
    assert_eq!(refusal.reason, "incarnation 1 of node 1 is over: 2 was met");
    assert!(call(&one, Lane::Control, "x").await.is_ok(), "the newer one goes on");
}

#[tokio::test]
async fn a_greeting_alone_does_not_make_an_incarnation_known() {
    let two = start(2, echo()).await;
    let mut hello = greeting(1, 2, Lane::Log);
    hello.incarnation = u64::MAX;
    let mut replayed = Raw::open(&two).await;
    assert!(matches!(replayed.exchange(hello).await, Message::Welcome(_)));
    replayed.send(&encode(&Message::Confirm { echo: 4_711 })).await;
    let Message::Refusal(refusal) = replayed.message().await else { panic!("not refused") };
    assert_eq!(refusal.code, RefusalCode::Malformed);
    Raw::greeted(&two, 1, Lane::Log).await;
}

#[tokio::test]
async fn the_caller_refuses_a_lower_incarnation_too() {
    let one = start(1, echo()).await;
    let new = Link::start(LinkOptions { incarnation: 9, ..options(2) }, echo()).await.unwrap();
    let old = Link::start(LinkOptions { incarnation: 8, ..options(2) }, echo()).await.unwrap();
    one.set_peer(2, new.address().to_string());
    assert!(call(&one, Lane::Control, "x").await.is_ok());
    one.set_peer(2, old.address().to_string());
    let reason = down_reason(&one, Lane::Control).await;
    assert_eq!(reason, "refused the peer: incarnation 8 of node 2 is over: 9 was met");
}

#[tokio::test]
async fn unknown_versions_lanes_and_magic_are_refused() {
    let two = start(2, echo()).await;
    let newer = refusal(&two, |hello| (hello.wire_min, hello.wire_max) = (2, 3)).await;
    assert_eq!(
        (newer.code, newer.reason.as_str()),
        (RefusalCode::Version, "wire versions 2 to 3 are not 1 to 1")
    );
    assert_eq!(refusal(&two, |hello| hello.lane = 9).await.code, RefusalCode::Malformed);

    let hello = encode(&Message::Hello(greeting(1, 2, Lane::Log)));
    for (at, code) in
        [(4, RefusalCode::Magic), (8, RefusalCode::Malformed), (20, RefusalCode::Malformed)]
    {
        let mut damaged = hello.to_vec();
        damaged[at] ^= 0x10;
        let mut raw = Raw::open(&two).await;
        raw.send(&damaged).await;
        let Message::Refusal(refusal) = raw.message().await else { panic!("not refused") };
        assert_eq!(refusal.code, code, "byte {at}");
        raw.closed().await;
    }
    // A range that reaches this version is welcome.
    let mut raw = Raw::open(&two).await;
    let mut hello = greeting(1, 2, Lane::Log);
    (hello.wire_min, hello.wire_max) = (0, 7);
    let Message::Welcome(welcome) = raw.exchange(hello).await else { panic!("not welcome") };
    assert_eq!((welcome.wire_min, welcome.wire_max), (1, 1));
}

#[tokio::test]
async fn cluster_ids_are_bounded() {
    for cluster_id in [String::new(), "x".repeat(65)] {
        assert!(Link::start(LinkOptions { cluster_id, ..options(1) }, echo()).await.is_err());
    }
}

#[tokio::test]
async fn a_probe_says_who_is_at_an_address_and_touches_nothing() {
    let (one, two) = pair(echo()).await;
    call_until_answered(&one, Lane::Control).await;
    let connections = two.connections();
    for _ in 0..3 {
        within(one.probe(2, &two.address().to_string())).await.unwrap();
    }
    let reason = within(one.probe(3, &two.address().to_string())).await.unwrap_err().to_string();
    assert_eq!(reason, "refused by the peer: wrong node at this address: this is node 2, not 3");
    let nobody = listener().await.local_addr().unwrap();
    let reason = within(one.probe(2, &nobody.to_string())).await.unwrap_err().to_string();
    assert!(reason.contains("refused"), "{reason}");

    // The lane that there was is still there.
    assert_eq!(
        (two.connections(), lane_state(&one, Lane::Control)),
        (connections, LaneState::Connected)
    );
    call(&one, Lane::Control, "on the same connection").await.unwrap();
}
