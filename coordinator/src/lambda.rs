//! `bailey-coordinator lambda`: invoked with the streams' batches, with what EC2 and AWS Health say, and
//! by a schedule.
//!
//! # Flow
//! An invocation wakes whom its event is about, and works until nothing is due within a moment. What is
//! due later is found by the next sweep, for this shape has no clock of its own.
//!
//! # Guarantees
//! - One bad record holds up no other. What fails is noted in the ledger, where the next sweep finds it,
//!   and its record is acknowledged.
//! - A batch is given back from the first record on that could not even be noted: only when DynamoDB
//!   cannot be written. Lambda then delivers it again, as often and as long as the event source
//!   mapping says, before it goes to the destination for failures.

use crate::{
    config::Config,
    connect::{ConnectError, connect},
    events::{Change, Event, InstanceNews},
    metrics::emf_lines,
    notices,
    queue::{Queue, Work},
    tick::Coordinator,
    work::WORKERS,
};
use bailey_model::EnclaveId;
use bailey_runtime::{aws, chain, now};
use lambda_runtime::{Context, Error, LambdaEvent, service_fn};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::{task::JoinSet, time::Instant};

/// What is due within this time is still done by the same invocation.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long before its end an invocation takes up nothing new.
const MARGIN: Duration = Duration::from_secs(5);

/// Another process may have heard of what happened to an enclave at rest, and leave the rest to a sweep.
const LONGEST_REST: Duration = Duration::from_mins(2);

