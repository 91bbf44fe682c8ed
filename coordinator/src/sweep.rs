//! The sweep: whatever a stream did not say is found here.

use crate::{ec2::Ec2Error, queue::Queue, store::StoreError, tick::Coordinator};
use bailey_lifecycle::InstanceState;
use std::{collections::HashSet, time::Duration};

/// Why a sweep is incomplete; the next one does it over.
#[derive(Debug, thiserror::Error)]
pub enum SweepError {
    /// EC2 gave no usable answer.
    #[error("cannot list the instances")]
    Instances(#[source] Ec2Error),
    /// A table gave no usable answer.
    #[error("cannot list what is active")]
    Tables(#[source] StoreError),
}

impl Coordinator {
    /// Wakes every id that may need something: records that wait, and entries that are active.
    ///
    /// EC2 is asked once for all instances, and only while there is an active entry.
    pub async fn sweep(&self, queue: &Queue) -> Result<usize, SweepError> {
        let active = self.ledger.active().await.map_err(SweepError::Tables)?;
        let unsettled = self.records.unsettled().await.map_err(SweepError::Tables)?;
        let mut ids: HashSet<String> = active.iter().map(ToString::to_string).collect();
        ids.extend(unsettled);
        if !active.is_empty() {
            let instances = self.ec2.instances(&self.config.deployment).await;
            self.remember(instances.map_err(SweepError::Instances)?);
        }
        for id in &ids {
            queue.wake(id, Duration::ZERO);
        }
        Ok(ids.len())
    }

    fn remember(&self, instances: std::collections::HashMap<String, InstanceState>) {
        self.memory.set_instances(instances);
    }
}
