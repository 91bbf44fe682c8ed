//! `bailey-chaos`: schedules with faults on real processes.

use bailey_enclave_image::build::{
    BuildError, BuildOptions, FIXED_BUILD_TIME, Kernel, Profile, build_image,
};
use bailey_local_cloud::{
    chaos::{ChaosError, Findings, Kind, Schedule, Violation, kill, kill_agents, settings, writes},
    local::{CloudError, LocalCloud, Options},
    wire::Side,
};
use bailey_runtime::chain;
use clap::{Parser, Subcommand};
use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Disturbs local clouds, and checks what is left of them.
///
/// Exit codes: 0 nothing is wrong, 1 something is; it is printed.
#[derive(Debug, Parser)]
#[command(name = "bailey-chaos")]
struct Arguments {
    /// The responder of the image to deploy, the rest of which is as small as can be; the `keep` beside
    /// this program when absent.
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Where each cloud keeps its state, with all logs; what is wrong with one leaves it there.
    #[arg(long, default_value = "/tmp/bailey-chaos")]
    state: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Deploys and destroys, and kills the agent at random instants of that.
    Agents {
        /// The seed of the instants.
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// How often.
        #[arg(long = "kills", default_value_t = 50)]
        wanted: u64,
    },
    /// Deploys and destroys, and kills the coordinator at each of its writes: before it takes
    /// effect, and when it has.
    Kills,
    /// Random schedules of requests, rewrites, kills and faults on the wire.
    Schedules(Schedules),
}

