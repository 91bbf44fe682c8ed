//! Figures for operators, in the `OpenMetrics` format that Prometheus reads.
//!
//! They are what this process saw: after a start the gauges are right with the first sweep, and
//! counters count from zero.

mod emf;
mod family;
mod timeline;

use crate::queue::Queue;
use axum::{Router, http::header::CONTENT_TYPE, routing::get};
use bailey_lifecycle::ledger::Entry;
use bailey_model::EnclaveId;
use bailey_runtime::calls::Calls;
pub use emf::emf_lines;
use family::{Durations, Families, Family, Gauge, Labels, Series};
use prometheus_client::{encoding::text::encode, registry::Registry};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};
use tokio::{net::TcpListener, time::Instant};

/// The coordinator's figures.
#[derive(Debug, Default)]
pub struct Metrics {
    calls: Calls,
    queue: OnceLock<Queue>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    /// The phase of each enclave that is under way or runs.
    enclaves: HashMap<EnclaveId, &'static str>,
    /// Every phase that an enclave was ever seen in: its gauge falls to zero and stays.
    phases: BTreeSet<&'static str>,
    failures: BTreeMap<&'static str, u64>,
    missed: u64,
    notices: BTreeMap<&'static str, u64>,
    orphans_ended: u64,
    retried: u64,
    sweeps: BTreeMap<&'static str, u64>,
    taken: BTreeMap<String, Durations>,
    /// What [`Metrics::drain`] told of each counter.
    drained: BTreeMap<(&'static str, Labels), u64>,
}

impl Metrics {
    /// The count of the coordinator's calls, for the clients that make them.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// From now on the queue's length and age are among the figures.
    pub fn watch(&self, queue: &Queue) {
        // There is one queue in a process; a second one would say nothing new.
        let _ = self.queue.set(queue.clone());
    }

    /// Notes an entry as it was read.
    pub fn read(&self, entry: &Entry) {
        let mut inner = self.lock();
        if entry.is_active() {
            inner.phases.insert(entry.phase());
            inner.enclaves.insert(entry.id.clone(), entry.phase());
        } else {
            inner.enclaves.remove(&entry.id);
        }
    }

    /// Notes that this process changed an entry.
    pub fn changed(&self, before: Option<&Entry>, after: &Entry) {
        let failed = after
            .failure
            .as_ref()
            .filter(|failure| before.is_none_or(|before| before.failure.as_ref() != Some(failure)));
        if let Some(failure) = failed {
            add(self.lock().failures.entry(failure.code.as_str()).or_default());
        }
        if after.misses() > before.map_or(0, Entry::misses) {
            add(&mut self.lock().missed);
        }
        for (phase, took) in timeline::completed(before, after) {
            self.took(&phase, took.as_secs_f64());
        }
        self.read(after);
    }

    /// Notes that an instance was ended which no entry owns.
    pub fn orphan_ended(&self) {
        add(&mut self.lock().orphans_ended);
    }

    /// Notes that a step failed and will be tried again.
    pub fn retried(&self) {
        add(&mut self.lock().retried);
    }

    /// Notes a sweep; one that could not look everywhere is incomplete.
    pub fn swept(&self, is_complete: bool) {
        let outcome = if is_complete { DONE } else { INCOMPLETE };
        add(self.lock().sweeps.entry(outcome).or_default());
    }

    /// Notes an attempt to tell people what happened.
    pub fn told(&self, is_sent: bool) {
        add(self.lock().notices.entry(if is_sent { SENT } else { FAILED }).or_default());
    }

    fn took(&self, phase: &str, seconds: f64) {
        self.lock().taken.entry(phase.to_owned()).or_default().note(seconds);
    }

    /// All figures, as `OpenMetrics` 1.0 text.
    #[must_use]
    pub fn text(&self) -> String {
        let mut registry = Registry::with_prefix("bailey");
        registry.register_collector(Box::new(Families(self.families())));
        let mut text = String::new();
        // Writing into a string does not fail.
        let _ = encode(&mut text, &registry);
        text
    }

    fn families(&self) -> Vec<Family> {
        let calls = self.calls.counted().into_iter().map(|(call, times)| {
            (vec![("service", call.service), ("operation", call.operation)], times)
        });
        let mut families = self.lock().families(calls.collect());
        if let Some(queue) = self.queue.get() {
            let (length, age) = (queue.length(), queue.age(Instant::now()));
            let age = Gauge::Seconds(age.as_secs_f64());
            let length = Gauge::Count(u64::try_from(length).unwrap_or(u64::MAX));
            families.extend([
                gauge("queue_age_seconds", "Since when the oldest due work waits", age),
                gauge("queue_length", "Ids that are to be looked at, due or later", length),
            ]);
        }
        families
    }

