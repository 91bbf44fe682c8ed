//! `bailey-footprint`: what an agent takes of its parent while an enclave runs there.

use bailey_local_cloud::{
    chaos,
    local::{CloudError, LocalCloud, Options},
};
use bailey_model::UnixMillis;
use bailey_runtime::chain;
use clap::Parser;
use serde_json::json;
use std::{fs, io, path::PathBuf, process::ExitCode, time::Duration};

/// Deploys one enclave in a local cloud, lets its agent idle, and starts the agent anew.
///
/// Exit codes: 0 every goal is met, 1 one is not, or nothing can be said.
#[derive(Debug, Parser)]
#[command(name = "bailey-footprint")]
struct Arguments {
    /// The agent as it is released.
    #[arg(long)]
    agent: PathBuf,
    /// The image to deploy.
    #[arg(long)]
    image: PathBuf,
    /// For how many seconds the agent idles.
    #[arg(long, default_value_t = 20)]
    idle_s: u64,
    /// How often it is started; the middle one of the times counts.
    #[arg(long, default_value_t = 5)]
    starts: usize,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// The local cloud does not do what it is asked.
    #[error("the local cloud fails")]
    Cloud(#[source] CloudError),
    /// The EC2 simulator does not do what it is asked.
    #[error("the agent cannot be killed")]
    Kill(#[source] bailey_local_cloud::ec2::ControlError),
    /// No agent runs, or it reported nothing.
    #[error("{0}")]
    Missing(&'static str),
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    File { path: PathBuf, source: io::Error },
}

const ID: &str = "footprint";
const LIMIT: Duration = Duration::from_mins(2);
const LOOK_PERIOD: Duration = Duration::from_millis(20);

/// What is promised.
const MOST_BINARY_MIB: f64 = 16.0;
const MOST_RSS_MIB: f64 = 20.0;
const MOST_IDLE_PERCENT: f64 = 0.2;
const MOST_START_MS: u64 = 150;

#[tokio::main]
async fn main() -> ExitCode {
    match measure(&Arguments::parse()).await {
        Ok(is_good) => ExitCode::from(u8::from(!is_good)),
        Err(error) => {
            eprintln!("bailey-footprint: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<bool, Failed> {
    let mut options = Options::find().map_err(Failed::Cloud)?;
    options.binaries.agent.clone_from(&arguments.agent);
    // As it is deployed: a local cloud asks much more often.
    for (name, value) in
        [("poll_idle_ms", 10_000), ("beat_interval_ms", 5_000), ("inspect_interval_ms", 2_000)]
    {
        options.agent_settings.insert(name.to_owned(), value.into());
    }
    for (name, value) in
        chaos::settings().into_iter().filter(|(name, _)| *name != "reattest_interval_s")
    {
        options.coordinator_settings.insert(name.to_owned(), value.into());
    }
    let mut cloud = LocalCloud::start(options).await.map_err(Failed::Cloud)?;
    let bytes = read(&arguments.image)?;
    cloud.upload_eif("test.eif", bytes).await.map_err(Failed::Cloud)?;
    cloud.start_coordinator().map_err(Failed::Cloud)?;
    let record = json!({
        "id": ID, "status": "PENDING_DEPLOY",
        "configuration": { "instance_type": "m5.xlarge", "cpu_count": 2, "memory_mib": 1024,
                           "eif_path": format!("s3://{}/test.eif", cloud.names().eif_bucket) },
    });
    cloud.put_record(&record).await.map_err(Failed::Cloud)?;
    cloud.wait_for_status(ID, "DEPLOYED", LIMIT).await.map_err(Failed::Cloud)?;

    let agent = Agent::of(&cloud).await?;
    let before = agent.cpu_ticks()?;
    // What is measured is this very time.
    tokio::time::sleep(Duration::from_secs(arguments.idle_s)).await;
    let used = agent.cpu_ticks()?.saturating_sub(before);
    let idle_percent = as_f64(used) / as_f64(arguments.idle_s);
    let rss_mib = agent.rss_kib()? / 1_024.0;

    let mut starts = Vec::new();
    for _ in 0..arguments.starts {
        starts.push(start_to_report(&cloud).await?);
    }
    starts.sort_unstable();
    let start_ms = starts.get(starts.len() / 2).copied().unwrap_or(u64::MAX);
    let size = fs::metadata(&arguments.agent);
    let size = size.map_err(|source| Failed::File { path: arguments.agent.clone(), source })?.len();
    let binary_mib = as_f64(size) / 1_048_576.0;

    println!(
        "agent: binary_mib={binary_mib:.1} rss_mib={rss_mib:.1} idle_cpu_percent={idle_percent:.2} \
         start_to_first_report_ms={start_ms}"
    );
    cloud.set_status(ID, "PENDING_DESTROY").await.map_err(Failed::Cloud)?;
    cloud.wait_for_status(ID, "DESTROYED", LIMIT).await.map_err(Failed::Cloud)?;
    cloud.shutdown().await.map_err(Failed::Cloud)?;
    Ok(binary_mib <= MOST_BINARY_MIB
        && rss_mib <= MOST_RSS_MIB
        && idle_percent <= MOST_IDLE_PERCENT
        && start_ms <= MOST_START_MS)
}

/// Kills the agent; how long the next one takes from its start, as the kernel has it (in steps of 10
/// ms), to its first report, the emulator's answers included.
async fn start_to_report(cloud: &LocalCloud) -> Result<u64, Failed> {
    let old = Agent::of(cloud).await?;
    let reported_before = old.reported_at(cloud).await?;
    cloud.ec2().kill_agent(&old.instance_id).await.map_err(Failed::Kill)?;
    loop {
        tokio::time::sleep(LOOK_PERIOD).await;
        let Ok(new) = Agent::of(cloud).await else { continue };
        let reported_at = new.reported_at(cloud).await?;
        if new.pid != old.pid && reported_at > reported_before {
            return Ok(reported_at.0.saturating_sub(new.started_ms()?));
        }
    }
}

/// The agent that runs.
struct Agent {
    pid: u32,
    instance_id: String,
    instance_arn: String,
}

impl Agent {
    async fn of(cloud: &LocalCloud) -> Result<Self, Failed> {
        let view = cloud.simulation().await.map_err(Failed::Cloud)?;
        let instance = view.live().next().ok_or(Failed::Missing("no instance runs"))?;
        let pid = instance.agent_pid.ok_or(Failed::Missing("no agent runs"))?;
        let hosts = cloud.hosts().await.map_err(Failed::Cloud)?;
        let is_observed = |key: &&str| key.starts_with("observed#") && key.ends_with(&instance.id);
        let keys = hosts.iter().filter_map(|item| item.get("pk").and_then(|pk| pk.as_str()));
        let key = keys.clone().find(is_observed).ok_or(Failed::Missing("nothing was reported"))?;
        let instance_arn = key.trim_start_matches("observed#").to_owned();
        Ok(Self { pid, instance_id: instance.id.clone(), instance_arn })
    }

    async fn reported_at(&self, cloud: &LocalCloud) -> Result<UnixMillis, Failed> {
        let observed = cloud.observed(&self.instance_arn).await.map_err(Failed::Cloud)?;
        Ok(observed.ok_or(Failed::Missing("nothing was reported"))?.reported_at)
    }

    /// Fields of `/proc/PID/stat` after the program's name, from the third on.
    fn stat(&self) -> Result<Vec<u64>, Failed> {
        let text = text(format!("/proc/{}/stat", self.pid).into())?;
        let fields = text.rsplit(')').next().unwrap_or_default().split_whitespace();
        Ok(fields.map(|field| field.parse().unwrap_or_default()).collect())
    }

    /// CPU time in user and kernel mode, in hundredths of a second.
    fn cpu_ticks(&self) -> Result<u64, Failed> {
        let stat = self.stat()?;
        // Fields 14 and 15 of proc(5).
        Ok(stat.iter().skip(11).take(2).sum())
    }

    /// When the process was started, in milliseconds since 1970.
    fn started_ms(&self) -> Result<u64, Failed> {
        let ticks = self.stat()?.get(19).copied().unwrap_or_default();
        let uptime = text("/proc/uptime".into())?;
        let uptime = uptime.split_whitespace().next().unwrap_or_default().replace('.', "");
        let uptime_ms = uptime.parse::<u64>().unwrap_or_default() * 10;
        let boot_ms = bailey_runtime::now().0.saturating_sub(uptime_ms);
        Ok(boot_ms + ticks * 10)
    }

    fn rss_kib(&self) -> Result<f64, Failed> {
        let status = text(format!("/proc/{}/status", self.pid).into())?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        kib.ok_or(Failed::Missing("the kernel does not say how much memory the agent has"))
    }
}

fn as_f64(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap_or(u32::MAX))
}

fn read(path: &PathBuf) -> Result<Vec<u8>, Failed> {
    fs::read(path).map_err(|source| Failed::File { path: path.clone(), source })
}

fn text(path: PathBuf) -> Result<String, Failed> {
    fs::read_to_string(&path).map_err(|source| Failed::File { path, source })
}
