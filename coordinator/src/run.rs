//! `bailey-coordinator run`: follows the streams itself, and sweeps.

use crate::{
    config::Config,
    connect::{ConnectError, connect},
    metrics, notices,
    queue::{Queue, Work},
    store::{Checkpoints, StoreError},
    streams::{DynamoStream, Follower, StreamError, image},
    subject::Subject,
    tick::Coordinator,
    work::WORKERS,
};
use aws_config::SdkConfig;
use aws_sdk_dynamodbstreams::types::Record;
use bailey_runtime::{Shutdown, aws, calls::Calls, chain};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{net::TcpListener, task::JoinSet, time::MissedTickBehavior};

/// Of what happens to an enclave at rest this process hears, by the streams and its own sweeps.
const LONGEST_REST: Duration = Duration::from_mins(10);

/// Why the coordinator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot do its work.
    #[error(transparent)]
    Connect(ConnectError),
    /// How far a stream was read cannot be read or written.
    #[error("cannot use the checkpoint of a stream")]
    Checkpoint(#[source] StoreError),
    /// The metrics cannot be served.
    #[error("cannot serve metrics on {address}")]
    Metrics {
        /// Where.
        address: SocketAddr,
        /// The system's reason.
        source: io::Error,
    },
    /// A table lacks the stream that is to be followed.
    #[error("table {table} has no stream; enable one with the view type NEW_AND_OLD_IMAGES")]
    NoStream {
        /// The table.
        table: String,
    },
    /// Signals cannot be listened for.
    #[error("cannot listen for signals")]
    Signals(#[source] io::Error),
    /// A part of the coordinator ended by itself.
    #[error("a part of the coordinator ended by itself; the log says more")]
    TaskEnded,
    /// A stream cannot be read.
    #[error("cannot follow the stream of table {table}")]
    Stream {
        /// The table.
        table: String,
        /// Why.
        source: StreamError,
    },
    /// A table cannot be described.
    #[error("cannot use table {table}")]
    Table {
        /// The table.
        table: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Runs until a signal asks for the end. Steps under way are finished first.
pub async fn run(config: Config) -> Result<(), RunError> {
    let mut shutdown = Shutdown::listen().map_err(RunError::Signals)?;
    let sdk = aws::load(None).await;
    let (coordinator, told) =
        connect(&config, &sdk, LONGEST_REST).await.map_err(RunError::Connect)?;
    let coordinator = Arc::new(coordinator);
    let queue = Queue::default();
    coordinator.metrics.watch(&queue);
    let poll = Duration::from_millis(config.stream_poll_ms);

    // The followers are in place before the first sweep, so that nothing falls between the two.
    let mut tasks = JoinSet::new();
    for table in [&config.enclaves_table, &config.hosts_table] {
        let (follower, checkpoints) =
            follower(&sdk, coordinator.metrics.calls(), &config, table).await?;
        let (each, lost) = (queue.clone(), queue.clone());
        let coordinator = Arc::clone(&coordinator);
        tasks.spawn(follower.follow(
            poll,
            move |record| wake_for(record, &coordinator, &each),
            move || lost.wake(Work::Sweep, Duration::ZERO),
            move |checkpoint| {
                let checkpoints = checkpoints.clone();
                async move {
                    if let Err(error) = checkpoints.write(&checkpoint).await {
                        log::warn!(error = chain(&error); "checkpoint of a stream cannot be written");
                    }
                }
            },
        ));
    }
    if let Some(told) = told {
        tasks.spawn(notices::run(told));
    }
    if let Some(address) = config.metrics_listen {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| RunError::Metrics { address, source })?;
        // With port 0 the system chooses one.
        let address = listener.local_addr().unwrap_or(address).to_string();
        log::info!(address = address.as_str(); "metrics are served");
        let figures = Arc::clone(&coordinator.metrics);
        tasks.spawn(async move {
            if let Err(error) = metrics::serve(listener, figures).await {
                log::error!(error = chain(&error); "metrics are no longer served");
            }
        });
    }
    let interval = Duration::from_secs(config.sweep_interval_s);
    tasks.spawn(sweep_regularly(queue.clone(), interval));
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let mut workers = JoinSet::new();
    for _ in 0..WORKERS {
        workers.spawn(work(Arc::clone(&coordinator), queue.clone(), stopped.clone()));
    }
    log::info!(deployment = config.deployment.as_str(), version = env!("CARGO_PKG_VERSION"); "coordinator runs");
    let ended_well = tokio::select! {
        () = shutdown.requested() => true,
        // None of them ends by itself: one that does has met a fault of ours, and what it was doing
        // is done over by the next process.
        _ = tasks.join_next() => false,
        _ = workers.join_next() => false,
    };
    log::info!("coordinator stops");
    tasks.shutdown().await;
    // Failing to send means that every worker is gone already.
    let _ = stop.send(true);
    while workers.join_next().await.is_some() {}
    if ended_well { Ok(()) } else { Err(RunError::TaskEnded) }
}

/// Takes up the table's stream where the coordinator before left it.
async fn follower(
    sdk: &SdkConfig,
    calls: &Calls,
    config: &Config,
    table: &str,
) -> Result<(Follower<DynamoStream>, Checkpoints), RunError> {
    let dynamodb = aws::dynamodb(sdk, calls);
    let described = dynamodb.describe_table().table_name(table).send();
    let arn = described
        .await
        .map_err(|source| RunError::Table { table: table.to_owned(), source: Box::new(source) })?
        .table
        .and_then(|table| table.latest_stream_arn)
        .ok_or_else(|| RunError::NoStream { table: table.to_owned() })?;
    let checkpoints = Checkpoints::of(dynamodb, config.ledger_table.clone(), arn.clone());
    let known = checkpoints.read().await.map_err(RunError::Checkpoint)?;
    let is_new = known.is_none();
    let client = aws_sdk_dynamodbstreams::config::Builder::from(sdk).interceptor(calls.clone());
    let client = aws_sdk_dynamodbstreams::Client::from_conf(client.build());
    let follower = Follower::begin(DynamoStream { client, arn }, known)
        .await
        .map_err(|source| RunError::Stream { table: table.to_owned(), source })?;
    if is_new {
        // Whatever this process does not come to look at is for the next one.
        checkpoints.write(&follower.checkpoint()).await.map_err(RunError::Checkpoint)?;
    }
    Ok((follower, checkpoints))
}

/// Wakes whom a stream's record is about.
fn wake_for(record: &Record, coordinator: &Coordinator, queue: &Queue) {
    let Some(change) = record.dynamodb() else { return };
    let keys = image(change.keys());
    let (old, new) = (image(change.old_image()), image(change.new_image()));
    if let Some(subject) = Subject::of(&keys, &old, &new) {
        coordinator.wake(subject, queue);
    }
}

async fn sweep_regularly(queue: Queue, interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        queue.wake(Work::Sweep, Duration::ZERO);
    }
}

async fn work(
    coordinator: Arc<Coordinator>,
    queue: Queue,
    mut stopped: tokio::sync::watch::Receiver<bool>,
) {
    loop {
        let work = tokio::select! {
            work = queue.next() => work,
            // An error means that the sender is gone, which is as good a reason to stop.
            _ = stopped.wait_for(|stopped| *stopped) => return,
        };
        match &work {
            // Whatever failed is logged, and tried again.
            Work::Enclave(id) => drop(coordinator.serve(id, &queue).await),
            Work::Spares => drop(coordinator.tend_spares_and_log(&queue).await),
            Work::Sweep => drop(coordinator.sweep_and_log(&queue).await),
        }
        queue.done(&work);
    }
}
