//! The workload's process: starting it, seeing it end, and deciding what then.

mod children;
mod start;
mod supervise;
mod users;

pub(super) use children::Children;
pub(super) use start::{SUBCOMMAND, become_workload};
pub(super) use supervise::{Event, Run, supervise};

use crate::workload::Workload;
use nix::unistd::Uid;
use std::path::PathBuf;

/// Where the image's files are, and what may be done there.
#[derive(Clone, Debug)]
pub(super) struct Place {
    /// The directory that the workload's paths are below: `/` in an enclave.
    pub(super) root: PathBuf,
    /// Whether this is an enclave of its own, in which everything is ours: users can be changed, and
    /// every other process ended.
    pub(super) is_enclave: bool,
}

impl Place {
    /// Where a path of the image is.
    pub(super) fn path(&self, in_image: &str) -> PathBuf {
        self.root.join(in_image.trim_start_matches('/'))
    }
}

/// The user as whom the workload runs; this process's own where users cannot be changed, or when there is no
/// such user, and then nothing is started.
pub(super) fn user_of(workload: &Workload, place: &Place) -> Option<Uid> {
    let user = || users::resolve(&workload.user, place).ok().map(|user| Uid::from_raw(user.uid));
    place.is_enclave.then(user).flatten()
}
