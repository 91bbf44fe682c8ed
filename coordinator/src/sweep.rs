//! The sweep: whatever a stream did not say is found here.

use crate::{
    ec2::Ec2Error,
    queue::{Queue, Work},
    store::StoreError,
    tick::{Coordinator, DESCRIBE_LAG},
};
use bailey_lifecycle::InstanceState;
use bailey_runtime::now;
use std::time::Duration;

/// Why a sweep is incomplete; what it found is served all the same, and the next does it over.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// EC2 gave no usable answer.
    #[error("cannot list the instances")]
    Instances(#[source] Ec2Error),
    /// The ledger gave no usable answer.
    #[error("cannot list the active entries")]
    Ledger(#[source] StoreError),
    /// The web app's table gave no usable answer.
    #[error("cannot list the records that wait")]
    Records(#[source] StoreError),
}

impl Coordinator {
    /// Wakes every id that may need something: records that wait, entries that are active, and
    /// enclaves whose instance is gone.
    ///
    /// Each source is asked whatever became of the others.
    pub async fn sweep(&self, queue: &Queue) -> Vec<SweepError> {
        let wake = |id: String| queue.wake(Work::Enclave(id), Duration::ZERO);
        let mut errors = Vec::new();
        match self.ledger.active().await {
            Ok(active) => active.iter().for_each(|id| wake(id.to_string())),
            Err(error) => errors.push(SweepError::Ledger(error)),
        }
        match self.records.unsettled().await {
            Ok(ids) => ids.into_iter().for_each(wake),
            Err(error) => errors.push(SweepError::Records(error)),
        }
        if let Err(error) = self.look_at_instances().await {
            errors.push(SweepError::Instances(error));
        }
        for (owner, state) in self.memory.owners() {
            if state.is_some_and(InstanceState::is_gone) {
                wake(owner.enclave_id.to_string());
            }
        }
        errors
    }

    /// Asks EC2 once for all instances, and again for each that should be there and is not: only
    /// EC2's word about an instance itself says that it is gone.
    async fn look_at_instances(&self) -> Result<(), Ec2Error> {
        if self.memory.owners().is_empty() {
            return Ok(());
        }
        self.memory.set_instances(self.ec2.instances(&self.config.deployment).await?);
        for (owner, state) in self.memory.owners() {
            if state.is_none() && now().since(owner.launched_at) >= DESCRIBE_LAG {
                let state = self.ec2.instance(&owner.instance_id).await?;
                let state = state.unwrap_or(InstanceState::Terminated);
                self.memory.set_instance(&owner.instance_id, state);
            }
        }
        Ok(())
    }
}
