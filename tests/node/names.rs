//! Names with characters that mean something in a path: through every call, the command line and
//! the client.

use std::time::Duration;

use crate::harness::{Client, Node, concurrency, eventually, run};
use ratequeue_api::client;
use ratequeue_api::path::segment;
use reqwest::Method;
use serde_json::{Value, json};

/// In name order.
const NAMES: [&str; 5] =
    ["+x", "a+b=c~[1]", "azure/gpt-4.1-ptu", "models/gemini-1.5-pro", "user@example.com"];

async fn node() -> Node {
    let node = Node::start().await;
    // A node that has just begun to lead may not know of such names yet.
    eventually("it is at its level", || async {
        node.client.is_at_the_level().await.then_some(())
    })
    .await;
    node
}

#[tokio::test]
async fn every_call_takes_a_name_that_is_encoded() {
    let node = node().await;
    let client = &node.client;
    for name in NAMES {
        let path = format!("/v1/resources/{}", segment(name));
        let created = client.put(&path, json!({"limits": concurrency(2)})).await;
        assert_eq!(created.is(201).str("name"), name);
        assert_eq!(client.get(&path).await.is(200).str("name"), name);
        assert_eq!(
            client
                .patch(&path, json!({"limits": {"slots": {"quota": 3}}}))
                .await
                .is(200)
                .u64("version"),
            2
        );

        let held = client.post(&format!("{path}/acquire"), json!({})).await;
        assert_eq!(held.is(200).str("resource"), name);
        assert_eq!(client.leases(&segment(name), "held").await[0]["resource"], name);
        assert_eq!(client.stats(&segment(name)).await["held"], 1);
        assert_eq!(client.lease(&held.id()).await.is(200).str("resource"), name);
        client.release(&held.id()).await.is(200);
    }

    let metrics = client.get("/metrics").await.text;
    for name in NAMES {
        assert!(
            metrics.contains(&format!("ratequeue_acquires_total{{resource=\"{name}\"")),
            "{name}: {metrics}"
        );
    }
    assert_eq!(pages(client).await, NAMES);
    for name in NAMES {
        let path = format!("/v1/resources/{}", segment(name));
        client.delete(&path).await.is(204);
        let gone = client.get(&path).await;
        assert_eq!(gone.problem(404, "resource-not-found").body["resource"], name);
        gone.says(&[name]);
    }
}

/// The names of all resources, in pages of one.
async fn pages(client: &Client) -> Vec<String> {
    let (mut names, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = client.get(&format!("/v1/resources?limit=1&cursor={}", segment(&cursor))).await;
        let items = page.is(200).body["items"].as_array().unwrap();
        names.extend(items.iter().map(|item| item["name"].as_str().unwrap().to_owned()));
        match page.body["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => return names,
        }
    }
}

#[tokio::test]
async fn the_client_encodes_them() {
    let node = node().await;
    let client = client::Client::new(&node.url(), None, Duration::from_secs(10)).unwrap();
    let resource = serde_json::from_value(json!({"limits": concurrency(2)})).unwrap();

    for name in NAMES {
        assert_eq!(client.put_resource(name, &resource).await.unwrap().name, name);
        assert_eq!(client.resource(name).await.unwrap().unwrap().name, name);
        let request = serde_json::from_value(json!({})).unwrap();
        let lease =
            client.acquire(name, &request, &client::Client::new_key(), |_| {}).await.unwrap();
        assert_eq!(lease.resource, name);
        client.release(&lease.id, &Default::default()).await.unwrap();
    }

    let (mut names, mut cursor) = (Vec::new(), None);
    loop {
        let page = client.resources(1, cursor.as_deref()).await.unwrap();
        names.extend(page.items.into_iter().map(|view| view.name));
        cursor = page.next_cursor;
        if cursor.is_none() {
            break;
        }
    }

    assert_eq!(names, NAMES);
    for name in NAMES {
        client.delete_resource(name).await.unwrap();
        assert!(client.resource(name).await.unwrap().is_none());
    }
}

#[tokio::test]
async fn the_command_line_encodes_them() {
    let node = node().await;
    let tables = NAMES.map(|name| {
        format!("[resources.\"{name}\".limits]\nslots = {{ kind = \"concurrency\", quota = 1 }}\n")
    });

    let file = node.tree().file("names.toml", &tables.concat());
    let against = |args: &[&str]| {
        let (args, url): (Vec<String>, _) =
            (args.iter().map(|arg| (*arg).to_owned()).collect(), node.url());
        async move {
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            let output = run(&args, &[("RATEQUEUE_URL", &url)]).await;
            assert!(
                output.status.success(),
                "{args:?}: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
    };

    against(&["resource", "apply", "-f", &file.display().to_string()]).await;
    let list: Value =
        serde_json::from_str(&against(&["resource", "list", "--json"]).await).unwrap();
    let listed: Vec<_> = list.as_array().unwrap().iter().map(|view| view["name"].clone()).collect();
    assert_eq!(listed, NAMES);

    for name in NAMES {
        let view: Value =
            serde_json::from_str(&against(&["resource", "get", name, "--json"]).await).unwrap();
        assert_eq!(view["name"], name);
        assert_eq!(against(&["acquire", name, "--", "echo", "ran"]).await, "ran\n");
        assert_eq!(against(&["resource", "delete", name]).await, format!("{name}: deleted\n"));
    }
}

#[tokio::test]
async fn what_is_no_name_is_told_why() {
    let node = node().await;
    let limits = json!({"limits": concurrency(1)});
    for (path, status, code, words) in [
        ("azure/gpt-4.1", 404, "not-found", "/ is written %2F"),
        ("azure%252Fgpt-4.1", 400, "bad-request", "encoded twice"),
        ("a%20b", 400, "bad-request", "it has ' '"),
        ("%C3%A9", 400, "bad-request", "it has 'é'"),
        ("a%3Fb", 400, "bad-request", "it has '?'"),
        (&"x".repeat(257), 400, "bad-request", "it has 257"),
    ] {
        let refused = node
            .client
            .call(Method::PUT, &format!("/v1/resources/{path}"), &[], Some(limits.clone()))
            .await;
        refused.problem(status, code).says(&[words]);
    }

    let longest = "/".repeat(256);
    let path = format!("/v1/resources/{}", segment(&longest));
    assert_eq!(node.client.put(&path, limits).await.is(201).str("name"), longest);
}

/// A call of a name that nobody knows is no work for the log, unless its key may be remembered from
/// when there was one.
#[tokio::test]
async fn an_unknown_name_is_answered_by_a_read() {
    let node = node().await;
    let indexes = || async {
        let groups = node.client.get("/v1/cluster").await.body["groups"].clone();
        ["local", "global"].map(|name| groups[name]["applied_index"].as_u64().unwrap())
    };

    let before = indexes().await;
    for _ in 0..3 {
        node.client.acquire("nobody", json!({})).await.problem(404, "resource-not-found");
        node.client
            .patch("/v1/resources/nobody", json!({}))
            .await
            .problem(404, "resource-not-found");
        node.client.delete("/v1/resources/nobody").await.problem(404, "resource-not-found");
    }

    assert_eq!(indexes().await, before);
    let keyed = node.client.keyed("/v1/resources/nobody/acquire", "k", json!({})).await;
    keyed.problem(404, "resource-not-found");
    assert!(indexes().await > before);
}