    /// The figures with what came of each counter and of each duration since the last call.
    fn drain(&self) -> Vec<Family> {
        let mut families = self.families();
        let mut inner = self.lock();
        for family in &mut families {
            let Series::Counters(counters) = &mut family.series else { continue };
            for (labels, count) in counters {
                let now = *count;
                let before = inner.drained.insert((family.name, labels.clone()), now);
                *count = now.saturating_sub(before.unwrap_or_default());
            }
        }
        inner.taken.values_mut().for_each(|durations| drop(durations.drain()));
        families
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock; if it did, the numbers would still be numbers.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a sweep ends.
const DONE: &str = "done";
const INCOMPLETE: &str = "incomplete";

/// How an attempt to tell people ends.
const SENT: &str = "sent";
const FAILED: &str = "failed";

impl Inner {
    fn families(&self, calls: Vec<(Labels, u64)>) -> Vec<Family> {
        let counters = |name, help, values| Family { name, help, series: Series::Counters(values) };
        let one = |name, help, count| counters(name, help, vec![(Labels::new(), count)]);
        let failures = self.failures.iter().map(|(code, count)| (label("code", code), *count));
        let sweeps = [DONE, INCOMPLETE].into_iter().map(|outcome| {
            (label("outcome", outcome), self.sweeps.get(outcome).copied().unwrap_or_default())
        });
        let notices =
            self.notices.iter().map(|(outcome, count)| (label("outcome", outcome), *count));
        let taken = self.taken.iter().map(|(phase, taken)| (label("phase", phase), taken.clone()));
        vec![
            counters("api_calls", "Calls of AWS, each attempt for itself", calls),
            Family {
                name: "enclaves",
                help: "Enclaves under way or running, by phase",
                series: Series::Gauges(self.enclaves()),
            },
            counters("failures", "Enclaves that failed, by code", failures.collect()),
            counters("notices", "Attempts to tell people what happened", notices.collect()),
            one(
                "orphans_ended",
                "Instances that no enclave owned and that were ended",
                self.orphans_ended,
            ),
            Family {
                name: "phase_seconds",
                help: "How long a phase took when an enclave first went through it",
                series: Series::Durations(taken.collect()),
            },
            one(
                "reattestations_missed",
                "Times that a running enclave failed to attest again",
                self.missed,
            ),
            one("steps_retried", "Steps that failed and are tried again", self.retried),
            counters("sweeps", "Searches for what the streams did not say", sweeps.collect()),
        ]
    }

    fn enclaves(&self) -> Vec<(Labels, Gauge)> {
        // An alarm needs the figure also while there is nothing to be alarmed about.
        let mut counts = BTreeMap::from([("DEGRADED", 0_u64)]);
        counts.extend(self.phases.iter().map(|phase| (*phase, 0)));
        self.enclaves.values().for_each(|phase| add(counts.entry(phase).or_default()));
        let gauge = |(phase, count)| (label("phase", phase), Gauge::Count(count));
        counts.into_iter().map(gauge).collect()
    }
}

fn gauge(name: &'static str, help: &'static str, value: Gauge) -> Family {
    Family { name, help, series: Series::Gauges(vec![(Labels::new(), value)]) }
}

fn label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

fn add(count: &mut u64) {
    *count = count.saturating_add(1);
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
    use bailey_lifecycle::ledger::{Outcome, State};
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

    pub(super) fn running(misses: u32) -> Entry {
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

    pub(super) fn failed() -> Entry {
        let mut failed = running(0);
        failed.state = State::Ended { outcome: Outcome::Failed, host: None };
        failed.failure = Some(Failure::new(FailureCode::HostLost, "gone", UnixMillis(1)));
        failed
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
        metrics.changed(Some(&running(0)), &failed());
        metrics.changed(Some(&failed()), &failed());
        assert!(has(&metrics, "bailey_failures_total{code=\"HostLost\"} 1"), "{}", metrics.text());
        assert!(has(&metrics, "bailey_enclaves{phase=\"RUNNING\"} 0"));
    }

    #[test]
    fn calls_are_shown_by_service_and_operation() {
        let metrics = Metrics::default();
        metrics.calls().note("EC2", "RunInstances");
        metrics.calls().clone().note("EC2", "RunInstances");
        let line = "bailey_api_calls_total{service=\"EC2\",operation=\"RunInstances\"} 2";
        assert!(has(&metrics, line), "{}", metrics.text());
    }

    #[test]
    fn the_time_in_a_phase_is_a_histogram() {
        let metrics = Metrics::default();
        metrics.took("BOOTING", 0.75);
        metrics.took("BOOTING", 3_600.0);
        let bucket =
            |le: &str| format!("bailey_phase_seconds_bucket{{le=\"{le}\",phase=\"BOOTING\"}}");
        assert!(has(&metrics, &format!("{} 0", bucket("0.5"))), "{}", metrics.text());
        assert!(has(&metrics, &format!("{} 1", bucket("1.0"))));
        assert!(has(&metrics, &format!("{} 2", bucket("+Inf"))));
        assert!(has(&metrics, "bailey_phase_seconds_count{phase=\"BOOTING\"} 2"));
    }

    #[test]
    fn what_became_of_sweeps_and_steps_is_counted() {
        let metrics = Metrics::default();
        metrics.swept(true);
        metrics.swept(false);
        metrics.swept(true);
        metrics.retried();
        metrics.watch(&Queue::default());
        for line in [
            "bailey_sweeps_total{outcome=\"done\"} 2",
            "bailey_sweeps_total{outcome=\"incomplete\"} 1",
            "bailey_steps_retried_total 1",
            "bailey_queue_age_seconds 0.0",
            "bailey_queue_length 0",
        ] {
            assert!(has(&metrics, line), "{line} is not in\n{}", metrics.text());
        }
    }
}
