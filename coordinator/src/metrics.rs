//! Figures for operators, in the `OpenMetrics` format that Prometheus reads.
//!
//! They are what this process saw: after a start the gauges are right with the first sweep, and
//! counters count from zero.

use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use bailey_lifecycle::ledger::Entry;
use bailey_model::EnclaveId;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use std::{
    collections::HashMap,
    io,
    sync::{Arc, Mutex, PoisonError},
};
use tokio::net::TcpListener;

/// The coordinator's figures.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    enclaves: Family<Phase, Gauge>,
    failures: Family<Code, Counter>,
    missed: Counter,
    phases: Mutex<HashMap<EnclaveId, Phase>>,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Phase {
    phase: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Code {
    code: String,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("bailey");
        let (enclaves, failures) = (Family::default(), Family::default());
        let missed = Counter::default();
        registry.register("enclaves", "Enclaves under way or running, by phase", enclaves.clone());
        registry.register("failures", "Enclaves that failed, by code", failures.clone());
        registry.register(
            "reattestations_missed",
            "Times that a running enclave failed to attest again",
            missed.clone(),
        );
        let metrics =
            Self { registry, enclaves, failures, missed, phases: Mutex::new(HashMap::new()) };
        // An alarm needs the figure also while there is nothing to be alarmed about.
        metrics.of_phase("DEGRADED").set(0);
        metrics
    }
}

impl Metrics {
    /// Notes an entry as it was read.
    pub fn read(&self, entry: &Entry) {
        let phase = entry.is_active().then(|| Phase { phase: entry.phase().to_owned() });
        let mut phases = self.phases.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match &phase {
            Some(phase) => phases.insert(entry.id.clone(), phase.clone()),
            None => phases.remove(&entry.id),
        };
        if before == phase {
            return;
        }
        if let Some(before) = before {
            self.enclaves.get_or_create(&before).dec();
        }
        if let Some(phase) = phase {
            self.enclaves.get_or_create(&phase).inc();
        }
    }

    /// Notes that this process changed an entry.
    pub fn changed(&self, before: Option<&Entry>, after: &Entry) {
        let failed = after
            .failure
            .as_ref()
            .filter(|failure| before.is_none_or(|before| before.failure.as_ref() != Some(failure)));
        if let Some(failure) = failed {
            let code = failure.code.as_str().to_owned();
            self.failures.get_or_create(&Code { code }).inc();
        }
        if after.misses() > before.map_or(0, Entry::misses) {
            self.missed.inc();
        }
        self.read(after);
    }

    /// All figures, as `OpenMetrics` 1.0 text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &self.registry);
        text
    }

    fn of_phase(&self, phase: &str) -> Gauge {
        self.enclaves.get_or_create(&Phase { phase: phase.to_owned() }).clone()
    }
}

/// Serves `/metrics` until the task is dropped.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>) -> io::Result<()> {
    let format = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let figures = move || {
        let metrics = Arc::clone(&metrics);
        async move { ([(CONTENT_TYPE, format)], metrics.text()) }
    };
    axum::serve(listener, Router::new().route("/metrics", get(figures))).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_lifecycle::ledger::State;
    use bailey_model::{
        UnixMillis,
        failure::{Failure, FailureCode},
    };
    use serde_json::json;

    /// An entry in this state, with all that states need.
    fn entry(state: &serde_json::Value) -> Entry {
        serde_json::from_value(json!({
            "id": "enc_1", "version": 1, "generation": 1, "accepted_at": 0, "entered": {},
            "events": [], "state": state,
        }))
        .unwrap()
    }

    fn running(misses: u32) -> Entry {
        entry(&json!({
            "name": "DEPLOYED", "sequence": 1,
            "host": {
                "instance_id": "i-1", "instance_arn": "arn", "instance_type": "m5.xlarge",
                "availability_zone": "a", "launched_at": 0, "desired_version": 1,
            },
            "incarnation": { "restarts": 0, "nitro_id": null },
            "renewal": { "due": 0, "nonce": null, "misses": misses, "reason": null },
        }))
    }

    fn has(metrics: &Metrics, line: &str) -> bool {
        metrics.text().lines().any(|found| found == line)
    }

    #[test]
    fn a_degraded_enclave_is_counted_as_such_until_it_attests_again() {
        let metrics = Metrics::default();
        assert!(has(&metrics, "bailey_enclaves{phase=\"DEGRADED\"} 0"));
        metrics.read(&running(0));
        metrics.changed(Some(&running(0)), &running(1));
        metrics.read(&running(1));
        assert!(has(&metrics, "bailey_enclaves{phase=\"DEGRADED\"} 1"), "{}", metrics.text());
        assert!(has(&metrics, "bailey_enclaves{phase=\"RUNNING\"} 0"));
        assert!(has(&metrics, "bailey_reattestations_missed_total 1"));
        metrics.changed(Some(&running(1)), &running(0));
        assert!(has(&metrics, "bailey_enclaves{phase=\"DEGRADED\"} 0"));
        assert!(has(&metrics, "bailey_reattestations_missed_total 1"));
    }

    #[test]
    fn a_failure_is_counted_once_and_its_enclave_no_longer() {
        let metrics = Metrics::default();
        metrics.read(&running(0));
        let mut failed = running(0);
        failed.state =
            State::Ended { outcome: bailey_lifecycle::ledger::Outcome::Failed, host: None };
        failed.failure = Some(Failure::new(FailureCode::HostLost, "gone", UnixMillis(1)));
        metrics.changed(Some(&running(0)), &failed);
        metrics.changed(Some(&failed), &failed);
        assert!(has(&metrics, "bailey_failures_total{code=\"HostLost\"} 1"), "{}", metrics.text());
        assert!(has(&metrics, "bailey_enclaves{phase=\"RUNNING\"} 0"));
    }
}
