//! Figures as plain data, apart from how anybody reads them.

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
};
use std::fmt;

/// One figure under all of its labels.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Family {
    /// Its name, without prefix and suffix.
    pub(super) name: &'static str,
    /// What it tells, for people.
    pub(super) help: &'static str,
    /// Its values.
    pub(super) series: Series,
}

/// The values of a figure, each with its labels.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Series {
    /// Numbers that only grow.
    Counters(Vec<(Labels, u64)>),
    /// Numbers as they are now.
    Gauges(Vec<(Labels, Gauge)>),
    /// How long something took, each time.
    Durations(Vec<(Labels, Durations)>),
}

/// Names and values of labels.
pub(super) type Labels = Vec<(&'static str, String)>;

/// A number as it is now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Gauge {
    /// How many.
    Count(u64),
    /// How long.
    Seconds(f64),
}

/// How long something took, each time.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Durations {
    sum_s: f64,
    count: u64,
    /// How many lie within each of [`BOUNDS_S`] and within none lower; those beyond come last.
    buckets: [u64; BOUNDS_S.len() + 1],
    /// Those that nobody has drained, in the order in which they came; the first of them only.
    undrained: Vec<f64>,
}

/// From an emulator's milliseconds to the half hour after which a deploy is given up.
const BOUNDS_S: [f64; 11] = [0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 1_800.0];

/// So many values CloudWatch takes of one metric at a time.
const MOST_UNDRAINED: usize = 100;

impl Durations {
    pub(super) fn note(&mut self, seconds: f64) {
        self.sum_s += seconds;
        self.count = self.count.saturating_add(1);
        let bucket = BOUNDS_S.iter().position(|bound| seconds <= *bound);
        if let Some(times) = self.buckets.get_mut(bucket.unwrap_or(BOUNDS_S.len())) {
            *times = times.saturating_add(1);
        }
        if self.undrained.len() < MOST_UNDRAINED {
            self.undrained.push(seconds);
        }
    }

    /// What came since the last call.
    pub(super) fn drain(&mut self) -> Vec<f64> {
        std::mem::take(&mut self.undrained)
    }
}

/// Figures to be encoded once.
#[derive(Debug)]
pub(super) struct Families(pub(super) Vec<Family>);

impl Collector for Families {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|family| family.encode(&mut encoder))
    }
}

impl Family {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.series {
            Series::Counters(_) => MetricType::Counter,
            Series::Gauges(_) => MetricType::Gauge,
            Series::Durations(_) => MetricType::Histogram,
        };
        let mut encoder = encoder.encode_descriptor(self.name, self.help, None, kind)?;
        match &self.series {
            Series::Counters(counters) => each(&mut encoder, counters, |one, value| {
                one.encode_counter::<NoLabelSet, _, u64>(value, None)
            }),
            Series::Gauges(gauges) => each(&mut encoder, gauges, |one, value| match value {
                Gauge::Count(count) => one.encode_gauge(count),
                Gauge::Seconds(seconds) => one.encode_gauge(seconds),
            }),
            Series::Durations(all) => each(&mut encoder, all, |one, value| {
                let bounds = BOUNDS_S.into_iter().chain([f64::INFINITY]);
                let buckets: Vec<_> = bounds.zip(value.buckets).collect();
                one.encode_histogram::<NoLabelSet>(value.sum_s, value.count, &buckets, None)
            }),
        }
    }
}

/// Encodes each value under its labels; one that has none gets no empty braces either.
fn each<V>(
    encoder: &mut MetricEncoder<'_>,
    series: &[(Labels, V)],
    encode: impl Fn(&mut MetricEncoder<'_>, &V) -> fmt::Result,
) -> fmt::Result {
    series.iter().try_for_each(|(labels, value)| match labels.as_slice() {
        [] => encode(encoder, value),
        labels => encode(&mut encoder.encode_family(&labels)?, value),
    })
}
