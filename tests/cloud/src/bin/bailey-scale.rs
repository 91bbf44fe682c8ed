//! `bailey-scale`: many records at once.

use bailey_local_cloud::{
    CloudError, LocalCloud, Options,
    local::light_measurements,
    scale::record,
    timing::{Timing, event_to_launch, percentile},
};
use bailey_runtime::{chain, logging};
use clap::Parser;
use std::{
    fs, io,
    process::ExitCode,
    time::{Duration, Instant},
};

/// Deploys and destroys many records at once in a local cloud with light hosts, and measures what
/// the coordinator needs for it.
///
/// First, on an idle cloud, records are deployed one after the other while a proxy between the
/// coordinator and everything else notes when each request arrives and is answered. `event_to_launch_ms`
/// is the time from the answer that brought a record's stream event to the coordinator's `RunInstances`
/// for it, less the time in which its requests in between were with the emulator or the simulator.
///
/// Then a fresh coordinator, without a proxy and with a production's settings, is given all records at
/// once. `coordinator_peak_rss_mib` is the kernel's own figure (`VmHWM`) for its process, at the end.
///
/// Hosts are light: see `bailey_local_cloud::host::light` for what that leaves out.
///
/// Exit codes: 0 all is as it should be, 1 something is not; it is printed.
#[derive(Debug, Parser)]
#[command(name = "bailey-scale")]
struct Arguments {
    /// Records at once.
    #[arg(long, default_value_t = 1_000)]
    records: usize,
    /// Records one after the other, for the time from event to launch.
    #[arg(long, default_value_t = 50)]
    singles: usize,
    /// How long all records may take to be deployed, and then to be destroyed, in seconds.
    #[arg(long, default_value_t = 900)]
    limit_s: u64,
}

/// How long nothing happens.
const IDLE: Duration = Duration::from_mins(2);
/// One a minute: within two minutes the third may just have begun.
const MAX_IDLE_CALLS: u64 = 3;

/// The most memory that the coordinator may ever have had.
const MAX_RSS_MIB: f64 = 64.0;
/// The most that half of all launches may take of the coordinator's own time.
const MAX_MEDIAN: Duration = Duration::from_millis(30);
/// How long a single record may take for anything.
const SINGLE_LIMIT: Duration = Duration::from_mins(1);

