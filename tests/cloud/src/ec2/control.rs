//! The control interface: what a test sees of the simulation and does to it.

use super::{Fault, Refusal, Settings, SimulationView, fault::FaultKind, simulator::Simulator};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::StatusCode,
    routing::{get, post},
};
use bailey_runtime::now;
use serde::{Deserialize, Serialize};
use std::{sync::Arc, time::Duration};

type Shared = State<Arc<Simulator>>;

pub(super) fn routes() -> Router<Arc<Simulator>> {
    Router::new()
        .route("/state", get(state))
        .route("/settings", post(settings))
        .route("/faults", post(add_fault).delete(clear_faults))
        .route("/release", post(release))
        .route("/instances/{id}/fail", post(fail))
        .route("/instances/{id}/kill-agent", post(kill_agent))
        .route("/instances/{id}/spot-notice", post(spot_notice))
}

/// How long after the call a spot instance is to be taken back.
#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpotNotice {
    /// In seconds; EC2 gives two minutes.
    pub(super) in_seconds: u64,
}

impl Simulator {
    /// Counts a call and returns the fault that strikes it.
    pub(super) fn count(&self, action: &str) -> Option<FaultKind> {
        let mut inner = self.lock();
        *inner.calls.entry(action.to_owned()).or_default() += 1;
        inner.faults.strike(action)
    }

    /// Waits until held calls are released.
    pub(super) async fn hold(&self) {
        let released = self.released.notified();
        tokio::pin!(released);
        // Registered before it is counted: who sees the count can release it.
        released.as_mut().enable();
        self.lock().held += 1;
        released.await;
        self.lock().held -= 1;
    }
}

async fn state(State(simulator): Shared) -> Json<SimulationView> {
    Json(simulator.view())
}

async fn settings(State(simulator): Shared, Json(settings): Json<Settings>) {
    simulator.set(settings);
}

async fn add_fault(State(simulator): Shared, Json(fault): Json<Fault>) {
    simulator.lock().faults.add(fault);
}

async fn clear_faults(State(simulator): Shared) {
    simulator.lock().faults.clear();
}

async fn release(State(simulator): Shared) {
    simulator.released.notify_waiters();
}

async fn fail(
    State(simulator): Shared,
    Path(id): Path<String>,
) -> Result<(), (StatusCode, String)> {
    simulator.fail(&id).map_err(|Refusal { message, .. }| (StatusCode::NOT_FOUND, message))
}

async fn kill_agent(State(simulator): Shared, Path(id): Path<String>) -> StatusCode {
    match simulator.host(&id) {
        Some(host) if host.kill_agent() => StatusCode::OK,
        Some(_) => StatusCode::CONFLICT,
        None => StatusCode::NOT_FOUND,
    }
}

async fn spot_notice(
    State(simulator): Shared,
    Path(id): Path<String>,
    Json(notice): Json<SpotNotice>,
) -> StatusCode {
    match simulator.host(&id) {
        Some(host) => {
            let at = now().plus(Duration::from_secs(notice.in_seconds));
            let is_heard = host.announce_interruption(at);
            if is_heard { StatusCode::OK } else { StatusCode::CONFLICT }
        }
        None => StatusCode::NOT_FOUND,
    }
}
