//! The table of rules of `sdk/conformance`, run against the Rust client. See the README there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use ratequeue_api::client::{Client, ClientError};
use ratequeue_api::{AcquireRequest, ReleaseRequest};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

const PATIENCE: Duration = Duration::from_secs(2);
/// Nothing more is to come in this time.
const QUIET: Duration = Duration::from_millis(500);

/// A request that a fake node got.
#[derive(Debug, Clone)]
struct Seen {
    node: &'static str,
    kind: String,
    key: String,
    /// Without `hold_ms`.
    body: Value,
    /// It came after the end of the call.
    is_after: bool,
}

/// The nodes of one row.
#[derive(Debug)]
struct Fake {
    row: Value,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    seen: Vec<Seen>,
    asked: BTreeMap<(&'static str, String), usize>,
    /// The call has ended: from now on all nodes are well.
    is_over: bool,
    /// Sockets that have a port and do not listen.
    refusing: Vec<TcpSocket>,
}

impl Fake {
    /// Starts the nodes of a row; gives their URLs.
    fn start(row: &Value) -> (Arc<Self>, String) {
        let fake = Arc::new(Self { row: row.clone(), state: Mutex::default() });
        let mut urls = Vec::new();
        for name in ["a", "b", "c"] {
            let is_down = row["down"].as_array().is_some_and(|down| down.contains(&json!(name)));
            if name != "a" && !is_down && row.get(name).is_none() {
                continue;
            }
            let socket = TcpSocket::new_v4().unwrap();
            socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
            urls.push(format!("http://{}", socket.local_addr().unwrap()));
            if is_down {
                fake.state.lock().refusing.push(socket);
            } else {
                tokio::spawn(accept(Arc::clone(&fake), name, socket.listen(64).unwrap()));
            }
        }

        (fake, urls.join(","))
    }

    /// How a node is to reply to a request.
    fn take(
        &self,
        node: &'static str,
        path: &str,
        key: String,
        mut body: Map<String, Value>,
    ) -> String {
        let kind = path.rsplit('/').next().unwrap().to_owned();
        body.remove("hold_ms");
        let mut state = self.state.lock();
        let is_after = state.is_over;
        state.seen.push(Seen {
            node,
            kind: kind.clone(),
            key,
            body: Value::Object(body),
            is_after,
        });

        let script = self.row[node][&kind].as_array().filter(|_| !(is_after && kind == "acquire"));
        let Some(script) = script else {
            return if kind == "release" { "200 released" } else { "200 held" }.to_owned();
        };
        let nth = state.asked.entry((node, kind)).or_default();
        let reply = &script[(*nth).min(script.len() - 1)];
        *nth += 1;
        reply.as_str().unwrap().to_owned()
    }

    /// The nodes that got such requests while the call lasted, or after it.
    fn nodes(&self, kind: &str, is_after: bool) -> Vec<&'static str> {
        let state = self.state.lock();
        let seen = state.seen.iter().filter(|seen| seen.kind == kind && seen.is_after == is_after);
        seen.map(|seen| seen.node).collect()
    }
}

async fn accept(fake: Arc<Fake>, name: &'static str, listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        let fake = Arc::clone(&fake);
        tokio::spawn(async move {
            // Whoever hangs up ends the connection.
            let _ = serve(&fake, name, stream).await;
        });
    }
}

async fn serve(fake: &Fake, name: &'static str, stream: TcpStream) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap().to_owned();
        let (mut length, mut key) = (0, String::new());
        loop {
            line.clear();
            stream.read_line(&mut line).await?;
            match line.trim().split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("idempotency-key", value)) => key = value.to_owned(),
                Some(_) => {}
                None => break,
            }
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;

        let reply = fake.take(name, &path, key, serde_json::from_slice(&body).unwrap_or_default());
        if !play(&mut stream, &reply, fake.row["ttl_ms"].as_u64()).await? {
            return Ok(());
        }
    }
}

/// Plays a reply; gives whether the connection goes on.
async fn play(
    stream: &mut BufReader<TcpStream>,
    reply: &str,
    ttl_ms: Option<u64>,
) -> std::io::Result<bool> {
    let (after_ms, reply) =
        match reply.strip_prefix("after ").and_then(|rest| rest.split_once(": ")) {
            Some((after_ms, reply)) => (after_ms.parse().unwrap(), reply),
            None => (0, reply),
        };

    tokio::time::sleep(Duration::from_millis(after_ms)).await;
    match reply {
        "hang" => std::future::pending().await,
        "cut" => {}
        "reset" => stream.get_ref().set_zero_linger()?,
        "cut-head" => stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-le").await?,
        "cut-body" => {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"id\":").await?
        }
        _ => {
            stream.write_all(answer(reply, ttl_ms.unwrap_or(60_000)).as_bytes()).await?;
            return Ok(true);
        }
    }

    Ok(false)
}

