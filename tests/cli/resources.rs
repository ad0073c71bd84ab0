//! `ratequeue resource`: limits as files.

use serde_json::{Value, json};

use super::harness::{Node, Tree, concurrency, rate};
use super::{against, ended, fed, said, text};

pub const FILE: &str = "
[resources.openai.limits.tpm]
kind = 'rate'
algorithm = 'token_bucket'
quota = 90000
window_ms = 60000

[resources.openai.limits.slots]
kind = 'concurrency'
quota = 20

[resources.plain]
queue = { max_waiting = 5 }
limits.rpm = { kind = 'rate', quota = 60, window_ms = 60000 }
";

#[tokio::test]
async fn resource_apply_makes_and_changes_what_a_file_says() {
    let node = Node::start().await;
    let client = &node.client;
    let file = node.tree().file("limits.toml", FILE);
    let path = file.to_str().unwrap();
    let dry = ended(&against(client, &["resource", "apply", "-f", path, "--dry-run"]).await, 0);
    assert!(
        dry.contains("openai: would be created") && dry.contains("plain: would be created"),
        "{dry}"
    );
    assert!(dry.contains("  limits.tpm.quota: 90000\n"), "{dry}");
    // What is not in the file is not shown as if it were.
    assert!(!dry.contains("->") && !dry.contains("cost") && !dry.contains("lease"), "{dry}");
    client.get("/v1/resources/openai").await.problem(404, "resource-not-found");

    let applied = ended(&against(client, &["resource", "apply", "-f", path]).await, 0);
    assert!(applied.contains("openai: created") && applied.contains("plain: created"), "{applied}");
    let plain = client.get("/v1/resources/plain").await;
    assert_eq!(
        plain.is(200).body["queue"],
        json!({"max_waiting": 5, "max_wait_ms": 60000, "claim_ms": 5000})
    );

    let index = client.applied_index().await;
    let again = ended(&against(client, &["resource", "apply", "-f", path]).await, 0);
    assert_eq!(again, "openai: unchanged\nplain: unchanged\n");
    assert_eq!(client.applied_index().await, index, "and nothing was sent");

    node.tree()
        .file("limits.toml", &FILE.replace("90000", "120000").replace("max_waiting = 5", ""));
    let dry = ended(&against(client, &["resource", "apply", "-f", path, "--dry-run"]).await, 0);
    let expected = [
        "openai: would be changed",
        "  limits.tpm.quota: 90000 -> 120000",
        "plain: would be changed",
        "  queue.max_waiting: 5 -> 10000",
    ];
    assert_eq!(dry.lines().collect::<Vec<_>>(), expected);
    assert_eq!(client.applied_index().await, index);
    let changed = ended(&against(client, &["resource", "apply", "-f", path]).await, 0);
    assert!(changed.contains("openai: changed") && !changed.contains("would"), "{changed}");
    assert_eq!(client.get("/v1/resources/openai").await.body["limits"]["tpm"]["quota"], 120_000);
}

#[tokio::test]
async fn resource_apply_takes_a_folder() {
    let node = Node::start().await;
    let client = &node.client;
    let tree = Tree::new();
    let folder = tree.path().to_str().unwrap();
    ended(&against(client, &["resource", "apply", "-f", folder]).await, 2);
    tree.file("a.toml", FILE);

    tree.file(
        "b.json",
        &json!({"resources": {"from-json": {"limits": concurrency(3)}}}).to_string(),
    );

    tree.file("notes.txt", "not looked at");
    let applied = ended(&against(client, &["resource", "apply", "-f", folder]).await, 0);
    for name in ["openai", "plain", "from-json"] {
        assert!(applied.contains(&format!("{name}: created")), "{applied}");
        client.get(&format!("/v1/resources/{name}")).await.is(200);
    }

    for (name, content, words) in [
        ("c.toml", "[resources.openai]\nlimits = {}\n", &["c.toml", "openai", "another file"][..]),
        (
            "c.toml",
            "[resources.x.limits.a]\nkind = 'rate'\nqouta = 5\n",
            &["c.toml", "line 3", "qouta", "quota"],
        ),
        ("c.toml", "[resource.x]\n", &["c.toml", "resource", "resources"]),
    ] {
        tree.file(name, content);
        let index = client.applied_index().await;
        let output = against(client, &["resource", "apply", "-f", folder]).await;
        ended(&output, 2);
        for word in words {
            assert!(text(&output.stderr).contains(word), "{word}: {}", text(&output.stderr));
        }
        assert_eq!(client.applied_index().await, index, "nothing was sent");
    }

    tree.file("c.toml", "[resources.bad]\nlimits = {}\n");
    let output = against(client, &["resource", "apply", "-f", folder]).await;
    ended(&output, 1);

    assert!(
        text(&output.stderr).contains("bad: ") && text(&output.stderr).contains("1 to 16"),
        "{output:?}"
    );
}

