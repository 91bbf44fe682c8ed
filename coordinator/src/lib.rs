//! The coordinator: turns requests in a table into verified enclaves, once.
//!
//! Stateless: all it knows is in DynamoDB and EC2. `bailey_lifecycle` decides, this crate carries
//! out. Two coordinators at once are harmless.
//!
//! | module | holds |
//! | --- | --- |
//! | [`tick`] | the steps of one enclave id |
//! | [`queue`] | which ids are to be looked at, and when |
//! | [`streams`], [`sweep`] | where wake-ups come from |
//! | [`wake`], [`pace`], [`backoff`] | which changes need a look, how often, and how soon again after a failure |
//! | [`store`], [`ec2`], [`sns`] | tables, bucket, EC2 and a topic; the last two through [`query`] |
//! | [`notices`] | what people are told |
//! | [`memory`], [`shortages`] | what is remembered to spare calls |
//! | [`metrics`] | figures for operators |

pub mod backoff;
pub mod config;
pub mod ec2;
pub mod memory;
pub mod metrics;
pub mod notices;
pub mod pace;
pub mod query;
pub mod queue;
pub mod run;
pub mod shortages;
pub mod sns;
pub mod store;
pub mod streams;
pub mod sweep;
pub mod tick;
pub mod wake;