#[derive(Clone, Copy, Debug, clap::Args)]
struct Schedules {
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many schedules.
    #[arg(long = "schedules", default_value_t = 200)]
    wanted: u64,
    /// Records at a time.
    #[arg(long, default_value_t = 6)]
    records: u64,
    /// Events of a schedule.
    #[arg(long, default_value_t = 24)]
    events: u64,
    /// How many clouds at a time; a schedule waits more than it computes.
    #[arg(long, default_value_t = 3)]
    clouds: u64,
    /// How many schedules of the simulation went before, without a violation, for the last line.
    #[arg(long, default_value_t = 0)]
    simulated: u64,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// A schedule could not be gone through.
    #[error("cannot go through a schedule")]
    Chaos(#[source] ChaosError),
    /// A cloud could not be started or ended.
    #[error("cannot run a local cloud")]
    Cloud(#[source] CloudError),
    /// An earlier run left something where this one is to begin.
    #[error("`{}` is left of an earlier run; remove it, or choose another --state", state.display())]
    Left {
        /// What is left.
        state: PathBuf,
    },
    /// The image could not be built.
    #[error("cannot build an image of `{}`", keep.display())]
    Image { keep: PathBuf, source: BuildError },
    /// A file could not be used.
    #[error("cannot use `{}`", path.display())]
    File { path: PathBuf, source: io::Error },
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let ran = match arguments.command {
        Command::Agents { seed, wanted } => agents(&arguments, seed, wanted).await,
        Command::Kills => kills(&arguments).await,
        Command::Schedules(schedules) => random(&arguments, schedules).await,
    };
    ran.unwrap_or_else(|error| {
        eprintln!("bailey-chaos: {}", chain(&error));
        ExitCode::FAILURE
    })
}

/// An image that is quickly fetched: nobody boots its kernel, so that is a few bytes.
fn image(arguments: &Arguments) -> Result<Vec<u8>, Failed> {
    let file = |path: &Path| {
        let path = path.to_owned();
        move |source| Failed::File { path, source }
    };
    let program = Path::new("/proc/self/exe");
    let beside = fs::read_link(program).map_err(file(program))?.with_file_name("keep");
    let keep = arguments.keep.clone().unwrap_or(beside);
    let dir = tempfile::tempdir().map_err(file(&std::env::temp_dir()))?;
    let (kernel, output) = (dir.path().join("kernel"), dir.path().join("image.eif"));
    fs::write(&kernel, "a kernel that nobody boots").map_err(file(&kernel))?;
    let options = BuildOptions {
        kernel: Kernel {
            profile: Profile::Local,
            image: kernel,
            version: "6.12".to_owned(),
            modules: Vec::new(),
        },
        cmdline: Profile::Local.default_cmdline().to_owned(),
        keep: keep.clone(),
        workload: Vec::new(),
        content: bailey_enclave_image::build::Content::default(),
        name: "chaos".to_owned(),
        version: "1".to_owned(),
        build_time: FIXED_BUILD_TIME.to_owned(),
        output: output.clone(),
    };
    build_image(&options).map_err(|source| Failed::Image { keep, source })?;
    fs::read(&output).map_err(file(&output))
}

/// Starts a cloud below this directory, with the image and a coordinator.
async fn start(image: Vec<u8>, state: &Path) -> Result<LocalCloud, Failed> {
    // What a run left that was killed, reports above all, would be taken for this one's.
    if state.exists() {
        return Err(Failed::Left { state: state.to_owned() });
    }
    let mut options = Options::find().map_err(Failed::Cloud)?;
    options.state = Some(state.to_owned());
    options.with_wire = true;
    for (name, value) in settings() {
        options.coordinator_settings.insert(name.to_owned(), value.into());
    }
    let mut cloud = LocalCloud::start(options).await.map_err(Failed::Cloud)?;
    cloud.upload_eif("test.eif", image).await.map_err(Failed::Cloud)?;
    cloud.start_coordinator().map_err(Failed::Cloud)?;
    Ok(cloud)
}

async fn agents(arguments: &Arguments, seed: u64, wanted: u64) -> Result<ExitCode, Failed> {
    let state = arguments.state.join("agents");
    let mut cloud = start(image(arguments)?, &state).await?;
    let done = kill_agents(&mut cloud, seed, wanted).await.map_err(Failed::Chaos)?;
    show(&done.violations);
    let violations = done.violations.len();
    println!("agents: killed={} enclaves={} violations={violations}", done.killed, done.cycles);
    cloud.shutdown().await.map_err(Failed::Cloud)?;
    let _ = fs::remove_dir_all(&state);
    Ok(exit(violations == 0 && done.killed >= wanted))
}

async fn kills(arguments: &Arguments) -> Result<ExitCode, Failed> {
    let state = arguments.state.join("kills");
    let mut cloud = start(image(arguments)?, &state).await?;
    let writes = writes(&mut cloud, "undisturbed").await.map_err(Failed::Chaos)?;
    let (mut done, mut not_met, mut violations) = (0, 0, Vec::new());
    for (number, write) in writes.iter().enumerate() {
        for (side, word) in [(Side::Before, "before"), (Side::After, "after")] {
            let id = format!("killed-{number}-{word}");
            let kill = kill(&mut cloud, &id, write, side).await.map_err(Failed::Chaos)?;
            match kill.at {
                Some(call) => {
                    eprintln!("killed {word} {call}");
                    done += 1;
                }
                // What a busy machine shows of a host's progress is never the same.
                None if write.is_chance() => {
                    eprintln!("{id}: no life had {write} again, which shows a passing phase");
                    not_met += 1;
                }
                None => println!("{id}: the coordinator never came to {write} again"),
            }
            violations.extend(kill.violations);
        }
    }
    show(&violations);
    println!(
        "kills: writes={} killed={done} not_met={not_met} violations={}",
        writes.len(),
        violations.len()
    );
    cloud.shutdown().await.map_err(Failed::Cloud)?;
    let _ = fs::remove_dir_all(&state);
    let complete = done + not_met == 2 * writes.len();
    Ok(exit(complete && violations.is_empty()))
}

/// What the clouds that work at the same time share.
struct Shared {
    next: AtomicU64,
    last: u64,
    found: Mutex<Findings>,
    began: Instant,
}

async fn random(arguments: &Arguments, plan: Schedules) -> Result<ExitCode, Failed> {
    let shared = Shared {
        next: AtomicU64::new(plan.seed),
        last: plan.seed.saturating_add(plan.wanted),
        found: Mutex::default(),
        began: Instant::now(),
    };
    let shared = Arc::new(shared);
    let image = image(arguments)?;
    let mut clouds = tokio::task::JoinSet::new();
    for number in 0..plan.clouds {
        let (image, state) = (image.clone(), arguments.state.clone());
        let shared = Arc::clone(&shared);
        clouds.spawn(async move { go_through(&image, &state, number, plan, &shared).await });
    }
    while let Some(ended) = clouds.join_next().await {
        // A panic in a schedule is one of this program's own.
        ended.unwrap_or(Ok(()))?;
    }
    let findings = shared.found.lock().unwrap_or_else(PoisonError::into_inner).clone();
    show(&findings.violations);
    let none = findings.deployed == 0;
    if none {
        println!("nothing was ever deployed: whatever holds of that says nothing");
    }
    eprintln!(
        "{} records were deployed at a rest, {} reports verified, in {} s",
        findings.deployed,
        findings.reports,
        shared.began.elapsed().as_secs()
    );
    let count = |kind| findings.count(kind);
    println!(
        "chaos: simulated={} real={} violations={} double_launches={} orphans={} stuck={} lost_writes={}",
        plan.simulated,
        findings.schedules,
        findings.violations.len() + usize::from(none),
        count(Kind::DoubleLaunch),
        count(Kind::Orphan),
        count(Kind::Stuck),
        count(Kind::LostWrite),
    );
    let complete = findings.schedules == plan.wanted;
    Ok(exit(complete && !none && findings.violations.is_empty()))
}

/// How many schedules a cloud serves: EC2 forgets what is terminated, the simulator never does.
const SCHEDULES_OF_A_CLOUD: u64 = 15;

/// Takes schedules until none is left, in one cloud after the other.
async fn go_through(
    image: &[u8],
    state: &Path,
    number: u64,
    plan: Schedules,
    shared: &Shared,
) -> Result<(), Failed> {
    let mut left = true;
    while left {
        let mut state = state.join(format!("c{number}"));
        let mut cloud = start(image.to_vec(), &state).await?;
        let mut is_clean = true;
        for _ in 0..SCHEDULES_OF_A_CLOUD {
            let seed = shared.next.fetch_add(1, Ordering::SeqCst);
            left = seed < shared.last;
            if !left {
                break;
            }
            let schedule = Schedule { seed, records: plan.records, events: plan.events };
            let began = Instant::now();
            let findings = schedule.run(&mut cloud).await.map_err(Failed::Chaos)?;
            is_clean = findings.violations.is_empty();
            tell(seed, &findings, began, shared);
            shared.found.lock().unwrap_or_else(PoisonError::into_inner).extend(findings);
            // What is wrong would be found again in every later schedule of the same cloud.
            if !is_clean {
                let kept = state.with_file_name(format!("seed-{seed}"));
                eprintln!("  its cloud's state is kept in {}", kept.display());
                cloud.kill_coordinator().await;
                drop(cloud);
                let _ = fs::remove_dir_all(&kept);
                let _ = fs::rename(&state, &kept);
                state = kept;
                break;
            }
        }
        if is_clean {
            let _ = fs::remove_dir_all(&state);
        }
    }
    Ok(())
}

fn tell(seed: u64, findings: &Findings, began: Instant, shared: &Shared) {
    let (violations, deployed) = (findings.violations.len(), findings.deployed);
    let (seconds, all) = (began.elapsed().as_secs(), shared.began.elapsed().as_secs());
    eprintln!("seed {seed}: {violations} violations, {deployed} deployed, {seconds} s ({all} s)");
    for violation in &findings.violations {
        eprintln!("  {violation}");
    }
}

fn show(violations: &[Violation]) {
    for violation in violations {
        println!("{violation}");
    }
}

fn exit(is_good: bool) -> ExitCode {
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
