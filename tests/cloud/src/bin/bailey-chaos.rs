//! `bailey-chaos`: random schedules on real processes.

use bailey_local_cloud::{
    chaos::{ChaosError, Findings, schedule},
    local::{LocalCloud, Options},
};
use bailey_runtime::chain;
use clap::Parser;
use std::{fs, path::PathBuf, process::ExitCode};

/// Disturbs a local cloud by random schedules, and checks what is left of it.
///
/// Exit codes: 0 nothing is wrong, 1 something is; it is printed.
#[derive(Debug, Parser)]
#[command(name = "bailey-chaos")]
struct Arguments {
    /// The image to deploy.
    #[arg(long, env = "BAILEY_TEST_EIF")]
    image: PathBuf,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many schedules.
    #[arg(long, default_value_t = 200)]
    schedules: u64,
    /// Records at a time.
    #[arg(long, default_value_t = 6)]
    records: u64,
    /// Events of a schedule.
    #[arg(long, default_value_t = 24)]
    events: u64,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(findings) => show(&findings),
        Err(error) => {
            eprintln!("bailey-chaos: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<Findings, ChaosError> {
    let mut options = Options::find().map_err(ChaosError::Cloud)?;
    let quick = [("sweep_interval_s", 2), ("stream_poll_ms", 100), ("absence_grace_s", 2)];
    for (name, value) in quick {
        options.coordinator_settings.insert(name.to_owned(), value.into());
    }
    let mut cloud = LocalCloud::start(options).await.map_err(ChaosError::Cloud)?;
    let image = fs::read(&arguments.image).unwrap_or_default();
    cloud.upload_eif("test.eif", image).await.map_err(ChaosError::Cloud)?;
    cloud.start_coordinator().map_err(ChaosError::Cloud)?;
    let mut findings = Findings::default();
    let seeds = arguments.seed..arguments.seed.saturating_add(arguments.schedules);
    for seed in seeds {
        schedule(&mut cloud, seed, arguments.records, arguments.events, &mut findings).await?;
        eprintln!("seed {seed}: {} violations so far", findings.violations());
    }
    cloud.shutdown().await.map_err(ChaosError::Cloud)?;
    Ok(findings)
}

fn show(findings: &Findings) -> ExitCode {
    let Findings { double_launches, orphans, stuck, lost_writes, .. } = findings;
    for text in double_launches.iter().chain(orphans).chain(stuck).chain(lost_writes) {
        println!("{text}");
    }
    println!(
        "chaos: real={} deployed={} violations={} double_launches={} orphans={} stuck={} lost_writes={}",
        findings.schedules,
        findings.deployed,
        findings.violations(),
        double_launches.len(),
        orphans.len(),
        stuck.len(),
        lost_writes.len()
    );
    if findings.violations() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
