//! What enclaves say to the world, and the world to them: `egress` and `ingress` of an assignment.
//!
//! ```text
//! workload -> keep, 127.0.0.1:3128 -> vsock port 3128 of the parent -> head, policy, names -> TCP
//! TCP -> port of the parent -> health, PROXY header -> vsock port of the enclave -> keep -> workload
//! ```
//!
//! # Guarantees
//! - Nothing passes that the assignment does not list; [`bailey_network`] decides.
//! - A connection belongs to one enclave from its first byte to its last: by the peer's context id in
//!   the kernel's vsock, by the enclave's own socket in the other form. It ends with the enclave.
//! - A connection takes 128 KiB of buffers at most, and an enclave a bounded number of connections in
//!   each direction. Whoever does not read holds up nobody but its own peer.
//! - The agent reads no payload: what is between the two ends is theirs, TLS most of all.
//!
//! # Caveats
//! A parent can read, change and drop what passes through it, and can lie about who connected. What has
//! to be secret or genuine is protected between the enclave and its peer.

mod accept;
mod egress;
mod enclaves;
mod figures;
mod ingress;
mod pump;
mod refusals;
mod resolve;
#[cfg(test)]
mod tests;

pub use enclaves::serve;
pub use figures::{Figures, FiguresBoard};
pub use pump::{PumpError, pump};
pub use resolve::{Resolver, SystemResolver};

use crate::vsock::Vsock;
use std::{net::IpAddr, time::Duration};

/// How enclaves are served.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How enclaves and their parent reach each other.
    pub vsock: Vsock,
    /// The address on which the ports of `ingress` listen.
    pub ingress_address: IpAddr,
    /// What one connection or enclave may take.
    pub limits: Limits,
}

/// What one connection or enclave may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most connections of one enclave in each direction.
    pub connections: usize,
    /// How long a request's head may take.
    pub head: Duration,
    /// How long resolving and connecting may take together.
    pub connect: Duration,
    /// How long a connection may carry nothing; it ends after once to twice as long.
    pub idle: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1_024,
            head: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            idle: Duration::from_mins(10),
        }
    }
}