#[tokio::test]
async fn resource_apply_goes_on_past_a_bad_resource_and_sums_up() {
    let node = Node::start().await;
    let client = &node.client;
    let bad = "[resources.aa]\nlimits = {}\n[resources.zz]\nplacement = 'mars'\nlimits = {}\n";
    let file = node.tree().file("limits.toml", &format!("{bad}{FILE}"));
    let output = against(client, &["resource", "apply", file.to_str().unwrap()]).await;
    said(&output, 1, &["aa: ", "1 to 16", "zz: ", "2 of 4 could not be applied: aa, zz"]);
    assert!(
        text(&output.stdout).contains("openai: created")
            && text(&output.stdout).contains("plain: created")
    );
    client.get("/v1/resources/plain").await.is(200);
}

#[tokio::test]
async fn resource_apply_reads_standard_input_as_toml_and_as_json() {
    let node = Node::start().await;
    let client = &node.client;
    for args in [&["resource", "apply", "-f", "-"][..], &["resource", "apply", "-"]] {
        let applied = ended(&fed(client, args, FILE).await, 0);
        assert!(applied.contains("plain: "), "{applied}");
    }

    let json = json!({"resources": {"j": {"limits": concurrency(3)}}}).to_string();
    assert!(
        ended(&fed(client, &["resource", "apply", "-"], &json).await, 0).contains("j: created")
    );

    said(
        &fed(client, &["resource", "apply", "-"], "[resource.x]").await,
        2,
        &["standard input", "`resources`"],
    );
    said(&against(client, &["resource", "apply"]).await, 2, &["FILE"]);
}

#[tokio::test]
async fn what_get_and_list_print_as_json_applies_back() {
    let node = Node::start().await;
    let client = &node.client;
    ended(&fed(client, &["resource", "apply", "-"], FILE).await, 0);
    let before = client.get("/v1/resources").await.body["items"].clone();
    let list = ended(&against(client, &["resource", "list", "--json"]).await, 0);
    let one = ended(&against(client, &["resource", "get", "openai", "--json"]).await, 0);

    let unchanged = "openai: unchanged\nplain: unchanged\n";
    assert_eq!(ended(&fed(client, &["resource", "apply", "-"], &list).await, 0), unchanged);
    ended(&against(client, &["resource", "delete", "openai", "plain"]).await, 0);
    assert!(
        ended(&fed(client, &["resource", "apply", "-f", "-"], &one).await, 0)
            .starts_with("openai: created\n")
    );
    let file = node.tree().file("all.json", &list);
    let applied = ended(&against(client, &["resource", "apply", file.to_str().unwrap()]).await, 0);
    assert!(applied.starts_with("openai: unchanged\nplain: created\n"), "{applied}");

    let fields = |list: &Value| {
        let mut list = list.clone();
        for item in list.as_array_mut().unwrap() {
            let item = item.as_object_mut().unwrap();
            item.retain(|field, _| !matches!(field.as_str(), "version" | "effective_index"));
        }
        list
    };
    assert_eq!(fields(&client.get("/v1/resources").await.body["items"]), fields(&before));

    let twice = format!("[{one},{one}]");
    said(&fed(client, &["resource", "apply", "-"], &twice).await, 2, &["openai is there twice"]);
    let wrong = one.replace("\"quota\": 20", "\"quota\": -1");
    said(&fed(client, &["resource", "apply", "-"], &wrong).await, 2, &["openai: ", "-1"]);
}

