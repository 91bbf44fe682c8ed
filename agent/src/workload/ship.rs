//! Lines on their way to CloudWatch Logs.

use super::Line;
use bailey_model::EnclaveId;
use bailey_runtime::logs::{APPLICATION, LogEvent, Logs, MOST_BYTES, MOST_EVENTS, SYSTEM, group};
use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::mpsc, time::sleep};

/// Lines that wait; at most 8 KiB each, so 8 MiB at the very worst.
const MOST_WAITING: usize = 1_024;
/// Lines are sent together: each call costs as much as many lines.
const PERIOD: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// How often a batch is tried. The journal has it in any case.
const TRIES: u32 = 8;

/// Takes lines, and never waits.
#[derive(Clone, Debug)]
pub struct Shipper {
    waiting: mpsc::Sender<Shipment>,
    dropped: Arc<AtomicU64>,
}

/// A line of an enclave.
#[derive(Debug)]
struct Shipment {
    enclave_id: EnclaveId,
    stream: &'static str,
    event: LogEvent,
}

impl Shipper {
    /// Hands a line on, or counts it as dropped when too many wait.
    pub(super) fn ship(&self, enclave_id: &EnclaveId, line: &Line) {
        let stream = if line.is_of_the_workload() { APPLICATION } else { SYSTEM };
        // CloudWatch refuses an empty message, with everything that is sent beside it.
        let message = if line.text.is_empty() { " ".to_owned() } else { line.text.clone() };
        let event = LogEvent { timestamp: bailey_runtime::now().0, message };
        let shipment = Shipment { enclave_id: enclave_id.clone(), stream, event };
        if self.waiting.try_send(shipment).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
impl Shipper {
    /// A shipper, and what shows the streams and texts of what it is given.
    pub(super) fn caught() -> (Self, mpsc::UnboundedReceiver<(&'static str, String)>) {
        let (waiting, mut lines) = mpsc::channel(MOST_WAITING);
        let (caught, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Shipment { stream, event, .. }) = lines.recv().await {
                let _ = caught.send((stream, event.message));
            }
        });
        (Self { waiting, dropped: Arc::default() }, seen)
    }
}

/// The shipper, and the work of sending what it is given to groups below `prefix`, which ends when every
/// shipper is gone.
pub fn ship(logs: Logs, prefix: String) -> (Shipper, impl Future<Output = ()>) {
    let (waiting, mut lines) = mpsc::channel(MOST_WAITING);
    let dropped = Arc::new(AtomicU64::new(0));
    let shipper = Shipper { waiting, dropped: Arc::clone(&dropped) };
    let work = async move {
        let mut batch = Vec::new();
        while lines.recv_many(&mut batch, MOST_WAITING).await > 0 {
            for ((enclave_id, stream), events) in batches(batch.drain(..)) {
                let group = group(&prefix, enclave_id.as_str());
                send(&logs, &group, stream, &events).await;
            }
            let lost = dropped.swap(0, Ordering::Relaxed);
            if lost > 0 {
                log::warn!(lines = lost; "lines dropped on their way to CloudWatch Logs");
            }
            sleep(PERIOD).await;
        }
    };
    (shipper, work)
}

/// Events by group and stream, in parts that one call takes.
fn batches(
    shipments: impl Iterator<Item = Shipment>,
) -> Vec<((EnclaveId, &'static str), Vec<LogEvent>)> {
    let mut sorted = BTreeMap::<(EnclaveId, &str), Vec<LogEvent>>::new();
    for Shipment { enclave_id, stream, event } in shipments {
        sorted.entry((enclave_id, stream)).or_default().push(event);
    }
    let mut batches = Vec::new();
    for (of, events) in sorted {
        let (mut batch, mut size) = (Vec::new(), 0_usize);
        for event in events {
            if batch.len() >= MOST_EVENTS || size.saturating_add(event.size()) > MOST_BYTES {
                batches.push((of.clone(), std::mem::take(&mut batch)));
                size = 0;
            }
            size = size.saturating_add(event.size());
            batch.push(event);
        }
        batches.push((of, batch));
    }
    batches
}

async fn send(logs: &Logs, group: &str, stream: &'static str, events: &[LogEvent]) {
    let mut pause = FIRST_PAUSE;
    for attempt in 1..=TRIES {
        let Err(error) = logs.append(group, stream, events).await else { return };
        let error = bailey_runtime::chain(&error);
        log::warn!(group, attempt, error = error.as_str(); "lines not sent to CloudWatch Logs");
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    log::error!(group, lines = events.len(); "lines given up on their way to CloudWatch Logs");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_of_one_stream_and_what_a_call_takes() {
        let shipment = |id: &str, stream, length| Shipment {
            enclave_id: id.parse().unwrap(),
            stream,
            event: LogEvent { timestamp: 1, message: "x".repeat(length) },
        };
        let long = MOST_BYTES / 2;
        let all = [
            shipment("a", APPLICATION, long),
            shipment("b", APPLICATION, 1),
            shipment("a", SYSTEM, 1),
            shipment("a", APPLICATION, long),
            shipment("a", APPLICATION, 1),
        ];
        let brief: Vec<(String, &str, usize)> = batches(all.into_iter())
            .into_iter()
            .map(|((id, stream), events)| (id.to_string(), stream, events.len()))
            .collect();
        let of = |id: &str, stream, count| (id.to_owned(), stream, count);
        let expected = [
            of("a", APPLICATION, 1),
            of("a", APPLICATION, 2),
            of("a", SYSTEM, 1),
            of("b", APPLICATION, 1),
        ];
        assert_eq!(brief, expected);
    }

    #[test]
    fn what_is_too_much_is_counted_and_nobody_waits() {
        let (waiting, _lines) = mpsc::channel(1);
        let shipper = Shipper { waiting, dropped: Arc::default() };
        let line = Line { stream: "stdout", text: String::new() };
        for _ in 0..3 {
            shipper.ship(&"a".parse().unwrap(), &line);
        }
        assert_eq!(shipper.dropped.load(Ordering::Relaxed), 2);
    }
}