#[tokio::main]
async fn main() -> ExitCode {
    logging::to_stderr();
    match run(&Arguments::parse()).await {
        Ok(figures) => figures.show(),
        Err(error) => {
            eprintln!("bailey-scale: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// Why nothing could be measured.
#[derive(Debug, thiserror::Error)]
enum ScaleError {
    #[error("the local cloud fails")]
    Cloud(#[from] CloudError),
    #[error("the coordinator ended by itself, see its log")]
    CoordinatorEnded,
    #[error("cannot read how much memory the coordinator had")]
    Memory(#[source] io::Error),
    #[error("no proxy can be started")]
    Proxy(#[source] io::Error),
    #[error("the launch of {id} was not seen")]
    Unseen { id: String },
}

/// What was measured.
#[derive(Debug)]
struct Figures {
    records: usize,
    deployed: usize,
    destroyed: usize,
    instances_launched: u64,
    /// Records with more than one instance.
    launched_twice: usize,
    /// Instances that are not gone, and items of hosts.
    left: usize,
    peak_rss_mib: f64,
    /// Calls of EC2 within [`IDLE`], with everything deployed.
    idle_ec2_calls: u64,
    deployed_in: Duration,
    destroyed_in: Duration,
    event_to_launch: [Duration; 2],
}

async fn run(arguments: &Arguments) -> Result<Figures, ScaleError> {
    let mut options = Options::find()?;
    options.light_hosts = Some(light_measurements());
    // An agent's own defaults.
    options.agent_settings = toml::Table::new();
    // And the coordinator's.
    options.coordinator_settings = toml::Table::new();
    let mut cloud = LocalCloud::start(options).await?;
    let event_to_launch = singles(&mut cloud, arguments.singles).await?;
    let mut figures = all_at_once(&mut cloud, arguments).await?;
    figures.event_to_launch = event_to_launch;
    cloud.shutdown().await?;
    Ok(figures)
}

/// Median and 99th percentile of the coordinator's own time from event to launch.
async fn singles(cloud: &mut LocalCloud, records: usize) -> Result<[Duration; 2], ScaleError> {
    let timing = Timing::default();
    let aws = timing.proxy(cloud.endpoint_url()).await.map_err(ScaleError::Proxy)?;
    let ec2 = timing.proxy(cloud.ec2().url()).await.map_err(ScaleError::Proxy)?;
    cloud.route_coordinator(Some((aws.url(), ec2.url())));
    // Idle means that nothing goes on beside the record.
    cloud.configure_coordinator("sweep_interval_s", 3_600);
    cloud.start_coordinator()?;
    // One more than is measured: a coordinator that has just started finds its first record by its
    // sweep, perhaps before it follows the stream.
    let ids: Vec<_> = (0..=records).map(|number| format!("single-{number:04}")).collect();
    let mut times = Vec::new();
    for (number, id) in ids.iter().enumerate() {
        drop(timing.take());
        cloud.put_record(&record(id)).await?;
        cloud.wait_for_status(id, "DEPLOYED", SINGLE_LIMIT).await?;
        if number == 0 {
            continue;
        }
        let unseen = || ScaleError::Unseen { id: id.clone() };
        times.push(event_to_launch(&timing.take(), id).ok_or_else(unseen)?);
    }
    cloud.set_statuses(&ids, "PENDING_DESTROY").await?;
    cloud.wait_for_count("DESTROYED", ids.len(), SINGLE_LIMIT).await?;
    for id in &ids {
        cloud.delete_record(id).await?;
    }
    cloud.stop_coordinator().await?;
    cloud.route_coordinator(None);
    cloud.configure_coordinator("sweep_interval_s", 30);
    times.sort_unstable();
    Ok([50, 99].map(|per_cent| percentile(&times, per_cent).unwrap_or_default()))
}

async fn all_at_once(cloud: &mut LocalCloud, arguments: &Arguments) -> Result<Figures, ScaleError> {
    let limit = Duration::from_secs(arguments.limit_s);
    let ids: Vec<_> = (0..arguments.records).map(|number| format!("scale-{number:05}")).collect();
    let before = cloud.simulation().await?.launches;
    cloud.start_coordinator()?;
    let pid = cloud.coordinator_pid();

    let started = Instant::now();
    let records: Vec<_> = ids.iter().map(|id| record(id)).collect();
    cloud.put_records(&records).await?;
    let deployed = cloud.wait_for_count("DEPLOYED", ids.len(), limit).await?;
    let deployed_in = started.elapsed();

    // What it costs while nothing happens: a time has to pass for that.
    let calls = ec2_calls(cloud).await?;
    tokio::time::sleep(IDLE).await;
    let idle_ec2_calls = ec2_calls(cloud).await? - calls;

    let started = Instant::now();
    cloud.set_statuses(&ids, "PENDING_DESTROY").await?;
    let destroyed = cloud.wait_for_count("DESTROYED", ids.len(), limit).await?;
    let destroyed_in = started.elapsed();

    let now = cloud.coordinator_pid();
    let pid = pid.filter(|_| pid == now).ok_or(ScaleError::CoordinatorEnded)?;
    let peak_rss_mib = peak_rss_mib(pid).map_err(ScaleError::Memory)?;
    let (instances, items) = cloud.left().await?;
    Ok(Figures {
        records: ids.len(),
        deployed,
        destroyed,
        instances_launched: cloud.simulation().await?.launches - before,
        launched_twice: cloud.launched_twice().await?.len(),
        left: instances + items.len(),
        peak_rss_mib,
        idle_ec2_calls,
        deployed_in,
        destroyed_in,
        event_to_launch: [Duration::ZERO; 2],
    })
}

/// Every call that EC2 has had.
async fn ec2_calls(cloud: &LocalCloud) -> Result<u64, ScaleError> {
    Ok(cloud.simulation().await?.calls.values().sum())
}

/// The most memory that a process ever had, by the kernel.
fn peak_rss_mib(pid: u32) -> io::Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = peak.and_then(|peak| peak.trim().strip_suffix("kB")?.trim().parse::<f64>().ok());
    Ok(kib.ok_or(io::ErrorKind::InvalidData)? / 1_024.0)
}

impl Figures {
    fn show(&self) -> ExitCode {
        let [median, p99] = self.event_to_launch.map(|time| time.as_secs_f64() * 1_000.0);
        println!(
            "scale: records={} deployed={} destroyed={} instances_launched={} left={} \
             coordinator_peak_rss_mib={:.1} idle_ec2_calls_in_2_min={} deployed_s={:.1} destroyed_s={:.1} \
             event_to_launch_ms_median={median:.1} event_to_launch_ms_p99={p99:.1}",
            self.records,
            self.deployed,
            self.destroyed,
            self.instances_launched,
            self.left,
            self.peak_rss_mib,
            self.idle_ec2_calls,
            self.deployed_in.as_secs_f64(),
            self.destroyed_in.as_secs_f64(),
        );
        let complaints = self.complaints();
        for complaint in &complaints {
            eprintln!("bailey-scale: {complaint}");
        }
        if complaints.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn complaints(&self) -> Vec<&'static str> {
        let records = u64::try_from(self.records).unwrap_or(u64::MAX);
        [
            (self.deployed != self.records, "not every record was deployed"),
            (self.destroyed != self.records, "not every record was destroyed"),
            (self.instances_launched != records, "not as many instances as records were launched"),
            (self.launched_twice > 0, "a record has more than one instance"),
            (self.left > 0, "instances or items of hosts are left"),
            (self.peak_rss_mib > MAX_RSS_MIB, "the coordinator needs more than 64 MiB"),
            (
                self.idle_ec2_calls > MAX_IDLE_CALLS,
                "EC2 is called more than once a minute when idle",
            ),
            (self.event_to_launch[0] > MAX_MEDIAN, "half of the launches take more than 30 ms"),
        ]
        .into_iter()
        .filter_map(|(is_so, complaint)| is_so.then_some(complaint))
        .collect()
    }
}
