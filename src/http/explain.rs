//! Problems for requests that never reach a handler: hyper refuses a malformed head by itself, with
//! a status and nothing else.
//!
//! Its answer is all that there is in a write, and replaced here by one with the same status and a
//! body that says why.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use ratequeue_api::{ErrorCode, header as names};
use ratequeue_raft::NodeId;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::linger::LingeringStream;
use super::problem::Failure;
use super::server::{HEAD_BYTES_MAX, HEADERS_MAX};

/// A connection on which hyper's own answers are replaced.
#[derive(Debug)]
pub struct ExplainingStream {
    stream: LingeringStream,
    node: NodeId,
    replacement: Option<Replacement>,
}

/// What is written in the place of an answer.
#[derive(Debug)]
struct Replacement {
    text: Vec<u8>,
    written: usize,
    /// Length of the answer that it stands for.
    replaced: usize,
}

impl ExplainingStream {
    pub fn new(stream: LingeringStream, node: NodeId) -> Self {
        Self { stream, node, replacement: None }
    }

    /// Begins to replace an answer, if it is one of hyper's own.
    fn look_at(&mut self, bytes: &[u8]) {
        if self.replacement.is_none()
            && let Some(failure) = explanation(bytes)
        {
            let text = as_text(self.node, failure);
            self.replacement = Some(Replacement { text, written: 0, replaced: bytes.len() });
        }
    }

    /// Writes what is left of the replacement; gives the length of what it stands for.
    fn poll_replace(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(replacement) = &mut self.replacement else { return Poll::Ready(Ok(0)) };
        while let Some(rest) =
            replacement.text.get(replacement.written..).filter(|rest| !rest.is_empty())
        {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            replacement.written += written;
        }
        let replaced = replacement.replaced;
        self.replacement = None;
        Poll::Ready(Ok(replaced))
    }
}

/// Why hyper refused a request, if these bytes are its answer: all of ours say who served them.
fn explanation(bytes: &[u8]) -> Option<Failure> {
    let has_served_by = || {
        let name = names::SERVED_BY.as_bytes();
        bytes.windows(name.len()).any(|window| window.eq_ignore_ascii_case(name))
    };

    let is_whole = |status: &[u8]| {
        bytes.starts_with(status) && bytes.ends_with(b"\r\n\r\n") && !has_served_by()
    };

    if is_whole(b"HTTP/1.1 431 ") {
        let detail = format!(
            "The head of a request has at most {HEAD_BYTES_MAX} bytes and {HEADERS_MAX} headers."
        );
        return Some(Failure::new(ErrorCode::HeadTooLarge, detail));
    }

    is_whole(b"HTTP/1.1 400 ")
        .then(|| Failure::bad_request("The head of the request is no HTTP/1.1."))
}

/// The answer that closes a connection.
fn as_text(node: NodeId, failure: Failure) -> Vec<u8> {
    let response = super::refusal(node, &HeaderMap::new(), failure);
    let (parts, body) = response.into_parts();
    // The body of a problem is there already.
    let collected = futures::FutureExt::now_or_never(body.collect());
    let body =
        collected.and_then(Result::ok).map(http_body_util::Collected::to_bytes).unwrap_or_default();

    let status: StatusCode = parts.status;
    let mut text = format!(
        "HTTP/1.1 {} {}\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    for (name, value) in &parts.headers {
        text += &format!("{name}: {}\r\n", value.to_str().unwrap_or_default());
    }
    text += &format!("connection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let mut text = text.into_bytes();
    text.extend_from_slice(&body);
    text
}

impl AsyncRead for ExplainingStream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl AsyncWrite for ExplainingStream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        this.look_at(bytes);
        if this.replacement.is_some() {
            return this.poll_replace(cx);
        }
        Pin::new(&mut this.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if let [only] = slices {
            this.look_at(only);
        }
        if this.replacement.is_some() {
            return this.poll_replace(cx);
        }
        Pin::new(&mut this.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
