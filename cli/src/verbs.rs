//! One file per verb: its flags, and its steps.

pub(crate) mod asking;
pub(crate) mod deploy;
pub(crate) mod destroy;
pub(crate) mod eif;
pub(crate) mod events;
pub(crate) mod image;
pub(crate) mod logs;
pub(crate) mod ls;
pub(crate) mod pause;
pub(crate) mod report;
pub(crate) mod resume;
pub(crate) mod show;
pub(crate) mod talk;
pub(crate) mod verify;
pub(crate) mod watch;
