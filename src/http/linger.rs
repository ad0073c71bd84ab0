//! Closing a connection so that its client sees the last answer.
//!
//! A client may be sending a body that the server does not want any more. If the server closed the
//! connection then, the system would answer the next bytes with a reset, and the client would see
//! that instead of the answer. So the server ends its own direction, and for a while reads and
//! throws away what comes, until the client closes too.
//!
//! ```text
//! client   head ──>        body ──────────────> ──> looks, closes
//! server            answer, end <──   reads away ...        closes
//! ```

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::stall::StallingStream;

/// Bytes that are read away at most.
const LINGER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// How long a connection lingers at most.
const LINGER_TIME_MAX: Duration = Duration::from_secs(10);
/// How long a connection lingers while nothing comes.
const LINGER_QUIET_MAX: Duration = Duration::from_secs(2);
/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;

/// Whether a connection has to linger at its end. Clones are about the same connection.
#[derive(Debug, Clone, Default)]
pub struct Linger(Arc<AtomicBool>);

impl Linger {
    /// Makes the connection linger: a request on it was answered without its body.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A connection that lingers at its end when its [`Linger`] is set, and closes at once otherwise.
#[derive(Debug)]
pub struct LingeringStream {
    stream: StallingStream,
    linger: Linger,
    /// What is left to do once this side has ended its direction.
    rest: Option<Rest>,
}

/// The lingering of a connection.
#[derive(Debug)]
struct Rest {
    bytes: usize,
    end: Instant,
    pause: Pin<Box<Sleep>>,
}

impl LingeringStream {
    pub fn new(stream: StallingStream, linger: Linger) -> Self {
        Self { stream, linger, rest: None }
    }
}

impl Rest {
    fn new() -> Self {
        Self {
            bytes: 0,
            end: Instant::now() + LINGER_TIME_MAX,
            pause: Box::pin(sleep(LINGER_QUIET_MAX)),
        }
    }

    /// Reads away what comes, until the client closes or a bound is reached.
    fn poll(&mut self, stream: &mut StallingStream, cx: &mut Context<'_>) -> Poll<()> {
        let mut bytes = [0; READ_BYTES];
        loop {
            let mut buffer = ReadBuf::new(&mut bytes);
            let read = match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) => buffer.filled().len(),
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return self.pause.as_mut().poll(cx),
            };

            self.bytes += read;
            let now = Instant::now();
            if read == 0 || self.bytes > LINGER_BYTES_MAX || now >= self.end {
                return Poll::Ready(());
            }
            self.pause.as_mut().reset(self.end.min(now + LINGER_QUIET_MAX));
        }
    }
}

impl AsyncRead for LingeringStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for LingeringStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let rest = match &mut this.rest {
            Some(rest) => rest,
            None => {
                ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
                if !this.linger.0.load(Ordering::Relaxed) {
                    return Poll::Ready(Ok(()));
                }
                this.rest.insert(Rest::new())
            }
        };

        rest.poll(&mut this.stream, cx).map(Ok)
    }
}
