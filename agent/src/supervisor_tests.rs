use super::*;
use crate::{
    ports::{AttestOrder, FetchOrder, Image, RoomOrder, StartOrder, TableError},
    testing::{assignment, image},
};
use bailey_model::{
    failure::FailureCode,
    hosts::{Beat, FetchProgress, HostPhase, RunningEnclave},
};
use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU32, Ordering},
};
use tokio::sync::oneshot;

/// One world behind all four ports.
#[derive(Debug)]
struct World {
    desired: watch::Sender<Option<Desired>>,
    observed: watch::Sender<Option<Observed>>,
    enclaves: Mutex<Vec<EnclaveInfo>>,
    starts: AtomicU32,
    beats: AtomicU32,
    table_is_down: AtomicBool,
    attests: AtomicBool,
}

#[derive(Debug, thiserror::Error)]
#[error("it did not work")]
struct Broken;

impl Cause for Broken {
    fn code(&self) -> FailureCode {
        FailureCode::AttestationUnavailable
    }
}

impl HostsTable for World {
    async fn desired(&self) -> Result<Option<Desired>, TableError> {
        self.reach("read")?;
        Ok(self.desired.borrow().clone())
    }

    async fn report(&self, observed: &Observed) -> Result<(), TableError> {
        self.reach("update")?;
        self.observed.send_replace(Some(observed.clone()));
        Ok(())
    }

    async fn beat(&self, _beat: &Beat) -> Result<(), TableError> {
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.reach("update")
    }
}

impl Images for World {
    type Error = Broken;

    async fn fetch(&self, _order: FetchOrder) -> Result<Image, Broken> {
        Ok(image())
    }
}

impl Enclaves for World {
    type Error = Broken;

    async fn list(&self) -> Result<Vec<EnclaveInfo>, Broken> {
        Ok(self.lock().clone())
    }

    async fn make_room(&self, _order: RoomOrder) -> Result<(), Broken> {
        Ok(())
    }

    async fn start(&self, order: StartOrder) -> Result<RunningEnclave, Broken> {
        self.starts.fetch_add(1, Ordering::Relaxed);
        let enclave = EnclaveInfo {
            name: order.name.as_str().to_owned(),
            nitro_id: "i-0abc-enc1".to_owned(),
            cid: 16,
            cpu_count: order.size.cpu_count,
            memory_mib: order.size.memory_mib,
            running: true,
        };
        self.lock().push(enclave.clone());
        Ok(enclave.as_running())
    }

    async fn end(&self, name: crate::name::EnclaveName) -> Result<(), Broken> {
        self.lock().retain(|enclave| enclave.name != name.as_str());
        Ok(())
    }
}

impl Responders for World {
    type Error = Broken;

    async fn attest(&self, order: AttestOrder) -> Result<Vec<u8>, Broken> {
        if self.attests.load(Ordering::Relaxed) { Ok(order.nonce) } else { Err(Broken) }
    }
}

impl ProgressSource for () {
    fn progress(&self) -> Vec<FetchProgress> {
        Vec::new()
    }
}

