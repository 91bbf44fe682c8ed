//! The lifecycle in a small world: record, ledger, EC2 and hosts.

mod schedules;
mod situations;
mod world;
