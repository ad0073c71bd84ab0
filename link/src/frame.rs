//! What travels on a connection after its handshake.
//!
//! ```text
//! 0     4        8      9         17         25     33
//! | len | crc32c | kind | session | sequence | call | body (len - 29 bytes)
//! ```
//!
//! All numbers are little endian. `len` counts what follows it, `crc32c` covers what follows it.
//! `session` is the random number that the receiver of the frame chose in the handshake, so that
//! frames of another connection are not taken for this one's. `sequence` starts at 1 and rises by
//! one with every frame of a direction. `call` is the number that joins an answer to its request;
//! it rises with every request.
//!
//! | kind | from | body |
//! |---|---|---|
//! | 1 request | caller | length of the group's name (1 byte), the name, payload |
//! | 2 cancel | caller | nothing |
//! | 3 answer | callee | payload |
//! | 4 refusal | callee | reason, UTF-8 |

use std::collections::VecDeque;
use std::io::{self, IoSlice};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures::StreamExt;
use tokio::io::AsyncRead;
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use super::caps;

/// Bytes of a frame before its body, without the length itself.
pub(crate) const HEADER_BYTES: usize = 29;
const CHECKSUM_BYTES: usize = 4;
const SUMMED_HEADER_BYTES: usize = HEADER_BYTES - CHECKSUM_BYTES;

/// What a frame is for; the number is its code on the wire and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Request = 1,
    Cancel = 2,
    Answer = 3,
    Refusal = 4,
}

impl Kind {
    fn from_code(code: u8) -> Option<Self> {
        [Self::Request, Self::Cancel, Self::Answer, Self::Refusal]
            .into_iter()
            .find(|kind| *kind as u8 == code)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: Kind,
    pub(crate) call: u64,
    pub(crate) body: Bytes,
}

/// Why a connection cannot be read any further.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("{0}")]
    Io(io::Error),
    #[error("a frame claims more than {0} bytes")]
    TooLarge(usize),
    #[error("a frame of {0} bytes is too short")]
    TooShort(usize),
    #[error("the checksum of a frame does not fit")]
    Checksum,
    #[error("a frame belongs to another connection")]
    Session,
    #[error("frame {found} came where {expected} was due")]
    Sequence { expected: u64, found: u64 },
    #[error("unknown kind of frame {0}")]
    Kind(u8),
    #[error("{0}")]
    Protocol(&'static str),
}

impl FrameError {
    /// Whether the other side sent what it must not send, rather than just going away.
    pub(crate) fn is_violation(&self) -> bool {
        !matches!(self, Self::Io(_))
    }
}

pub(crate) type Frames<R> = FramedRead<R, LengthDelimitedCodec>;

/// Splits what `source` delivers by its length prefixes. No memory is set aside for a length above
/// `bytes_max`.
pub(crate) fn frames<R: AsyncRead>(source: R, bytes_max: usize) -> Frames<R> {
    let codec =
        LengthDelimitedCodec::builder().little_endian().max_frame_length(bytes_max).new_codec();
    FramedRead::with_capacity(source, codec, caps::READ_BUFFER_BYTES)
}

/// Reads frames and checks all of their header.
#[derive(Debug)]
pub(crate) struct FrameReader<R> {
    frames: Frames<R>,
    session: u64,
    sequence: u64,
}

impl<R: AsyncRead + Unpin> FrameReader<R> {
    /// Goes on with what the handshake was read from; `session` is the number this side chose.
    pub(crate) fn new(mut frames: Frames<R>, bytes_max: usize, session: u64) -> Self {
        frames.decoder_mut().set_max_frame_length(bytes_max);
        Self { frames, session, sequence: 0 }
    }

    /// The next frame; `None` when the other side closed the connection between two frames.
    /// Dropping the future loses nothing.
    pub(crate) async fn next(&mut self) -> Result<Option<Frame>, FrameError> {
        match self.frames.next().await {
            None => Ok(None),
            Some(Ok(bytes)) => self.check(bytes.freeze()).map(Some),
            Some(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Err(FrameError::TooLarge(self.frames.decoder().max_frame_length()))
            }
            Some(Err(error)) => Err(FrameError::Io(error)),
        }
    }

