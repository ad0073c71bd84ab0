//! Peers by name, at several addresses, and over IPv6.

use super::*;

fn at(text: &str) -> LinkOptions {
    LinkOptions { listen: text.parse().unwrap(), ..options(2) }
}

/// Whatever else the name resolves to, as the IPv6 loopback, is tried too.
#[tokio::test]
async fn a_peer_is_found_by_its_name() {
    let (one, two) = (start(1, echo()).await, start(2, echo()).await);
    one.set_peer(2, format!("localhost:{}", two.address().port()));
    assert_eq!(call(&one, Lane::Log, "x").await, Ok("x".into()));
    assert!(one.probe(2, &format!("localhost:{}", two.address().port())).await.is_ok());
}

#[tokio::test]
async fn a_peer_is_found_over_ipv6() {
    let (one, two) = (start(1, echo()).await, Link::start(at("[::1]:0"), echo()).await.unwrap());
    one.set_peer(2, two.address().to_string());
    assert_eq!(call(&one, Lane::Log, "x").await, Ok("x".into()));
}

/// Of two places one is of another node by now, or of nobody: the greeting tells. No call fails for
/// it.
#[tokio::test]
async fn a_peer_is_found_beside_places_that_are_not_its_own() {
    let (one, two, three) =
        (start(1, echo()).await, start(2, echo()).await, start(3, echo()).await);
    for wrong in
        [three.address().to_string(), "node-2.invalid:7700".to_owned(), "127.0.0.1:1".to_owned()]
    {
        for places in [format!("{wrong},{}", two.address()), format!("{},{wrong}", two.address())] {
            one.set_peer(2, places.clone());
            assert_eq!(call(&one, Lane::Log, "x").await, Ok("x".into()), "{places}");
            assert!(one.probe(2, &places).await.is_ok(), "{places}");
        }
    }
    assert!(one.probe(2, &three.address().to_string()).await.is_err(), "it is node 3");
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_a_peer_that_is_down() {
    let one = start(1, echo()).await;
    one.set_peer(2, "node-2.invalid:7700");
    let reason = down_reason(&one, Lane::Control).await;
    assert!(reason.contains("the name node-2.invalid does not resolve"), "{reason}");
    one.set_peer(2, "no place");
    let reason = down_reason(&one, Lane::Control).await;
    assert!(reason.contains("host:port"), "{reason}");
}