#[tokio::test]
async fn resource_apply_refuses_what_it_would_have_to_cut() {
    let node = Node::start().await;
    let client = &node.client;
    let tree = Tree::new();
    for number in 0..=10_000 {
        tree.file(&format!("{number}.txt"), "");
    }
    tree.file("last.toml", FILE);
    let output = against(client, &["resource", "apply", "-f", tree.path().to_str().unwrap()]).await;
    ended(&output, 2);
    assert!(text(&output.stderr).contains("more than 10000 entries"), "{}", text(&output.stderr));

    let limits = concurrency(1);
    let twice =
        format!(r#"{{"resources":{{"a":{{"limits":{limits}}},"a":{{"limits":{limits}}}}}}}"#);
    let file = tree.file("twice.json", &twice);
    let output = against(client, &["resource", "apply", "-f", file.to_str().unwrap()]).await;
    ended(&output, 2);
    assert!(text(&output.stderr).contains("a is there twice"), "{}", text(&output.stderr));
    assert_eq!(client.get("/v1/resources").await.body["items"], json!([]));
}

#[tokio::test]
async fn resource_get_list_and_delete() {
    let node = Node::start().await;
    let client = &node.client;
    client.create("b", rate(60, 60000)).await;
    client.create("a", concurrency(5)).await;
    let table = ended(&against(client, &["resource", "list"]).await, 0);
    let rows: Vec<Vec<&str>> =
        table.lines().map(|line| line.split_whitespace().collect()).collect();
    let titles = "RESOURCE PLACEMENT VERSION LIMIT KIND ALGORITHM QUOTA WINDOW BURST COST TRUE-UP";
    assert_eq!(rows[0].join(" "), titles);
    assert_eq!(rows[1].join(" "), "a local 1 slots concurrency - 5 - - one -");
    assert_eq!(rows[2].join(" "), "b local 1 tpm rate sliding_window 60 1m - load both");
    assert_eq!(rows.len(), 3);

    let list: Value =
        serde_json::from_str(&ended(&against(client, &["resource", "list", "--json"]).await, 0))
            .unwrap();
    assert_eq!(list, client.get("/v1/resources").await.body["items"]);
    let one: Value = serde_json::from_str(&ended(
        &against(client, &["resource", "get", "a", "--json"]).await,
        0,
    ))
    .unwrap();
    assert_eq!(one, client.get("/v1/resources/a").await.body);

    let missing = against(client, &["resource", "get", "none"]).await;
    ended(&missing, 1);
    assert!(text(&missing.stderr).contains("none"));
    assert_eq!(
        ended(&against(client, &["resource", "delete", "a", "b"]).await, 0),
        "a: deleted\nb: deleted\n"
    );
    assert_eq!(client.get("/v1/resources").await.body["items"], json!([]));
    ended(&against(client, &["resource", "delete", "a"]).await, 1);
    let list = ended(&against(client, &["resource", "list", "--json"]).await, 0);
    assert_eq!(list.trim(), "[]");
}

#[tokio::test]
async fn more_resources_than_fit_on_a_page_are_listed() {
    let node = Node::start().await;
    let client = &node.client;
    let mut creating = tokio::task::JoinSet::new();
    for n in 0..601 {
        let client = client.clone();
        creating
            .spawn(async move { drop(client.create(&format!("r{n:04}"), concurrency(1)).await) });
    }
    creating.join_all().await;
    let list = ended(&against(client, &["resource", "list", "--json"]).await, 0);
    let list: Vec<Value> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len(), 601);
    assert_eq!(list[600]["name"], "r0600");
}
