//! A whole host: a directory, a metadata service, and an agent in a process of its own.

use super::{BootError, HostOptions, InstanceFacts, agent::Supervisor, files, imds::Metadata};
use bailey_model::UnixMillis;
use std::{path::PathBuf, time::Duration};

/// A whole host that runs.
#[derive(Debug)]
pub(super) struct WholeHost {
    dir: PathBuf,
    metadata: Metadata,
    supervisor: Supervisor,
}

/// A process that got SIGKILL is gone when it next would run.
const HALT_LIMIT: Duration = Duration::from_secs(10);

impl WholeHost {
    pub(super) async fn boot(
        options: &HostOptions,
        facts: &InstanceFacts,
    ) -> Result<Self, BootError> {
        let dir = options.dir(&facts.id);
        bailey_nitro_cli_standin::host::create(&dir, &facts.host_facts(options))
            .map_err(|source| BootError::Directory { source })?;
        let metadata =
            Metadata::serve(facts).await.map_err(|source| BootError::Metadata { source })?;
        files::write(options, &dir, metadata.url())
            .map_err(|source| BootError::Files { dir: dir.clone(), source })?;
        let log = options.log(&facts.id, "agent.log");
        let program = options.agent_program(&dir, log, &facts.region);
        let supervisor = Supervisor::start(program, dir.join(files::POWEROFF));
        Ok(Self { dir, metadata, supervisor })
    }

    pub(super) async fn powered_off(&self) {
        self.supervisor.powered_off().await;
    }

    pub(super) async fn halt(&self) {
        self.supervisor.stop().await;
        self.metadata.stop();
        if let Err(left) = crate::processes::end_all_of(&self.dir, HALT_LIMIT).await {
            let left: Vec<_> = left.iter().map(ToString::to_string).collect();
            log::error!(processes = left.join("; "); "processes of a halted host still run");
        }
    }

    pub(super) fn agent_pid(&self) -> Option<u32> {
        self.supervisor.pid()
    }

    pub(super) fn agent_starts(&self) -> u64 {
        self.supervisor.starts()
    }

    pub(super) fn kill_agent(&self) -> bool {
        self.supervisor.kill()
    }

    pub(super) fn imds_url(&self) -> String {
        self.metadata.url().to_owned()
    }

    pub(super) fn announce_interruption(&self, at: UnixMillis) {
        self.metadata.announce_interruption(at);
    }
}