/// Why the function ended.
#[derive(Debug, thiserror::Error)]
pub enum LambdaError {
    /// It cannot do its work.
    #[error(transparent)]
    Connect(ConnectError),
    /// Lambda's own interface failed.
    #[error("Lambda's runtime interface failed")]
    Runtime(#[source] Error),
}

/// Serves invocations for as long as Lambda keeps the process.
pub async fn lambda(config: Config) -> Result<(), LambdaError> {
    let sdk = aws::load(None).await;
    let (coordinator, told) =
        connect(&config, &sdk, LONGEST_REST).await.map_err(LambdaError::Connect)?;
    let (coordinator, told) = (Arc::new(coordinator), Arc::new(tokio::sync::Mutex::new(told)));
    let handler = service_fn(move |event: LambdaEvent<Value>| {
        let (coordinator, told) = (Arc::clone(&coordinator), Arc::clone(&told));
        async move {
            let answer = handle(&coordinator, &event.payload, end_of(&event.context)).await;
            if let Some(told) = told.lock().await.as_mut() {
                notices::tell_what_came(told).await;
            }
            print_figures(&coordinator);
            answer
        }
    });
    lambda_runtime::run(handler).await.map_err(LambdaError::Runtime)
}

/// Prints the figures where CloudWatch Logs takes them for metrics.
fn print_figures(coordinator: &Coordinator) {
    let lines = emf_lines(&coordinator.metrics, &coordinator.config.deployment, now());
    let mut text = lines.join("\n");
    if !text.is_empty() {
        text.push('\n');
        // There is nobody to tell that there is nobody to tell.
        let _ = std::io::stdout().write_all(text.as_bytes());
    }
}

/// When an invocation has to stop taking up work.
fn end_of(context: &Context) -> Instant {
    let left = context.deadline.saturating_sub(now().0);
    Instant::now() + Duration::from_millis(left).saturating_sub(MARGIN)
}

async fn handle(
    coordinator: &Arc<Coordinator>,
    payload: &Value,
    end: Instant,
) -> Result<Value, Error> {
    match Event::parse(payload)? {
        Event::Changes(changes) => Ok(changed(coordinator, changes, end).await),
        Event::Instances(news) => heard(coordinator, &news, end).await,
        Event::Sweep => swept(coordinator, end).await,
    }
}

/// Serves whom the changes are about; the answer names the first that Lambda has to deliver again.
async fn changed(coordinator: &Arc<Coordinator>, changes: Vec<Change>, end: Instant) -> Value {
    let queue = Queue::default();
    let mut first: BTreeMap<String, usize> = BTreeMap::new();
    let mut sequences = Vec::new();
    for (position, Change { sequence, subject }) in changes.into_iter().enumerate() {
        sequences.push(sequence);
        for id in subject.into_iter().flat_map(|subject| coordinator.wake(subject, &queue)) {
            first.entry(id).or_insert(position);
        }
    }
    let unnoted = work_off(coordinator, &queue, end).await;
    let again = unnoted.iter().filter_map(|id| first.get(id)).min();
    let again = again.and_then(|position| sequences.get(*position));
    let failures: Vec<_> = again.iter().map(|it| json!({ "itemIdentifier": it })).collect();
    json!({ "batchItemFailures": failures })
}

async fn heard(
    coordinator: &Arc<Coordinator>,
    news: &[InstanceNews],
    end: Instant,
) -> Result<Value, Error> {
    let queue = Queue::default();
    for one in news {
        coordinator.hear(one, &queue).await?;
    }
    done(&work_off(coordinator, &queue, end).await)
}

async fn swept(coordinator: &Arc<Coordinator>, end: Instant) -> Result<Value, Error> {
    let queue = Queue::default();
    coordinator.sweep_and_log(&queue).await;
    done(&work_off(coordinator, &queue, end).await)
}

fn done(unnoted: &BTreeSet<String>) -> Result<Value, Error> {
    if unnoted.is_empty() {
        return Ok(Value::Null);
    }
    // Lambda invokes again for this event.
    Err(format!("{} enclaves could not be served, and DynamoDB not be written", unnoted.len())
        .into())
}

/// Serves what is due, until nothing is within a moment or the time is over. Gives the ids of which
/// nothing could be done, not even noting them for the next sweep.
async fn work_off(coordinator: &Arc<Coordinator>, queue: &Queue, end: Instant) -> BTreeSet<String> {
    let failed = Arc::new(Mutex::new(BTreeSet::new()));
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        let (coordinator, queue) = (Arc::clone(coordinator), queue.clone());
        let failed = Arc::clone(&failed);
        workers.spawn(async move {
            while let Some(work) = queue.next_within(PATIENCE, end).await {
                let is_served = serve_apart(&coordinator, &queue, &work).await;
                if let Work::Enclave(id) = &work {
                    // What counts is how it went the last time.
                    let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                    let _ = if is_served { failed.remove(id) } else { failed.insert(id.clone()) };
                }
                queue.done(&work);
            }
        });
    }
    while workers.join_next().await.is_some() {}
    let mut failed = std::mem::take(&mut *failed.lock().unwrap_or_else(PoisonError::into_inner));
    failed.extend(queue.overdue());
    let mut unnoted = BTreeSet::new();
    for id in failed {
        // It has no entry, and no note has room for any id; while its record waits, sweeps find it.
        if id.parse::<EnclaveId>().is_err() {
            log::error!(enclave_id = id.as_str(); "a record whose id cannot be used was not served");
            continue;
        }
        if let Err(error) = coordinator.ledger.remember(&id).await {
            log::error!(enclave_id = id.as_str(), error = chain(&error); "cannot be noted for the next sweep");
            unnoted.insert(id);
        }
    }
    unnoted
}

/// Does one piece of work in a task of its own: whatever becomes of it, the others go on.
async fn serve_apart(coordinator: &Arc<Coordinator>, queue: &Queue, work: &Work) -> bool {
    let (coordinator, queue, work) = (Arc::clone(coordinator), queue.clone(), work.clone());
    let serving = tokio::spawn(async move {
        match work {
            Work::Enclave(id) => coordinator.serve(&id, &queue).await.is_ok(),
            Work::Spares => coordinator.tend_spares_and_log(&queue).await,
            Work::Sweep => coordinator.sweep_and_log(&queue).await.is_empty(),
        }
    });
    serving.await.unwrap_or_else(|error| {
        log::error!(error = chain(&error); "a piece of work ended in a panic");
        false
    })
}
