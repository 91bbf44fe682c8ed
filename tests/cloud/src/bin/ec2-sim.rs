//! `ec2-sim`: the EC2 simulator as a process of its own.

use bailey_local_cloud::{
    ec2::{Place, Simulator, SimulatorOptions, serve},
    host::{HostOptions, light::LightHosts},
    local::Clients,
};
use bailey_model::PcrSet;
use bailey_runtime::{Shutdown, chain, logging};
use clap::Parser;
use std::{
    collections::BTreeMap, error::Error, fs, io, net::SocketAddr, path::PathBuf, process::ExitCode,
    time::Duration,
};
use tokio::net::TcpListener;

/// Answers EC2's Query protocol on loopback; a running instance is a real bailey-agent, or a light host.
///
/// Signatures are not checked. SIGTERM and SIGINT end every instance, then the simulator.
#[derive(Debug, Parser)]
#[command(name = "ec2-sim", version)]
struct Arguments {
    /// Where to listen.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// A file into which the address is written once it answers.
    #[arg(long)]
    url_file: Option<PathBuf>,
    /// The directory for hosts and logs.
    #[arg(long)]
    state: PathBuf,
    /// The address of the AWS emulator, for the agents.
    #[arg(long)]
    endpoint_url: String,
    /// A PEM file with the local root's certificate and key.
    #[arg(long)]
    authority: PathBuf,
    /// A PEM file with the local root's certificate.
    #[arg(long)]
    trusted_root: PathBuf,
    /// bailey-agent; beside this program by default.
    #[arg(long)]
    agent: Option<PathBuf>,
    /// The stand-in for nitro-cli; beside this program by default.
    #[arg(long)]
    nitro_cli: Option<PathBuf>,
    /// The stand-in for the allocator; beside this program by default.
    #[arg(long)]
    allocator: Option<PathBuf>,
    /// A TOML file with more keys of the agents' configuration.
    #[arg(long)]
    agent_settings: Option<PathBuf>,
    /// Run no agents but light hosts, on which every image measures to this: JSON of index and hex.
    #[arg(long, value_parser = measurements)]
    light_hosts: Option<PcrSet>,
    /// The region to pretend to be in.
    #[arg(long, default_value = "eu-west-1")]
    region: String,
    /// The account to pretend to be.
    #[arg(long, default_value = "123456789012")]
    account: String,
    /// Subnets besides the default one of each zone: JSON of id and zone.
    #[arg(long, value_parser = subnets, default_value = "{}")]
    subnets: Map,
    /// How long an instance is pending, in milliseconds.
    #[arg(long, default_value_t = 300)]
    pending_ms: u64,
    /// By how much `DescribeInstances` lags behind, in milliseconds.
    #[arg(long, default_value_t = 0)]
    describe_lag_ms: u64,
}

type Map = BTreeMap<String, String>;

fn subnets(text: &str) -> Result<Map, serde_json::Error> {
    serde_json::from_str(text)
}

fn main() -> ExitCode {
    logging::to_stderr();
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let ran = runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(run(arguments)));
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ec2-sim: {}", chain(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // Before anything starts: whoever asks for the end must find someone who listens.
    let mut shutdown = Shutdown::listen()?;
    let listener = TcpListener::bind(arguments.listen).await?;
    let address = listener.local_addr()?;
    let simulator = Simulator::new(SimulatorOptions {
        place: Place { region: arguments.region.clone(), account: arguments.account.clone() },
        subnets: arguments.subnets.clone(),
        pending: Duration::from_millis(arguments.pending_ms),
        describe_lag: Duration::from_millis(arguments.describe_lag_ms),
        host: Some(host_options(&arguments)?),
    });
    println!("listening on {address}");
    if let Some(file) = &arguments.url_file {
        let unfinished = file.with_extension("tmp");
        fs::write(&unfinished, format!("http://{address}\n"))?;
        fs::rename(&unfinished, file)?;
    }
    tokio::select! {
        served = serve(listener, simulator.clone()) => served?,
        () = shutdown.requested() => {}
    }
    simulator.end().await;
    Ok(())
}

fn host_options(arguments: &Arguments) -> Result<HostOptions, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let beside =
        |path: &Option<PathBuf>, name| path.clone().unwrap_or_else(|| program.with_file_name(name));
    fs::create_dir_all(&arguments.state)?;
    let light = arguments.light_hosts.clone().map(|measurements| {
        let client = Clients::new(&arguments.endpoint_url).dynamodb().clone();
        LightHosts::new(&arguments.authority, measurements, client)
    });
    Ok(HostOptions {
        state: fs::canonicalize(&arguments.state)?,
        agent: beside(&arguments.agent, "bailey-agent"),
        nitro_cli: beside(&arguments.nitro_cli, "nitro-cli-standin"),
        allocator: beside(&arguments.allocator, "nitro-enclaves-allocator-standin"),
        authority: absolute(&arguments.authority)?,
        trusted_root: absolute(&arguments.trusted_root)?,
        endpoint_url: arguments.endpoint_url.clone(),
        agent_settings: match &arguments.agent_settings {
            Some(file) => toml::from_str(&fs::read_to_string(file)?)?,
            None => toml::Table::new(),
        },
        light: light.transpose()?,
    })
}

fn measurements(json: &str) -> Result<PcrSet, serde_json::Error> {
    serde_json::from_str(json)
}

fn absolute(path: &PathBuf) -> io::Result<PathBuf> {
    std::path::absolute(path)
}
