//! The lifecycle in a small world: record, ledger, EC2 and hosts.

mod manifests;
mod orphans;
mod pausing;
mod places;
mod schedules;
mod sharing;
mod situations;
mod spares;
mod table;
mod world;