fn answer(reply: &str, ttl_ms: u64) -> String {
    let (status, what) = reply.split_once(' ').unwrap();
    let body = match what {
        "html" => "<html>no node</html>".to_owned(),
        "empty" => String::new(),
        "held" => json!({"id": "g.1", "resource": "r", "state": "held", "fencing_token": 7, "charged": {},
            "expires_in_ms": ttl_ms, "waited_ms": 0, "log_index": 3})
        .to_string(),
        "waiting" => json!({"id": "g.1", "resource": "r", "state": "waiting", "position": 1, "load_ahead": 0,
            "retry_after_ms": 50, "log_index": 3})
        .to_string(),
        "released" => json!({"id": "g.1", "state": "released", "refunded": {}, "debited": {}}).to_string(),
        code => json!({"type": format!("/problems/{code}"), "title": code, "status": status.parse::<u16>().unwrap(),
            "code": code, "detail": "as scripted"})
        .to_string(),
    };

    let kind = if matches!(what, "html" | "empty") { "text/html" } else { "application/json" };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\nlocation: /elsewhere");
    format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

fn outcome_of(error: &ClientError) -> Map<String, Value> {
    let code = if let ClientError::Problem(problem) = error {
        // The text of a code that is not known is in the type of the problem.
        problem.kind.rsplit('/').next().map(str::to_owned)
    } else {
        error.code().map(|code| code.as_str().to_owned())
    };

    let seen = match error {
        ClientError::Problem(_) => json!({"outcome": "refused", "code": code}),
        ClientError::Unavailable(error) => {
            json!({"outcome": "unavailable", "no_effect": error.no_effect, "code": code})
        }
        ClientError::Foreign(..) => json!({"outcome": "foreign"}),
        ClientError::WaitOver(_) => json!({"outcome": "wait-over"}),
        ClientError::Configuration(text) => panic!("{text}"),
    };

    seen.as_object().unwrap().clone()
}

/// Makes the call of a row; gives what its caller sees.
async fn call(row: &Value, fake: &Fake, urls: &str) -> Map<String, Value> {
    let client = Client::new(urls, None, PATIENCE).unwrap();
    let request = AcquireRequest {
        wait_ms: row["wait_ms"].as_u64().unwrap_or_default(),
        ttl_ms: row["ttl_ms"].as_u64(),
        ..AcquireRequest::default()
    };
    let mut acquisition = client.acquisition("r", &request, &Client::new_key());
    let held = match acquisition.hold(|_| {}).await {
        Ok(held) => held,
        Err(error) => {
            fake.state.lock().is_over = true;
            let mut seen = outcome_of(&error);
            acquisition.give_up().await.unwrap();
            tokio::time::sleep(QUIET).await;
            let is_released = !fake.nodes("release", true).is_empty();
            let is_found = !fake.nodes("acquire", true).is_empty();
            let given_up = if !is_released {
                "nothing"
            } else if is_found {
                "by key"
            } else {
                "by id"
            };
            seen.insert("given_up".to_owned(), json!(given_up));
            return seen;
        }
    };

    tokio::time::sleep(Duration::from_millis(row["hold_ms"].as_u64().unwrap_or_default())).await;
    let mut seen = Map::new();
    seen.insert("outcome".to_owned(), json!(if held.is_lost() { "lost" } else { "held" }));
    // It may have ended by itself.
    let _ = held.release(&ReleaseRequest::default()).await;
    if row["again"] == json!(true) {
        let before = fake.nodes("acquire", false).len();
        client.hold("r", &AcquireRequest::default(), &Client::new_key(), |_| {}).await.unwrap();
        seen.insert("asked_again".to_owned(), json!(fake.nodes("acquire", false)[before..]));
    }
    seen
}

/// What is wrong with a row.
async fn check(row: Value) -> Option<String> {
    let (fake, urls) = Fake::start(&row);
    let mut seen = call(&row, &fake, &urls).await;

    let expect = row["expect"].as_object().unwrap();
    let asked = fake.nodes("acquire", false);
    let first =
        expect.get("asked").map_or(0, |asked| asked.as_array().unwrap().len()).min(asked.len());
    seen.insert("asked".to_owned(), json!(asked[..first]));
    seen.insert("asked_in_all".to_owned(), json!(asked.len()));
    seen.insert("releases".to_owned(), json!(fake.nodes("release", false).len()));

    let state = fake.state.lock();
    let acquires = state.seen.iter().filter(|seen| seen.kind == "acquire");
    let requests: BTreeSet<_> =
        acquires.map(|seen| (seen.key.clone(), seen.body.to_string())).collect();
    let calls = if row["again"] == json!(true) { 2 } else { 1 };
    if requests.len() > calls {
        return Some(format!(
            "{}: one call has one key and one body, not {requests:?}",
            row["name"]
        ));
    }
    let wrong =
        expect.iter().find(|(name, wanted)| seen.get(*name).unwrap_or(&Value::Null) != *wanted);
    wrong.map(|(name, wanted)| format!("{}: {name} is not {wanted} in {seen:?}", row["name"]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_rule_holds() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/sdk/conformance/rules.json");
    let rows: Vec<Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(rows.len() >= 60);
    let begin = Instant::now();
    let rows: Vec<_> = rows.into_iter().map(|row| tokio::spawn(check(row))).collect();

    let mut wrong = Vec::new();
    for row in rows {
        wrong.extend(row.await.unwrap());
    }
    assert!(
        wrong.is_empty(),
        "{} rules are broken after {:?}: {wrong:#?}",
        wrong.len(),
        begin.elapsed()
    );
}
