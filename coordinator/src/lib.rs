//! The coordinator: turns requests in a table into verified enclaves, once.
//!
//! Stateless: all it knows is in DynamoDB and EC2. `bailey_lifecycle` decides, this crate carries
//! out. Two coordinators at once are harmless.
//!
//! | module | holds |
//! | --- | --- |
//! | [`tick`] | the steps of one enclave id |
//! | [`run`], [`lambda`] | its two shapes: a process that follows the streams, a function that is invoked |
//! | [`connect`] | what both begin with |
//! | [`queue`], [`work`] | which ids are to be looked at, and when; working that off |
//! | [`events`], [`streams`], [`subject`], [`sweep`] | where wake-ups come from |
//! | [`wake`], [`pace`], [`backoff`] | which changes need a look, how often, and how soon again after a failure |
//! | [`spares`] | hosts that are booted before anybody asks |
//! | [`orphans`], [`suspects`] | instances that nobody counts on any more |
//! | [`store`], [`ec2`], [`sns`] | tables, buckets, EC2 and a topic; the last two through [`query`] |
//! | [`notices`] | what people are told |
//! | [`pcr_log`] | what was measured, for older readers |
//! | [`memory`], [`shortages`] | what is remembered to spare calls |
//! | [`metrics`] | figures for operators |

pub mod backoff;
pub mod config;
pub mod connect;
pub mod ec2;
pub mod events;
pub mod lambda;
pub mod memory;
pub mod metrics;
pub mod notices;
pub mod orphans;
pub mod pace;
pub mod pcr_log;
pub mod query;
pub mod queue;
pub mod run;
pub mod shortages;
pub mod sns;
pub mod spares;
pub mod store;
pub mod streams;
pub mod subject;
pub mod suspects;
pub mod sweep;
pub mod tick;
pub mod wake;
pub mod work;
