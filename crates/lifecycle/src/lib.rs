//! The lifecycle of an enclave: what the coordinator does next.
//!
//! Pure: no I/O, no clock, no randomness. [`next_step`] looks at everything that is known about one
//! enclave id and names the single next step; the shell carries the step out, feeds what came of it
//! back through [`outcome`], and asks again until the answer is to wait. Every step can be repeated,
//! so a coordinator may be killed between any two and another may do the same work at the same time.
//!
//! ```text
//!            request                  acknowledged            instance known
//!   (none) ---------> Accepting ----------------> Launching ----------------> Deploying <----+
//!                        | bad configuration          | refused by EC2         |   answer     | restarted
//!                        v                            |                        v              |
//!                     Refusing                        |                    Reporting ---> Deployed
//!                        |                            |                        |              |
//!                        |                            |        failure, lost,  |   PENDING_   |
//!                        |                            |        rejected        v   DESTROY    v
//!                        |                            |                   Terminating <-- Draining
//!                        v                            v                        |
//!                      Ended <-------------------------------------------------+
//! ```
//!
//! | module | holds |
//! | --- | --- |
//! | [`ledger`] | what is remembered about an enclave id: [`ledger::Entry`] and its states |
//! | [`launch`] | launch intents and what EC2 may answer |
//! | [`orphan`] | whose an instance is |
//! | [`shared`] | hosts that several enclaves share |
//! | [`spare`] | hosts that are booted before anybody asks |
//! | [`outcome`] | how an entry continues after a step was carried out |
//! | [`Config`], [`View`], [`Step`] | what a decision takes and gives |

mod accept;
mod config;
mod judge;
pub mod launch;
pub mod ledger;
mod manifest;
pub mod orphan;
pub mod outcome;
mod project;
mod requests;
pub mod shared;
pub mod spare;
mod step;
mod subnets;
mod view;

pub use config::{Config, LaunchTemplate, SpareHosts};
pub use manifest::ManifestObject;
pub use project::Projected;
pub use requests::{refuse_unusable, statuses_beside};
pub use step::{Step, desired, next_step};
pub use subnets::{Subnet, Subnets, SubnetsError};
pub use view::{InstanceState, RecordState, View};
