//! A load balancer between a client and a node: forwards bytes, and cuts calls that are quiet for
//! too long.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// Bytes that are forwarded at once.
const BUFFER: usize = 16 * 1024;

/// What is seen of a call that the proxy cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The connection is closed.
    Close,
    /// The connection is reset.
    Reset,
    /// The call is answered in the place of the node: 504.
    GatewayTimeout,
}

/// How the proxy treats connections from now on.
#[derive(Debug, Clone, Copy, Default)]
struct Rules {
    idle_max: Option<(Duration, Cut)>,
    answer_delay: Duration,
    is_mute: bool,
}

#[derive(Debug)]
struct Shared {
    node: Mutex<String>,
    rules: Mutex<Rules>,
    calls: AtomicUsize,
    cuts: AtomicUsize,
}

/// A running proxy. Dropping it closes every connection.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    accepting: AbortHandle,
}

impl Proxy {
    /// A proxy before the node at this URL, that forwards everything.
    pub async fn start(node: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            node: Mutex::new(node.to_owned()),
            rules: Mutex::default(),
            calls: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
        });

        let accepting = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
        Self { address, shared, accepting }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Forwards to the node at this URL from the next connection on.
    pub fn moved(&self, node: String) {
        *self.shared.node.lock() = node;
    }

    /// Cuts connections on which nothing moved for so long.
    pub fn cut_idle(&self, idle_max: Duration, cut: Cut) {
        self.shared.rules.lock().idle_max = Some((idle_max, cut));
    }

    /// Holds every answer back for so long.
    pub fn delay_answers(&self, delay: Duration) {
        self.shared.rules.lock().answer_delay = delay;
    }

    /// Swallows the answers of the node, or no longer.
    pub fn mute(&self, is_mute: bool) {
        self.shared.rules.lock().is_mute = is_mute;
    }

    /// Calls that were forwarded.
    pub fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// Calls that were cut before they were answered.
    pub fn cuts(&self) -> usize {
        self.shared.cuts.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // Whoever hangs up ends the connection.
            let _ = forward(client, &shared).await;
        });
    }
}

/// Forwards one connection. Without a node every call is answered 502.
async fn forward(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let address = shared.node.lock().trim_start_matches("http://").to_owned();
    let Ok(mut node) = TcpStream::connect(address).await else {
        let mut call = vec![0; BUFFER];
        return match client.read(&mut call).await? {
            0 => Ok(()),
            _ => answer(&mut client, "502 Bad Gateway").await,
        };
    };

    let (mut call, mut reply) = (vec![0; BUFFER], vec![0; BUFFER]);
    let mut is_answered = true;
    loop {
        let idle_max = shared.rules.lock().idle_max;
        tokio::select! {
            read = client.read(&mut call) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                shared.calls.fetch_add(usize::from(is_answered), Ordering::SeqCst);
                is_answered = false;
                node.write_all(&call[..read]).await?;
            }
            read = node.read(&mut reply) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                let Rules { answer_delay, is_mute, .. } = *shared.rules.lock();
                tokio::time::sleep(answer_delay).await;
                if !is_mute {
                    client.write_all(&reply[..read]).await?;
                    is_answered = true;
                }
            }
            cut = idle(idle_max) => {
                shared.cuts.fetch_add(usize::from(!is_answered), Ordering::SeqCst);
                return match cut {
                    Cut::Close => Ok(()),
                    Cut::Reset => client.set_zero_linger(),
                    Cut::GatewayTimeout if is_answered => Ok(()),
                    Cut::GatewayTimeout => answer(&mut client, "504 Gateway Timeout").await,
                };
            }
        }
    }
}

async fn idle(idle_max: Option<(Duration, Cut)>) -> Cut {
    match idle_max {
        Some((idle_max, cut)) => {
            tokio::time::sleep(idle_max).await;
            cut
        }
        None => std::future::pending().await,
    }
}

/// Answers as proxies do: in HTML, and with the end of the connection.
async fn answer(client: &mut TcpStream, status: &str) -> std::io::Result<()> {
    let body = format!("<html><h1>{status}</h1></html>");
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/html\r\nconnection: close");
    client
        .write_all(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).as_bytes())
        .await?;
    client.shutdown().await
}