impl World {
    fn new(desired: Option<Desired>) -> Arc<Self> {
        Arc::new(Self {
            desired: watch::Sender::new(desired),
            observed: watch::Sender::new(None),
            enclaves: Mutex::default(),
            starts: AtomicU32::new(0),
            beats: AtomicU32::new(0),
            table_is_down: AtomicBool::new(false),
            attests: AtomicBool::new(true),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<EnclaveInfo>> {
        self.enclaves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reach(&self, operation: &'static str) -> Result<(), TableError> {
        if self.table_is_down.load(Ordering::Relaxed) {
            let (table, key) = ("hosts".to_owned(), "x".to_owned());
            return Err(TableError::Call { operation, table, key, source: Box::new(Broken) });
        }
        Ok(())
    }

    async fn reaches(&self, wanted: HostPhase) -> Observed {
        let mut observed = self.observed.subscribe();
        let reached = observed.wait_for(|observed| {
            let assignments = observed.iter().flat_map(|observed| &observed.assignments);
            assignments.map(|assignment| assignment.phase).eq([wanted])
        });
        reached.await.unwrap().clone().unwrap()
    }
}

struct Agent {
    stop: oneshot::Sender<()>,
    running: tokio::task::JoinHandle<Result<Ending, JoinError>>,
}

impl Agent {
    fn start(world: &Arc<World>, directory: &std::path::Path) -> Self {
        let ports = Ports {
            herald: Herald::default(),
            announced: nothing_announced(),
            workloads: Workloads::unwatched(),
            table: Arc::clone(world),
            images: Arc::clone(world),
            enclaves: Arc::clone(world),
            responders: Arc::clone(world),
        };
        let state = StateDir::open(directory.to_owned()).unwrap();
        let host = state.host().unwrap();
        let about = About {
            agent_version: "1".to_owned(),
            parent_image: Some("sha256:1".to_owned()),
            boot_id: "b".to_owned(),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async { stopped.await.unwrap() };
        let running = tokio::spawn(supervise(ports, host, state, about, pace(), (), shutdown));
        Self { stop, running }
    }

    async fn stop(self) -> Ending {
        self.stop.send(()).unwrap();
        self.running.await.unwrap().unwrap()
    }
}

fn pace() -> Pace {
    let seconds = Duration::from_secs;
    Pace {
        poll_converging: seconds(1),
        poll_idle: seconds(10),
        beat: seconds(5),
        inspect: seconds(2),
        unassigned: seconds(900),
    }
}

fn one() -> Desired {
    Desired { version: 1, assignments: vec![assignment("a", 1)], ..Desired::default() }
}

#[tokio::test(start_paused = true)]
async fn an_assignment_runs_survives_the_agent_and_is_ended_by_a_drain() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(Some(one()));
    let agent = Agent::start(&world, directory.path());
    let observed = world.reaches(HostPhase::Running).await;
    assert_eq!(observed.desired_version, 1);
    assert_eq!(observed.parent_image.as_deref(), Some("sha256:1"));
    assert_eq!(agent.stop().await, Ending::Asked);
    assert_eq!(world.lock().len(), 1);

    world.observed.send_replace(None);
    let agent = Agent::start(&world, directory.path());
    world.reaches(HostPhase::Running).await;
    assert_eq!(world.starts.load(Ordering::Relaxed), 1);

    world.desired.send_replace(Some(Desired { version: 2, drain: true, ..one() }));
    world.reaches(HostPhase::Stopped).await;
    assert_eq!(*world.lock(), []);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_enclave_that_does_not_attest_is_not_left_running() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(Some(one()));
    world.attests.store(false, Ordering::Relaxed);
    let agent = Agent::start(&world, directory.path());
    let observed = world.reaches(HostPhase::Failed).await;
    assert_eq!(*world.lock(), []);
    let failure = observed.assignments[0].failure.clone().unwrap();
    assert_eq!(failure.code, FailureCode::AttestationUnavailable);
    assert_eq!(failure.message, "it did not work");
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_table_stops_no_enclave_and_the_report_catches_up() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(Some(one()));
    let agent = Agent::start(&world, directory.path());
    world.reaches(HostPhase::Running).await;
    world.table_is_down.store(true, Ordering::Relaxed);
    world.desired.send_replace(None);
    // The enclave crashes while nobody can be told.
    world.lock().clear();
    tokio::time::sleep(Duration::from_mins(2)).await;
    world.table_is_down.store(false, Ordering::Relaxed);
    let observed = world.reaches(HostPhase::Starting).await;
    assert_eq!(observed.assignments[0].restarts, 1);
    agent.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_host_that_nobody_wants_ends_after_the_configured_time() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(None);
    let begun = Instant::now();
    let agent = Agent::start(&world, directory.path());
    assert_eq!(agent.running.await.unwrap().unwrap(), Ending::Unassigned);
    assert_eq!(begun.elapsed().as_secs(), 900);
    assert!(world.beats.load(Ordering::Relaxed) >= 180);
    assert_eq!(*world.observed.borrow(), None);
}

#[tokio::test(start_paused = true)]
async fn a_host_that_was_assigned_once_stays_up_without_assignments() {
    let directory = tempfile::tempdir().unwrap();
    let world = World::new(Some(Desired { version: 1, ..Desired::default() }));
    let agent = Agent::start(&world, directory.path());
    tokio::time::sleep(Duration::from_secs(2_000)).await;
    assert_eq!(agent.stop().await, Ending::Asked);
}
