//! What an enclave may reach, and where it is reached: `egress` and `ingress` of a configuration.
//!
//! Both are empty by default, and then nothing passes. An enclave has no network of its own; its
//! parent's agent carries bytes, and only those that these lists allow.

mod address_block;
mod destination;
mod host_name;
mod ingress;

pub use address_block::{AddressBlock, AddressBlockError};
pub use destination::{Destination, DestinationError, DestinationHost};
pub use host_name::{HostName, HostNameError};
pub use ingress::{ENCLAVE_PORT, IngressError, IngressPort, PARENT_PORT, RESERVED_ENCLAVE_PORTS};

/// The most destinations that one enclave may have.
pub const MAX_EGRESS: usize = 64;

/// The most ports under which one enclave may be reached.
pub const MAX_INGRESS: usize = 16;
