//! Every maximum of the HTTP API that the limiter does not set already.

/// Bytes of a request's body.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
/// Longest that a call is held open while its lease waits, in milliseconds.
pub const HOLD_MS_MAX: u64 = 30_000;
/// How long a call is held open when it does not say, in milliseconds: below the 29 and 30 s at
/// which common load balancers cut.
pub const HOLD_MS_DEFAULT: u64 = 20_000;
/// Items on one page of a list.
pub const PAGE_ITEMS_MAX: u64 = 1_000;
/// Items on a page when none are asked for.
pub const PAGE_ITEMS_DEFAULT: u64 = 100;
/// Resources whose events are asked for by name.
pub const EVENT_RESOURCES_MAX: usize = 100;
/// Characters of the place at which a stream of events is resumed.
pub const EVENT_PLACE_LEN_MAX: usize = 1_024;
/// Characters of a list's cursor.
pub const CURSOR_LEN_MAX: usize = 256;
