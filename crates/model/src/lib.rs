//! The data that Bailey's parts exchange.
//!
//! Plain data and parsing only: no I/O, no clock, no AWS types. What arrives from outside (a record
//! that a web app wrote, an item that a parent wrote) is parsed here once, into types that cannot
//! hold what Bailey could not act on.
//!
//! | module | holds |
//! | --- | --- |
//! | [`record`] | the web app's record: id, status, configuration |
//! | [`instance_type`] | which EC2 types can host enclaves, and the smallest that fits |
//! | [`hosts`] | the items through which coordinator and agents speak |
//! | [`projection`] | what the coordinator writes back on the web app's record |
//! | [`report`] | an attestation report |
//! | [`manifest`] | what an image measures to |
//! | [`failure`] | failure codes, with a hint for each |
//! | [`network`] | what an enclave may reach, and where it is reached |
//! | [`binding`] | the hash that ties a document to one assignment |

pub mod binding;
mod bytes;
mod error_chain;
pub mod failure;
pub mod hosts;
mod ids;
pub mod instance_type;
pub mod manifest;
pub mod network;
mod pcr;
pub mod projection;
pub mod record;
pub mod report;
mod s3_location;
mod status;
mod unix_millis;

pub use bytes::Base64Bytes;
pub use error_chain::chain;
pub use ids::{EnclaveId, EnclaveIdError, Generation};
pub use pcr::{Pcr, PcrError, PcrSet, read_pcr_set};
pub use s3_location::{S3Location, S3LocationError};
pub use status::{Status, UnknownStatus};
pub use unix_millis::UnixMillis;
