//! What happens in another region is told by any node.

use std::time::Duration;

use ratequeue_api::client::{Client, ClientError, EventMessage, EventReader, EventsRequest};
use ratequeue_api::event::EventKind;
use serde_json::json;

use super::{EU, US, near};
use crate::harness::concurrency;
use crate::turn::Turn;

const PATIENCE: Duration = Duration::from_secs(10);

async fn next(events: &mut EventReader) -> EventMessage {
    tokio::time::timeout(PATIENCE, events.next()).await.expect("it is told soon").unwrap()
}

async fn kinds(events: &mut EventReader, count: usize) -> Vec<EventKind> {
    let mut kinds = Vec::new();
    while kinds.len() < count {
        let EventMessage::Event(event) = next(events).await else { continue };
        assert_eq!((event.group.as_str(), event.resource.as_deref()), (EU, Some("far")));
        kinds.push(event.kind);
    }
    kinds
}

#[tokio::test]
async fn events_of_another_region_are_told_and_its_loss_is_no_silence() {
    let _turn = Turn::shared();
    let mut cluster = near(&[(EU, 1), (US, 1)]).await;
    let body = json!({"placement": EU, "limits": concurrency(1)});
    cluster.at(2).put("/v1/resources/far", body).await.is(201);

    let client = Client::new(&cluster.at(2).url(), None, Duration::from_secs(2)).unwrap();
    let named = EventsRequest { resources: vec!["far".to_owned()], ..EventsRequest::default() };
    let region = EventsRequest { region: Some(EU.to_owned()), ..EventsRequest::default() };
    let mut readers = [client.events(&named), client.events(&region)];
    for reader in &mut readers {
        let EventMessage::Ready(ready) = next(reader).await else { panic!("it begins so") };
        assert_eq!(ready.at.keys().collect::<Vec<_>>(), [EU]);
    }

    let held = cluster.at(2).granted("far", json!({})).await;
    let waiting = cluster.at(1).waiting("far", json!({})).await;
    cluster.at(2).release(&held.id()).await.is(200);
    cluster.at(1).release(&waiting.id()).await.is(200);
    let told = {
        use EventKind::{Granted, Queued, Released};
        [Granted, Queued, Released, Granted, Released]
    };
    for reader in &mut readers {
        assert_eq!(kinds(reader, told.len()).await, told);
    }

    cluster.node_mut(1).kill().await;
    for reader in &mut readers {
        let lost = tokio::time::timeout(Duration::from_secs(30), reader.next()).await.unwrap();
        assert!(matches!(lost, Err(ClientError::Unavailable(_))), "{lost:?}");
    }
}
