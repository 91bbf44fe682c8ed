//! Asking one enclave how its workload is.

use super::{
    Running,
    tail::{ReadError, answer, ask},
};
use crate::vsock::Vsock;
use bailey_model::hosts::WorkloadHealth;
use bailey_vsock::workload::{Health, HealthStatus, WorkloadRequest, WorkloadResponse};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// A probe may take 30 s by the image's word, and the way there takes a moment.
const PATIENCE: Duration = Duration::from_secs(35);
/// A workload that has just started may not listen yet; so the first looks follow each other soon.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Asks again and again, at most every `period`; `found` hears of each change. Ends when the image configures
/// no probe.
pub(super) async fn watch(
    vsock: Vsock,
    running: Running,
    period: Duration,
    found: impl Fn(WorkloadHealth),
) {
    let mut known: Option<WorkloadHealth> = None;
    let mut pause = FIRST_PAUSE.min(period);
    loop {
        let asked = timeout(PATIENCE, ask_once(&vsock, running.enclave.cid)).await;
        let now = match asked.unwrap_or(Err(None)) {
            Ok(Health { status: HealthStatus::NotConfigured, .. }) => return,
            Ok(Health { status, detail, .. }) => Some((status == HealthStatus::Healthy, detail)),
            Err(None) => Some((false, format!("no answer within {} s", PATIENCE.as_secs()))),
            // An image without this protocol has no health, neither good nor bad.
            Err(Some(_)) if known.is_none() => None,
            Err(Some(error)) => Some((false, bailey_runtime::chain(&error))),
        };
        if let Some((healthy, detail)) = now
            && known.as_ref().is_none_or(|known| known.healthy != healthy)
        {
            let health = WorkloadHealth { healthy, detail, since: bailey_runtime::now() };
            tell(&running, &health);
            found(health.clone());
            known = Some(health);
        }
        sleep(pause).await;
        pause = (pause * 2).min(period);
    }
}

async fn ask_once(vsock: &Vsock, cid: u32) -> Result<Health, Option<ReadError>> {
    let mut stream = ask(vsock, cid, WorkloadRequest::Health).await?;
    match answer(&mut *stream).await? {
        WorkloadResponse::Health(health) => Ok(health),
        WorkloadResponse::Refused(refusal) => Err(Some(ReadError::Refused(refusal))),
        WorkloadResponse::Entry(_) => Err(Some(ReadError::Another)),
    }
}

fn tell(running: &Running, health: &WorkloadHealth) {
    let (enclave_id, generation) = (running.enclave_id.as_str(), running.generation.0);
    let detail = health.detail.as_str();
    if health.healthy {
        log::info!(enclave_id, generation, detail; "workload is healthy");
    } else {
        log::warn!(enclave_id, generation, detail; "workload is not healthy");
    }
}