    fn check(&mut self, mut bytes: Bytes) -> Result<Frame, FrameError> {
        if bytes.len() < HEADER_BYTES {
            return Err(FrameError::TooShort(bytes.len()));
        }

        let stored = bytes.get_u32_le();
        if crc32c::crc32c(&bytes) != stored {
            return Err(FrameError::Checksum);
        }

        let kind = bytes.get_u8();
        let session = bytes.get_u64_le();
        let found = bytes.get_u64_le();
        let call = bytes.get_u64_le();
        let expected = self.sequence.saturating_add(1);
        if session != self.session {
            return Err(FrameError::Session);
        }

        if found != expected {
            return Err(FrameError::Sequence { expected, found });
        }

        self.sequence = found;
        let kind = Kind::from_code(kind).ok_or(FrameError::Kind(kind))?;
        Ok(Frame { kind, call, body: bytes })
    }
}

/// Frames on their way into one write. Small payloads stand next to their headers, large ones stay
/// where they are.
#[derive(Debug)]
pub(crate) struct Batch {
    session: u64,
    sequence: u64,
    chunks: VecDeque<Bytes>,
    tail: BytesMut,
    bytes: usize,
}

impl Batch {
    /// `session` is the number that the other side chose.
    pub(crate) fn new(session: u64) -> Self {
        Self { session, sequence: 0, chunks: VecDeque::new(), tail: BytesMut::new(), bytes: 0 }
    }

    /// Appends a frame. The caller has checked its size: see [`body_bytes_max`].
    pub(crate) fn push(&mut self, kind: Kind, call: u64, prefix: &[u8], payload: Bytes) {
        self.sequence = self.sequence.saturating_add(1);
        let mut head = [0; SUMMED_HEADER_BYTES];
        let mut rest = &mut head[..];
        rest.put_u8(kind as u8);
        rest.put_u64_le(self.session);
        rest.put_u64_le(self.sequence);

        rest.put_u64_le(call);
        let crc =
            crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(&head), prefix), &payload);
        let len = HEADER_BYTES + prefix.len() + payload.len();
        let copied = payload.len() <= caps::COPY_BYTES_MAX;
        self.bytes += 4 + len;

        self.tail.reserve(4 + HEADER_BYTES + prefix.len() + if copied { payload.len() } else { 0 });
        self.tail.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
        self.tail.put_u32_le(crc);
        self.tail.put_slice(&head);
        self.tail.put_slice(prefix);

        if copied {
            self.tail.put_slice(&payload);
        } else {
            self.chunks.push_back(self.tail.split().freeze());
            self.chunks.push_back(payload);
        }
    }

    /// Ends the batch: from here on it is only read.
    pub(crate) fn seal(&mut self) {
        if !self.tail.is_empty() {
            self.chunks.push_back(self.tail.split().freeze());
        }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.bytes
    }

    fn chunk(&self) -> &[u8] {
        self.chunks.front().map_or(&[], |chunk| chunk.as_ref())
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, chunk) in slices.iter_mut().zip(&self.chunks) {
            *slice = IoSlice::new(chunk);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        self.bytes = self.bytes.saturating_sub(count);
        while let Some(chunk) = self.chunks.front_mut() {
            if count < chunk.len() {
                chunk.advance(count);
                return;
            }
            count -= chunk.len();
            self.chunks.pop_front();
        }
    }
}

/// The largest payload that fits into a frame of `frame_bytes_max` bytes behind `prefix_bytes`.
pub(crate) fn body_bytes_max(frame_bytes_max: usize, prefix_bytes: usize) -> usize {
    frame_bytes_max.saturating_sub(HEADER_BYTES + prefix_bytes)
}

/// The name of the group and the payload of a request.
pub(crate) fn split_request(mut body: Bytes) -> Result<(Bytes, Bytes), FrameError> {
    let malformed = FrameError::Protocol("a request names no group");
    let Some(&len) = body.first() else { return Err(malformed) };
    body.advance(1);
    let len = usize::from(len);
    if len == 0 || len > caps::GROUP_NAME_BYTES_MAX || len > body.len() {
        return Err(malformed);
    }
    let group = body.split_to(len);
    if std::str::from_utf8(&group).is_err() {
        return Err(malformed);
    }
    Ok((group, body))
}
