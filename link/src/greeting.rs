//! The messages of the handshake.
//!
//! ```text
//! 0     4        8        12     13
//! | len | "RQPL" | crc32c | kind | fields (len - 9 bytes)
//! ```
//!
//! All numbers are little endian. `len` counts what follows it, `crc32c` covers what follows it.
//! This envelope and message 4 are the same in every version, so that versions which do not know
//! each other can still say so.
//!
//! | kind | fields |
//! |---|---|
//! | 1 hello, 2 welcome | wire version min u16, max u16, from u64, to u64, incarnation u64, feature level u32, lane u8, session u64, echo u64, length of the cluster id u8, the cluster id |
//! | 3 confirm | echo u64 |
//! | 4 refusal | code u8, reason (UTF-8, to the end) |
//!
//! In a welcome both wire versions are the one that was chosen. What follows the known fields of a
//! message is ignored: a later version may add some.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::caps;

pub(crate) const MAGIC: [u8; 4] = *b"RQPL";

/// The oldest wire version that this version speaks.
pub(crate) const WIRE_MIN: u16 = 1;
/// The newest wire version that this version speaks.
pub(crate) const WIRE_MAX: u16 = 1;

const HELLO: u8 = 1;
const WELCOME: u8 = 2;
const CONFIRM: u8 = 3;
const REFUSAL: u8 = 4;

/// Bytes of a hello or welcome up to the length of the cluster id, that included.
const GREETING_BYTES: usize = 2 + 2 + 8 + 8 + 8 + 4 + 1 + 8 + 8 + 1;

/// What each side says about itself, and about whom it wants to talk to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Greeting {
    pub(crate) wire_min: u16,
    pub(crate) wire_max: u16,
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) incarnation: u64,
    pub(crate) feature_level: u32,
    /// The number of the lane: not yet known to be one.
    pub(crate) lane: u8,
    /// The random number that every frame to this side must carry.
    pub(crate) session: u64,
    /// The other side's number; 0 in a hello.
    pub(crate) echo: u64,
    pub(crate) cluster: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    Hello(Greeting),
    Welcome(Greeting),
    /// The caller proves that it has read the welcome, which a recording cannot.
    Confirm {
        echo: u64,
    },
    Refusal(Refusal),
}

/// Why a node does not want a connection. The number is the code on the wire and never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalCode {
    Magic = 1,
    Version = 2,
    Malformed = 3,
    Cluster = 4,
    Node = 5,
    Incarnation = 6,
    Busy = 7,
    Replaced = 8,
    /// A code that a later version made up.
    Other = 255,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Refusal {
    pub(crate) code: RefusalCode,
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(code: RefusalCode, reason: impl Into<String>) -> Self {
        Self { code, reason: reason.into() }
    }

    fn malformed(reason: &str) -> Self {
        Self::new(RefusalCode::Malformed, reason)
    }
}

impl RefusalCode {
    fn from_code(code: u8) -> Self {
        [
            Self::Magic,
            Self::Version,
            Self::Malformed,
            Self::Cluster,
            Self::Node,
            Self::Incarnation,
            Self::Busy,
        ]
        .into_iter()
        .chain([Self::Replaced])
        .find(|known| *known as u8 == code)
        .unwrap_or(Self::Other)
    }
}

/// The message with its length in front.
pub(crate) fn encode(message: &Message) -> Bytes {
    let mut body = BytesMut::new();
    match message {
        Message::Hello(greeting) => put_greeting(&mut body, HELLO, greeting),
        Message::Welcome(greeting) => put_greeting(&mut body, WELCOME, greeting),
        Message::Confirm { echo } => {
            body.put_u8(CONFIRM);
            body.put_u64_le(*echo);
        }
        Message::Refusal(refusal) => {
            body.put_u8(REFUSAL);
            body.put_u8(refusal.code as u8);
            body.put_slice(cut(&refusal.reason, caps::REASON_BYTES_MAX).as_bytes());
        }
    }

    let len = MAGIC.len() + 4 + body.len();
    let mut bytes = BytesMut::with_capacity(4 + len);
    bytes.put_u32_le(u32::try_from(len).unwrap_or(u32::MAX));
    bytes.put_slice(&MAGIC);
    bytes.put_u32_le(crc32c::crc32c(&body));
    bytes.put_slice(&body);
    bytes.freeze()
}

