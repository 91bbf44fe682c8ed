//! The packaged units under a real systemd: a parent that is a container, booted by the EC2 simulator.

use crate::system::{LIMIT, System, options, seed_record};
use bailey_local_cloud::local::Binaries;
use std::{
    env, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};

const ID: &str = "test-enclave-001";

/// The tree of a distribution with systemd that scripts/setup made; none where that cannot be: making and
/// booting one takes root.
pub(crate) fn distribution() -> Option<PathBuf> {
    let is_root = fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    let found = env::var_os("BAILEY_SYSTEMD_ROOT").map(PathBuf::from).filter(|it| it.is_dir());
    let found = found.filter(|_| is_root);
    if found.is_none() {
        eprintln!(
            "SKIPPED: not root, or no BAILEY_SYSTEMD_ROOT; run scripts/setup as root for this test"
        );
    }
    found
}

/// A cloud whose parents are containers with a systemd in them.
pub(crate) struct Parents {
    pub(crate) system: System,
    /// The script that boots one; it goes away with this.
    _script: tempfile::TempDir,
}

impl Parents {
    pub(crate) async fn start(distribution: &Path) -> Self {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let repository = repository.canonicalize().unwrap();
        let mut options = options(&[]);
        let dir = tempfile::tempdir().unwrap();
        // Where the agent's user may go, which is not so for every checkout.
        let programs = dir.path().join("programs");
        fs::create_dir(&programs).unwrap();
        for path in [dir.path(), &programs] {
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        let Binaries { agent, allocator, nitro_cli, .. } = &mut options.binaries;
        for program in [agent, allocator, nitro_cli] {
            let copy = programs.join(program.file_name().unwrap());
            fs::copy(&program, &copy).unwrap();
            *program = copy;
        }
        let script = dir.path().join("parent");
        let text = format!(
            "#!/bin/sh\nexec '{}' '{}' '{}' '{}' \"$@\"\n",
            repository.join("tests/cloud/systemd/parent").display(),
            distribution.display(),
            programs.display(),
            repository.join("agent/systemd").display(),
        );
        fs::write(&script, text).unwrap();
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        options.binaries.agent = script;
        let mut system = System::of(options).await;
        system.cloud.start_coordinator().unwrap();
        Self { system, _script: dir }
    }

    /// Runs a command in the container of the one instance that lives, and expects it to work.
    pub(crate) async fn run(&self, command: &[&str]) -> String {
        let init = self.init().await;
        let inside = ["-t", &init, "-m", "-u", "-i", "-n", "-p", "-C", "--"];
        let output = Command::new("nsenter").args(inside).args(command).output().unwrap();
        assert!(output.status.success(), "{command:?}: {output:?}\n{}", self.system.logs());
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// The container's first process.
    async fn init(&self) -> String {
        let view = self.system.simulation().await.unwrap();
        let pid = view.live().next().unwrap().agent_pid.unwrap();
        let children = format!("/proc/{pid}/task/{pid}/children");
        let children = fs::read_to_string(children).unwrap();
        children.split_whitespace().next().unwrap_or("0").to_owned()
    }

    /// Sends a line to the helper, as root may; its answer.
    async fn ask_helper(&self, request: &str) -> String {
        let socket = format!("/proc/{}/root/run/bailey/helper.sock", self.init().await);
        let mut stream = UnixStream::connect(socket).await.unwrap();
        stream.write_all(format!("{request}\n").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    pub(crate) async fn property(&self, name: &str) -> String {
        let shown = ["systemctl", "show", "--value", "-p", name, "bailey-agent.service"];
        self.run(&shown).await
    }

    /// Waits until a property of the agent's unit is as wanted: systemd tells nobody out here.
    pub(crate) async fn property_becomes(
        &self,
        name: &str,
        wanted: impl Fn(&str) -> bool,
    ) -> String {
        let started = Instant::now();
        loop {
            let value = self.property(name).await;
            if wanted(&value) {
                return value;
            }
            if started.elapsed() > LIMIT {
                let journal = self.run(&["journalctl", "-b", "--no-pager", "-n", "100"]).await;
                panic!("{name} stays {value}\n{journal}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn enclaves(&self) -> u64 {
        let view = self.system.simulation().await.unwrap();
        view.live().next().unwrap().enclave_launches
    }

    /// The process of the one enclave, as the container numbers it.
    async fn enclave_process(&self) -> String {
        self.run(&["pgrep", "-o", "-x", "keep"]).await
    }
}

/// The whole life of a unit: it starts, notifies, says how it goes, is restarted by its watchdog, upgraded
/// and stopped, and no enclave hears of any of it.
#[tokio::test(flavor = "multi_thread")]
async fn the_agents_unit_serves_an_enclave_and_never_takes_it_along() {
    let Some(distribution) = distribution() else { return };
    let parents = Parents::start(&distribution).await;
    parents.system.put_record(&seed_record()).await.unwrap();
    parents.system.reaches(ID, "DEPLOYED").await;

    // It was ready by its own word, and mirrors its phase.
    assert_eq!(parents.property("Type").await, "notify");
    assert_eq!(parents.property("ActiveState").await, "active");
    let status = format!("1 enclave: {ID} RUNNING");
    parents.property_becomes("StatusText", |text| text == status).await;
    assert_eq!(parents.property("User").await, "bailey");

    // The enclave's process is in a scope, apart from the agent's group and as its user.
    let process = parents.enclave_process().await;
    let group = parents.run(&["cat", &format!("/proc/{process}/cgroup")]).await;
    assert!(group.contains("bailey-enclaves.slice/bailey-enclave-bailey-"), "{group}");
    let user = parents.run(&["ps", "-o", "user=", "-p", &process]).await;
    assert_eq!(user, "bailey");

    // The journal tells one enclave's story by its fields.
    let phases = parents
        .run(&["journalctl", "-b", "-o", "json", "-u", "bailey-agent", &format!("ENCLAVE_ID={ID}")])
        .await;
    let phases: Vec<serde_json::Value> =
        phases.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let shown: Vec<_> = phases.iter().filter_map(|entry| entry["PHASE"].as_str()).collect();
    for phase in ["FETCHING", "ALLOCATING", "STARTING", "ATTESTING", "RUNNING"] {
        assert!(shown.contains(&phase), "{phase} of {shown:?}");
    }
    assert!(phases.iter().all(|entry| entry["GENERATION"] == "1"), "{phases:?}");

    // A hung agent is killed by the watchdog and started again.
    let agent = parents.property("MainPID").await;
    parents.run(&["kill", "-STOP", &agent]).await;
    parents.property_becomes("NRestarts", |restarts| restarts == "1").await;
    parents.property_becomes("StatusText", |text| text == status).await;
    assert_ne!(parents.property("MainPID").await, agent);
    assert_eq!(parents.enclave_process().await, process);

    // It is upgraded: another file, and a restart.
    parents.run(&["cp", "--remove-destination", "/usr/bin/bailey-agent", "/usr/bin/new"]).await;
    parents.run(&["mv", "/usr/bin/new", "/usr/bin/bailey-agent"]).await;
    parents.run(&["systemctl", "restart", "bailey-agent"]).await;
    parents.property_becomes("StatusText", |text| text == status).await;
    assert_eq!(parents.enclave_process().await, process);

    // It is stopped, and started an enclave's life later.
    parents.run(&["systemctl", "stop", "bailey-agent"]).await;
    assert_eq!(parents.property("Result").await, "success");
    assert_eq!(parents.enclave_process().await, process);
    parents.run(&["systemctl", "start", "bailey-agent"]).await;
    parents.property_becomes("StatusText", |text| text == status).await;
    assert_eq!(parents.enclaves().await, 1, "one start of an enclave in all");

    // It has no rights that it does not need, and the helper takes nothing that it is not for.
    let exposure = ["systemd-analyze", "security", "--threshold=20", "bailey-agent.service"];
    parents.run(&exposure).await;
    let exposure = ["systemd-analyze", "security", "--threshold=40", "bailey-helper@x.service"];
    parents.run(&exposure).await;
    let socket = parents.run(&["stat", "-c", "%a %U:%G", "/run/bailey/helper.sock"]).await;
    assert_eq!(socket, "660 root:bailey");
    for (request, refusal) in [
        (r#"{"do":"reboot"}"#, "not a request"),
        (
            r#"{"do":"apply_plan","allocator_yaml":"---\nmemory_mib: 1\ncpu_count: 2; reboot\n"}"#,
            "line 3",
        ),
        (
            r#"{"do":"run_enclave","name":"bailey-d8f2ac20b60eeef37c688a0e","image":"/etc/shadow",
                "size_bytes":1,"cpu_count":2,"memory_mib":64,"debug":false}"#,
            "is not in the cache",
        ),
    ] {
        let answer = parents.ask_helper(&request.replace('\n', " ")).await;
        assert!(answer.contains("refused") && answer.contains(refusal), "{request}: {answer}");
    }
    // The pool belongs to what runs.
    let plan = r#"{"do":"apply_plan","allocator_yaml":"---\nmemory_mib: 64\ncpu_count: 2\n"}"#;
    let answer = parents.ask_helper(plan).await;
    assert!(answer.contains("1 enclaves run, and the pool cannot change"), "{answer}");

    // An operator asks it.
    let table = parents.run(&["bailey-agent", "status"]).await;
    assert!(table.contains(ID) && table.contains("attested"), "{table}");

    parents.system.destroy_all(&[ID]).await;
}
