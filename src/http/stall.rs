//! A stream whose writes end when their reader takes nothing any more.
//!
//! Without it a client that sends requests and reads no answer would keep its connection, and what
//! it does not read, for ever.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, Sleep, sleep};

/// How long a response may wait for its reader to take something of it.
const WRITE_QUIET_MAX: Duration = Duration::from_secs(10);
/// How long a response may take to be read, once it had to wait for its reader.
const WRITE_TIME_MAX: Duration = Duration::from_secs(120);

/// A connection whose writes fail with [`io::ErrorKind::TimedOut`] when they make no progress.
#[derive(Debug)]
pub struct StallingStream {
    stream: TcpStream,
    /// Since a write had to wait, until all is written.
    stall: Option<Stall>,
}

#[derive(Debug)]
struct Stall {
    end: Instant,
    pause: Pin<Box<Sleep>>,
}

impl Stall {
    fn new() -> Self {
        Self { end: Instant::now() + WRITE_TIME_MAX, pause: Box::pin(sleep(WRITE_QUIET_MAX)) }
    }
}

impl StallingStream {
    pub fn new(stream: TcpStream) -> Self {
        Self { stream, stall: None }
    }

    /// Bounds the time of a write. `written`: what the system says to it.
    fn bound(
        &mut self,
        written: Poll<io::Result<usize>>,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            if let Some(stall) = &mut self.stall {
                stall.pause.as_mut().reset(stall.end.min(Instant::now() + WRITE_QUIET_MAX));
            }
            return written;
        }
        let stall = self.stall.get_or_insert_with(Stall::new);
        stall.pause.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for StallingStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for StallingStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.bound(written, cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.bound(written, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called once all is written: the next response has its own time.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.stall = None;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
