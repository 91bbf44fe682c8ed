//! The figures in CloudWatch's embedded metric format: JSON lines that a Lambda function prints, and
//! of which CloudWatch Logs makes metrics.
//!
//! The format: `CloudWatch_Embedded_Metric_Format_Specification` in the CloudWatch user guide. Each
//! line holds the metrics of one set of dimensions, at most a hundred of them.

use super::{
    Metrics,
    family::{Family, Gauge, Labels, Series},
};
use bailey_model::UnixMillis;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The namespace of all of Bailey's metrics.
const NAMESPACE: &str = "Bailey";
/// The dimension that every metric has.
const DEPLOYMENT: &str = "Deployment";

/// A line for each set of labels: what was counted and how long things took since the last call, and
/// the gauges as they are.
///
/// A counter that has not moved is left out, for every metric costs; a gauge never is, for an alarm
/// has to see it. Names are those of `/metrics` without prefix and suffix.
#[must_use]
pub fn emf_lines(metrics: &Metrics, deployment: &str, now: UnixMillis) -> Vec<String> {
    let mut lines: BTreeMap<Labels, Line> = BTreeMap::new();
    for family in metrics.drain() {
        let Family { name, series, .. } = family;
        let mut add = |labels, unit, value| {
            lines.entry(labels).or_default().add(name, unit, value);
        };
        match series {
            Series::Counters(counters) => {
                let moved = counters.into_iter().filter(|(_, count)| *count > 0);
                moved.for_each(|(labels, count)| add(labels, "Count", count.into()));
            }
            Series::Gauges(gauges) => gauges.into_iter().for_each(|(labels, gauge)| match gauge {
                Gauge::Count(count) => add(labels, "Count", count.into()),
                Gauge::Seconds(seconds) => add(labels, "Seconds", seconds.into()),
            }),
            Series::Durations(all) => {
                for (labels, mut durations) in all {
                    let taken = durations.drain();
                    if !taken.is_empty() {
                        add(labels, "Seconds", taken.into());
                    }
                }
            }
        }
    }
    lines.into_iter().map(|(labels, line)| line.text(labels, deployment, now)).collect()
}

/// The metrics of one set of labels.
#[derive(Default)]
struct Line {
    definitions: Vec<Value>,
    values: Map<String, Value>,
}

impl Line {
    fn add(&mut self, name: &str, unit: &str, value: Value) {
        self.definitions.push(json!({ "Name": name, "Unit": unit }));
        self.values.insert(name.to_owned(), value);
    }

    fn text(self, labels: Labels, deployment: &str, now: UnixMillis) -> String {
        let names: Vec<_> =
            std::iter::once(DEPLOYMENT).chain(labels.iter().map(|(name, _)| *name)).collect();
        let directive = json!({
            "Namespace": NAMESPACE, "Dimensions": [names], "Metrics": self.definitions,
        });
        let mut root = self.values;
        root.insert(
            "_aws".to_owned(),
            json!({ "Timestamp": now.0, "CloudWatchMetrics": [directive] }),
        );
        root.insert(DEPLOYMENT.to_owned(), deployment.into());
        root.extend(labels.into_iter().map(|(name, value)| (name.to_owned(), value.into())));
        Value::Object(root).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::tests::{failed, running};

    fn lines(metrics: &Metrics) -> Vec<Value> {
        let lines = emf_lines(metrics, "prod", UnixMillis(5));
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn with<'a>(lines: &'a [Value], name: &str) -> Option<&'a Value> {
        lines.iter().find(|line| line.get(name).is_some())
    }

    #[test]
    fn a_line_is_of_the_form_that_cloudwatch_takes() {
        let metrics = Metrics::default();
        metrics.changed(Some(&running(0)), &failed());
        let lines = lines(&metrics);
        let expected = json!({
            "_aws": {
                "Timestamp": 5,
                "CloudWatchMetrics": [{
                    "Namespace": "Bailey",
                    "Dimensions": [["Deployment", "code"]],
                    "Metrics": [{ "Name": "failures", "Unit": "Count" }],
                }],
            },
            "Deployment": "prod", "code": "HostLost", "failures": 1,
        });
        assert_eq!(with(&lines, "failures"), Some(&expected));
    }

    #[test]
    fn counters_are_told_as_what_came_since_the_last_call() {
        let metrics = Metrics::default();
        let orphans = |metrics| with(&lines(metrics), "orphans_ended")?["orphans_ended"].as_u64();
        assert_eq!(orphans(&metrics), None);
        metrics.orphan_ended();
        metrics.orphan_ended();
        assert_eq!(orphans(&metrics), Some(2));
        assert_eq!(orphans(&metrics), None);
        metrics.orphan_ended();
        assert_eq!(orphans(&metrics), Some(1));
        assert!(metrics.text().contains("bailey_orphans_ended_total 3"), "{}", metrics.text());
    }

    #[test]
    fn gauges_are_told_each_time_even_when_they_are_zero() {
        let metrics = Metrics::default();
        for _ in 0..2 {
            let lines = lines(&metrics);
            let degraded = lines.iter().find(|line| line["phase"] == "DEGRADED").unwrap();
            assert_eq!(degraded["enclaves"], 0);
        }
    }

    #[test]
    fn durations_are_told_once_each() {
        let metrics = Metrics::default();
        metrics.took("BOOTING", 1.5);
        metrics.took("BOOTING", 0.25);
        let seconds =
            |metrics| Some(with(&lines(metrics), "phase_seconds")?["phase_seconds"].clone());
        assert_eq!(seconds(&metrics), Some(json!([1.5, 0.25])));
        assert_eq!(seconds(&metrics), None);
    }
}
