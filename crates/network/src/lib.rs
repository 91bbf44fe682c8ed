//! Decisions about an enclave's traffic, and the two small protocols around it. Pure: no sockets, no
//! names resolved, no clock.
//!
//! | module | holds |
//! | --- | --- |
//! | [`address`] | what kind of place an IP address is |
//! | [`policy`] | may an enclave reach this host, and connect to this address |
//! | [`request`] | the head of a `CONNECT` request, and nothing that only looks like one |
//! | [`answer`] | what the enclave is told |
//! | [`proxy_header`] | who connected, for the enclave: the PROXY protocol, version 2 |

pub mod address;
pub mod answer;
pub mod policy;
pub mod proxy_header;
pub mod request;
