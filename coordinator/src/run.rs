//! `bailey-coordinator run`: follows the streams itself, and sweeps.

use crate::{
    config::{Config, ConfigError},
    ec2::{self, Ec2Error},
    memory::Memory,
    metrics::{self, Metrics},
    notices::{self, Notices, Teller},
    query::ClientError,
    queue::{Queue, Work},
    shortages::Shortages,
    sns::Topic,
    store::{Hosts, Images, Ledger, Records, Reports, StoreError},
    streams::{Follower, StreamError, image},
    tick::{Coordinator, Next},
    wake,
};
use aws_config::SdkConfig;
use aws_sdk_dynamodbstreams::types::Record;
use bailey_model::{EnclaveId, hosts::OBSERVED_PREFIX};
use bailey_runtime::{Shutdown, aws, calls::Calls, chain, now};
use std::{io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::TcpListener, sync::mpsc::UnboundedReceiver, task::JoinSet, time::MissedTickBehavior,
};

/// Ids that are worked on at the same time. Most of a step is waiting for an answer.
const WORKERS: usize = 32;

/// Why the coordinator cannot start.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(ConfigError),
    /// There can be no EC2 client.
    #[error("cannot call EC2")]
    Ec2Client(#[source] ClientError),
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
    /// There can be no SNS client.
    #[error("cannot call SNS")]
    Sns(#[source] ClientError),
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
    /// A table cannot be used.
    #[error("cannot open the records")]
    Records(#[source] StoreError),
    /// The launch template cannot be found.
    #[error("cannot find the launch template {name}")]
    Template {
        /// The template's name.
        name: String,
        /// Why.
        source: Ec2Error,
    },
}

/// Runs until a signal asks for the end. Steps under way are finished first.
pub async fn run(config: Config) -> Result<(), RunError> {
    let mut shutdown = Shutdown::listen().map_err(RunError::Signals)?;
    let sdk = aws::load(None).await;
    let (coordinator, told) = connect(&config, &sdk).await?;
    let coordinator = Arc::new(coordinator);
    let queue = Queue::default();
    coordinator.metrics.watch(&queue);
    let poll = Duration::from_millis(config.stream_poll_ms);

    // The followers are in place before the first sweep, so that nothing falls between the two.
    let mut tasks = JoinSet::new();
    for table in [&config.enclaves_table, &config.hosts_table] {
        let follower = follower(&sdk, coordinator.metrics.calls(), table).await?;
        let (each, lost) = (queue.clone(), queue.clone());
        let coordinator = Arc::clone(&coordinator);
        tasks.spawn(follower.follow(
            poll,
            move |record| wake_for(record, &coordinator, &each),
            move || lost.wake(Work::Sweep, Duration::ZERO),
        ));
    }
    if let Some((teller, ids)) = told {
        tasks.spawn(notices::run(teller, ids));
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

/// The coordinator, and what tells people, when anything does.
async fn connect(
    config: &Config,
    sdk: &SdkConfig,
) -> Result<(Coordinator, Option<(Teller, UnboundedReceiver<EnclaveId>)>), RunError> {
    let metrics = Arc::new(Metrics::default());
    let calls = metrics.calls();
    let ec2 = ec2::Client::new(sdk, calls.clone()).map_err(RunError::Ec2Client)?;
    let name = &config.launch_template;
    let version = ec2
        .default_template_version(name)
        .await
        .map_err(|source| RunError::Template { name: name.clone(), source })?;
    let dynamodb = aws::dynamodb(sdk, calls);
    let records = Records::open(dynamodb.clone(), config.enclaves_table.clone())
        .await
        .map_err(RunError::Records)?;
    let s3 = aws::counted_s3(sdk, calls);
    let awaits_notices = config.notify_topic_arn.is_some();
    let ledger = Ledger::new(dynamodb.clone(), config.ledger_table.clone(), awaits_notices);
    let (notices, told) = match &config.notify_topic_arn {
        None => (Notices::nowhere(), None),
        Some(arn) => {
            let topic = Topic::new(arn.clone(), sdk, calls.clone()).map_err(RunError::Sns)?;
            let (ledger, metrics) = (ledger.clone(), Arc::clone(&metrics));
            let teller = Teller { topic, ledger, deployment: config.deployment.clone(), metrics };
            let (notices, ids) = Notices::channel();
            (notices, Some((teller, ids)))
        }
    };
    let coordinator = Coordinator {
        config: config.lifecycle(version).map_err(RunError::Config)?,
        records,
        ledger,
        hosts: Hosts::new(dynamodb, config.hosts_table.clone()),
        images: Images::new(s3.clone()),
        reports: Reports::new(s3, config.reports_bucket.clone()),
        ec2,
        shortages: Shortages::default(),
        metrics,
        notices,
        memory: Memory::beginning(now()),
    };
    Ok((coordinator, told))
}

async fn follower(sdk: &SdkConfig, calls: &Calls, table: &str) -> Result<Follower, RunError> {
    let described = aws::dynamodb(sdk, calls).describe_table().table_name(table).send();
    let stream_arn = described
        .await
        .map_err(|source| RunError::Table { table: table.to_owned(), source: Box::new(source) })?
        .table
        .and_then(|table| table.latest_stream_arn)
        .ok_or_else(|| RunError::NoStream { table: table.to_owned() })?;
    let streams = aws_sdk_dynamodbstreams::config::Builder::from(sdk).interceptor(calls.clone());
    let streams = aws_sdk_dynamodbstreams::Client::from_conf(streams.build());
    Follower::at_end(streams, stream_arn)
        .await
        .map_err(|source| RunError::Stream { table: table.to_owned(), source })
}

/// Wakes whom a stream's record is about, unless it is the echo of a write of ours.
///
/// What a host reported wakes the enclave that the ledger put there, whatever the report says: a
/// parent can get nobody else looked at. A host that this process has not met is the sweep's.
fn wake_for(record: &Record, coordinator: &Coordinator, queue: &Queue) {
    let Some(change) = record.dynamodb() else { return };
    let (old, new) = (image(change.old_image()), image(change.new_image()));
    let key = |name: &str| change.keys()?.get(name)?.as_s().ok();
    if let Some(id) = key("id") {
        if !wake::is_echo(&old, &new) {
            queue.wake(Work::Enclave(id.clone()), Duration::ZERO);
        }
        return;
    }
    let host = key("pk").and_then(|pk| pk.strip_prefix(OBSERVED_PREFIX));
    if let Some(id) = host.and_then(|arn| coordinator.memory.owner(arn)) {
        queue.wake(Work::Enclave(id.to_string()), wake::pause_after_report(&new));
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

async fn sweep(coordinator: &Coordinator, queue: &Queue) {
    let errors = coordinator.sweep(queue).await;
    coordinator.metrics.swept(errors.is_empty());
    for error in errors {
        log::warn!(error = chain(&error); "sweep is incomplete");
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
            Work::Enclave(id) => serve(&coordinator, &queue, id).await,
            Work::Sweep => sweep(&coordinator, &queue).await,
        }
        queue.done(&work);
    }
}

async fn serve(coordinator: &Coordinator, queue: &Queue, id: &str) {
    let wake = |delay| queue.wake(Work::Enclave(id.to_owned()), delay);
    match coordinator.tick(id).await {
        Ok(next) => {
            // The record may still show the trouble that is over.
            if coordinator.memory.succeeded(id) {
                wake(Duration::ZERO);
            } else if let Next::After(delay) = next {
                wake(delay);
            }
        }
        Err(error) => {
            let reason = chain(&error);
            coordinator.metrics.retried();
            log::warn!(enclave_id = id, error = reason.as_str(); "step failed and will be retried");
            wake(coordinator.memory.failed(id, error.to_string(), reason, random()));
        }
    }
}

/// A number by chance; without any chance to be had, that of the longest pause.
fn random() -> u32 {
    let mut bytes = [u8::MAX; 4];
    let _ = aws_lc_rs::rand::fill(&mut bytes);
    u32::from_le_bytes(bytes)
}
