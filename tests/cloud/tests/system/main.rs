//! The whole system, with real processes: emulator, coordinator, EC2 and host simulator, agents,
//! nitro-cli stand-in, responders.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a system in which something is missing has failed its test"
)]

mod bad_input;
mod booted;
mod calls;
mod chaos;
mod deploy;
mod events;
mod existing_service;
mod faults;
mod histories;
mod images;
mod kms;
mod lambda;
mod late;
mod logs;
mod manifests;
mod mistakes;
mod networks;
mod notices;
mod orphans;
mod parent_image;
mod pausing;
mod publishing;
mod repeats;
mod restarts;
mod scale;
mod sharing;
mod spares;
mod system;
mod systemd;
mod talking;
mod wire;
