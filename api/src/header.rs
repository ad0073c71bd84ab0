//! The names of headers that are RateQueue's own, and those of HTTP that the contract leans on.

/// Repeating a request with the same key and body repeats its answer.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The log index at which a write took effect.
pub const LOG_INDEX: &str = "ratequeue-log-index";
/// The id of the node that answered.
pub const SERVED_BY: &str = "ratequeue-served-by";
/// The URL of the node that leads the group, when it is known: the shortest way for the next call.
pub const LEADER: &str = "ratequeue-leader";
/// The limits of a resource, as the IETF's RateLimit header fields say them.
pub const RATE_LIMIT_POLICY: &str = "ratelimit-policy";
/// What is left of them.
pub const RATE_LIMIT: &str = "ratelimit";
