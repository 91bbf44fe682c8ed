//! The hosts table as a host without a process of its own uses it.

use super::{InstanceFacts, LightHosts};
use bailey_agent::{
    config::Config,
    hosts_table::{DynamoHostsTable, Made},
    ports::{HostsTable, TableError},
};
use bailey_model::hosts::{Beat, Desired, Observed};
use bailey_runtime::calls::Calls;
use std::{future::Future, sync::Arc};
use tokio::sync::{Semaphore, watch};

/// The agent's adapter, for as long as the host has power, and with a limit that all hosts share.
#[derive(Debug)]
pub(super) struct LightTable {
    table: DynamoHostsTable,
    calls: Arc<Semaphore>,
    powered: watch::Receiver<bool>,
}

impl LightTable {
    pub(super) fn new(
        light: &LightHosts,
        config: &Config,
        facts: &InstanceFacts,
        powered: watch::Receiver<bool>,
    ) -> Self {
        let table = DynamoHostsTable {
            client: light.client.clone(),
            table: config.hosts_table.clone(),
            instance_arn: facts.arn(),
            calls: Calls::default(),
            made: Made::default(),
        };
        Self { table, calls: Arc::clone(&light.calls), powered }
    }

    /// The outcome of a call; nothing when the power is cut before there is one.
    async fn call<T>(
        &self,
        call: impl Future<Output = Result<T, TableError>>,
    ) -> Result<Option<T>, TableError> {
        let limited = async {
            // Nobody closes the semaphore; without it there would be no limit, and that is all.
            let _permit = self.calls.acquire().await.ok();
            call.await
        };
        tokio::select! {
            biased;
            () = power_is_cut(self.powered.clone()) => Ok(None),
            outcome = limited => outcome.map(Some),
        }
    }
}

impl HostsTable for LightTable {
    async fn desired(&self) -> Result<Option<Desired>, TableError> {
        Ok(self.call(Box::pin(self.table.desired())).await?.flatten())
    }

    async fn report(&self, observed: &Observed) -> Result<(), TableError> {
        self.call(Box::pin(self.table.report(observed))).await.map(drop)
    }

    async fn beat(&self, beat: &Beat) -> Result<(), TableError> {
        self.call(Box::pin(self.table.beat(beat))).await.map(drop)
    }
}

/// Waits until the host has no power any more. Cancel-safe.
pub(super) async fn power_is_cut(mut powered: watch::Receiver<bool>) {
    // A switch that is gone was on the host.
    let _ = powered.wait_for(|on| !*on).await;
}
