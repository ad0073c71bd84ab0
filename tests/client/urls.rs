//! The URLs of nodes, as the client commands take them.

use std::time::{Duration, Instant};

use crate::harness::{Node, run};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[tokio::test]
async fn nodes_are_asked_without_the_proxy_of_the_environment() {
    let node = Node::start().await;
    let url = node.url();
    let nowhere = "http://127.0.0.1:9";
    let env = [
        ("RATEQUEUE_URL", url.as_str()),
        ("HTTP_PROXY", nowhere),
        ("http_proxy", nowhere),
        ("NO_PROXY", ""),
    ];
    let output = run(&["resource", "list"], &env).await;
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
}

#[tokio::test]
async fn a_url_that_can_lead_to_no_node_is_refused_at_once() {
    for (url, words) in [
        ("https://127.0.0.1:7600", &["https://127.0.0.1:7600", "TLS", "http://"][..]),
        ("http://127.0.0.1:7600/x", &["/x", "path"]),
        ("http://127.0.0.1:7600?a=1", &["a=1", "query"]),
        ("http://me:secret@127.0.0.1:7600", &["user", "RATEQUEUE_API_KEY"]),
        ("127.0.0.1:7600", &["127.0.0.1:7600", "http://127.0.0.1:7600"]),
    ] {
        let begin = Instant::now();
        let output = run(&["resource", "list"], &[("RATEQUEUE_URL", url)]).await;
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{url}: {stderr}");
        assert!(
            words.iter().all(|word| stderr.contains(word)) && !stderr.contains("secret"),
            "{url}: {stderr}"
        );
        assert!(begin.elapsed() < Duration::from_secs(5), "{url}: {:?}", begin.elapsed());
    }
}
