//! The local cloud: everything that Bailey needs of AWS, as processes on this machine.
//!
//! | module | holds |
//! | --- | --- |
//! | [`ec2`] | the EC2 simulator: launch templates, tokens, states, faults on demand |
//! | [`host`] | what a running instance is here: a directory, an IMDSv2 endpoint, a real agent; or a light host |
//! | [`emulator`] | the process that answers for DynamoDB, its streams and S3 |
//! | [`kms`] | a KMS that takes attestation documents |
//! | [`intercept`] | somebody between a client and an enclave, who ends TLS in between |
//! | [`lambda`] | a little of AWS Lambda, for the coordinator's other shape |
//! | [`local`] | [`LocalCloud`]: all of it together with a coordinator, for tests and for people |
//! | [`wire`] | a proxy between our programs and all of that, which goes wrong on demand |
//! | [`chaos`] | random schedules of requests and faults, and what must hold after each |
//! | [`random`] | numbers that look random and are the same for the same seed |
//! | [`scale`], [`timing`] | many records at once; what the coordinator itself takes |
//! | [`processes`] | starting children that cannot outlive their parent, and finding what still runs |
//!
//! Nothing here is secure, and nothing is meant to be: it listens on loopback only, checks no
//! signature (save that KMS does) and hands out credentials that open nothing.

pub mod chaos;
pub mod ec2;
pub mod emulator;
pub mod host;
pub mod intercept;
pub mod kms;
pub mod lambda;
pub mod local;
pub mod processes;
pub mod random;
pub mod scale;
pub mod timing;
pub mod wire;

pub use local::{CloudError, LocalCloud, Options};
