//! The lifecycle in a small world: record, ledger, EC2 and hosts.

mod manifests;
mod schedules;
mod situations;
mod world;
