//! Having the allocator set CPUs and memory apart: by this process, or by the helper.

use super::RoomError;
use crate::{command, files, helper::Helper};
use std::{path::PathBuf, time::Duration};

/// The allocator compacts memory for huge pages, which takes long on a large parent.
const ALLOCATOR_DEADLINE: Duration = Duration::from_mins(2);

/// Whoever gives the allocator its file.
#[derive(Clone, Debug)]
pub enum Applier {
    /// This process writes its file and runs its command.
    Direct {
        /// Its configuration file.
        file: PathBuf,
        /// The command that makes it read that.
        command: Vec<String>,
    },
    /// The helper does.
    Helped(Helper),
}

impl Applier {
    /// Gives the allocator its file; whether it ended well, and the end of what it said.
    pub(crate) async fn apply(&self, text: &str) -> Result<(bool, String), RoomError> {
        match self {
            Self::Direct { file, command } => {
                files::write_atomically(file, text.as_bytes())
                    .map_err(|source| RoomError::Write { path: file.clone(), source })?;
                let output = command::run(command, ALLOCATOR_DEADLINE, None).await;
                let output = output.map_err(RoomError::Command)?;
                Ok((output.success, output.last_words()))
            }
            Self::Helped(helper) => {
                helper.apply_plan(text.to_owned()).await.map_err(RoomError::Helper)
            }
        }
    }
}
