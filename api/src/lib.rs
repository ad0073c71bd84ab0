//! The wire types of RateQueue's HTTP API: bodies, paths, headers, error codes.
