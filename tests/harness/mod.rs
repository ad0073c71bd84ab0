//! The harness of the integration tests: real nodes, spoken to over HTTP.
//!
//! ```text
//!   node.rs    a node as a process: started, killed, started again in the same folder
//!   inside.rs  a node in the process of the test, for tests that ask nothing of a process
//!   described.rs  answers against docs/openapi.json
//!   http.rs    calls, and answers that say what was wrong with them
//!   proxy.rs   a load balancer before a node, which delays, swallows and cuts
//!   wait.rs    waiting for a condition, with a deadline
//! ```
//! Ports are 0 and folders temporary. Nothing here sleeps but in [`wait`].

// Each test file compiles this module for itself, and none uses all of it.
#![allow(dead_code, unused_imports)]

mod described;
mod http;
mod inside;
mod node;
mod proxy;
mod wait;

pub use http::{Answer, Client, concurrency, rate};
pub use inside::NodeInside;
pub use node::{Node, Start, Tree, program, program_at_terminal, run};
pub use proxy::{Cut, Proxy};
pub use wait::{eventually, until};