fn put_greeting(body: &mut BytesMut, kind: u8, greeting: &Greeting) {
    body.put_u8(kind);
    body.put_u16_le(greeting.wire_min);
    body.put_u16_le(greeting.wire_max);
    body.put_u64_le(greeting.from);
    body.put_u64_le(greeting.to);
    body.put_u64_le(greeting.incarnation);
    body.put_u32_le(greeting.feature_level);
    body.put_u8(greeting.lane);
    body.put_u64_le(greeting.session);
    body.put_u64_le(greeting.echo);
    let cluster = cut(&greeting.cluster, caps::CLUSTER_ID_BYTES_MAX);
    body.put_u8(u8::try_from(cluster.len()).unwrap_or(u8::MAX));
    body.put_slice(cluster.as_bytes());
}

/// The message in `bytes`, which stood behind one length.
///
/// # Errors
/// The refusal to answer with.
pub(crate) fn decode(mut bytes: Bytes) -> Result<Message, Refusal> {
    if !bytes.starts_with(&MAGIC) {
        return Err(Refusal::new(
            RefusalCode::Magic,
            "this is the peer link of a RateQueue node: unknown magic number",
        ));
    }

    bytes.advance(MAGIC.len());
    let cut_off = || Refusal::malformed("a message of the handshake is cut off");
    let stored = bytes.try_get_u32_le().map_err(|_| cut_off())?;
    if crc32c::crc32c(&bytes) != stored {
        return Err(Refusal::malformed("the checksum of a handshake message does not fit"));
    }

    match bytes.try_get_u8().map_err(|_| cut_off())? {
        HELLO => Ok(Message::Hello(greeting(bytes)?)),
        WELCOME => Ok(Message::Welcome(greeting(bytes)?)),
        CONFIRM => Ok(Message::Confirm { echo: bytes.try_get_u64_le().map_err(|_| cut_off())? }),
        REFUSAL => {
            let code = RefusalCode::from_code(bytes.try_get_u8().map_err(|_| cut_off())?);
            let reason = String::from_utf8_lossy(&bytes);
            Ok(Message::Refusal(Refusal::new(code, cut(&reason, caps::REASON_BYTES_MAX))))
        }
        kind => Err(Refusal::malformed(&format!("unknown handshake message {kind}"))),
    }
}

fn greeting(mut bytes: Bytes) -> Result<Greeting, Refusal> {
    let cut_off = || Refusal::malformed("a greeting is cut off");
    // The versions first: of another version only they are known to be where we look for them.
    let wire_min = bytes.try_get_u16_le().map_err(|_| cut_off())?;
    let wire_max = bytes.try_get_u16_le().map_err(|_| cut_off())?;

    if wire_min > WIRE_MAX || wire_max < WIRE_MIN {
        let reason =
            format!("wire versions {wire_min} to {wire_max} are not {WIRE_MIN} to {WIRE_MAX}");
        return Err(Refusal::new(RefusalCode::Version, reason));
    }

    if bytes.len() < GREETING_BYTES - 4 {
        return Err(cut_off());
    }

    let from = bytes.get_u64_le();
    let to = bytes.get_u64_le();
    let incarnation = bytes.get_u64_le();
    let feature_level = bytes.get_u32_le();
    let lane = bytes.get_u8();
    let session = bytes.get_u64_le();

    let echo = bytes.get_u64_le();
    let len = usize::from(bytes.get_u8());
    if len > caps::CLUSTER_ID_BYTES_MAX || len > bytes.len() {
        return Err(cut_off());
    }

    let cluster = std::str::from_utf8(&bytes.split_to(len))
        .map_err(|_| Refusal::malformed("a cluster id is not text"))?
        .to_owned();
    Ok(Greeting {
        wire_min,
        wire_max,
        from,
        to,
        incarnation,
        feature_level,
        lane,
        session,
        echo,
        cluster,
    })
}

/// The longest beginning of `text` that has at most `bytes_max` bytes.
pub(crate) fn cut(text: &str, bytes_max: usize) -> &str {
    let end =
        (0..=bytes_max.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text.get(..end).unwrap_or_default()
}
