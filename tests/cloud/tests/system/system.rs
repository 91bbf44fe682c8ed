//! A local cloud with its coordinator, and what every test asks of it.

use crate::images;
use bailey_local_cloud::{
    chaos,
    ec2::SimulationView,
    local::{LocalCloud, Options, Record, light_measurements},
    processes::LiveProcess,
};
use bailey_model::hosts::Observed;
use nix::unistd::Pid;
use serde_json::{Value, json};
use std::{fmt::Write as _, ops::Deref, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How long anything may take before a test is given up; nothing is measured by it.
pub(crate) const LIMIT: Duration = Duration::from_mins(2);

/// A cloud whose image bucket holds the good image under `test.eif`.
pub(crate) struct System {
    pub(crate) cloud: LocalCloud,
}

impl Deref for System {
    type Target = LocalCloud;

    fn deref(&self) -> &LocalCloud {
        &self.cloud
    }
}

impl System {
    /// Starts everything, with quick deadlines, and the coordinator.
    pub(crate) async fn start() -> Self {
        Self::start_with(&[], &[]).await
    }

    /// As [`System::start`], with more settings for the coordinator and the agents.
    pub(crate) async fn start_with(coordinator: &[(&str, i64)], agents: &[(&str, i64)]) -> Self {
        let mut system = Self::without_coordinator(coordinator, agents).await;
        system.cloud.start_coordinator().unwrap();
        system
    }

    /// As [`System::start_with`], but without starting the coordinator.
    pub(crate) async fn without_coordinator(
        coordinator: &[(&str, i64)],
        agents: &[(&str, i64)],
    ) -> Self {
        let mut options = options(coordinator);
        for (name, value) in agents {
            options.agent_settings.insert((*name).to_owned(), toml::Value::Integer(*value));
        }
        Self::of(options).await
    }

    /// A system whose programs call AWS over a wire that can go wrong, with the quick deadlines of a
    /// chaotic schedule; its coordinator is not started.
    pub(crate) async fn with_wire() -> Self {
        let mut options = Options::find().unwrap();
        options.with_wire = true;
        for (name, value) in chaos::settings() {
            options.coordinator_settings.insert(name.to_owned(), value.into());
        }
        Self::of(options).await
    }

    pub(crate) async fn of(options: Options) -> Self {
        let cloud = LocalCloud::start(options).await.unwrap();
        cloud.upload_eif("test.eif", images::good().bytes.clone()).await.unwrap();
        Self { cloud }
    }

    /// A cloud of light hosts, with more settings for the coordinator. It holds no image: nobody
    /// would read it.
    pub(crate) async fn light(coordinator: &[(&str, i64)]) -> Self {
        let options = Options { light_hosts: Some(light_measurements()), ..options(coordinator) };
        let mut cloud = LocalCloud::start(options).await.unwrap();
        cloud.start_coordinator().unwrap();
        Self { cloud }
    }

    /// Waits for a status.
    pub(crate) async fn reaches(&self, id: &str, status: &str) -> Record {
        match self.wait_for_status(id, status, LIMIT).await {
            Ok(found) => found.record,
            Err(error) => panic!("{error}\n{}", self.logs()),
        }
    }

    /// Waits until a host's report is as wanted.
    pub(crate) async fn reports(
        &self,
        host: &str,
        what: &str,
        wanted: impl Fn(&Observed) -> bool,
    ) -> Observed {
        let reported = async {
            loop {
                let observed = self.observed(host).await.unwrap().unwrap();
                if wanted(&observed) {
                    return observed;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(LIMIT, reported).await.expect(what)
    }

    /// Waits until something outside of every table is so.
    pub(crate) async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let seen = async {
            while !is_so() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = tokio::time::timeout(LIMIT, seen).await;
        assert!(seen.is_ok(), "not seen: {what}\n{}", self.logs());
    }

    /// Waits until the record is as wanted.
    pub(crate) async fn becomes(
        &self,
        id: &str,
        what: &str,
        wanted: impl Fn(&Record) -> bool,
    ) -> Record {
        match self.wait_for(id, what, LIMIT, wanted).await {
            Ok(found) => found.record,
            Err(error) => panic!("{error}\n{}", self.logs()),
        }
    }

    /// Waits until the simulation is as wanted.
    pub(crate) async fn simulation_becomes(
        &self,
        what: &str,
        wanted: impl Fn(&SimulationView) -> bool,
    ) -> SimulationView {
        let seen = async {
            loop {
                let view = self.simulation().await.unwrap();
                if wanted(&view) {
                    return view;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = tokio::time::timeout(LIMIT, seen).await;
        seen.unwrap_or_else(|_| panic!("waited in vain until {what}\n{}", self.logs()))
    }

    /// The process that answers for a deployed enclave.
    pub(crate) fn responder_of(&self, deployed: &Record) -> Pid {
        let instance = deployed["deployment"]["instance_id"].as_str().unwrap();
        let is_keep =
            |process: &&LiveProcess| process.command.split(' ').any(|word| word.ends_with("/keep"));
        let processes = self.processes_of(instance);
        let keep = processes.iter().find(is_keep).unwrap_or_else(|| panic!("{processes:?}"));
        Pid::from_raw(keep.pid)
    }

    /// What the coordinator shows at the address that its log names.
    pub(crate) async fn metrics(&self) -> String {
        let named = async {
            loop {
                let log = std::fs::read_to_string(self.log("coordinator.log")).unwrap_or_default();
                let line = log.lines().rev().find(|line| line.contains("metrics are served"));
                let address = line.and_then(|line| line.split("address=").nth(1));
                if let Some(address) = address.and_then(|rest| rest.split_whitespace().next()) {
                    return address.trim_matches('"').to_owned();
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let address = tokio::time::timeout(LIMIT, named).await.expect("the log names an address");
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    }

    /// Destroys the enclaves and checks that nothing of the system is left running.
    pub(crate) async fn destroy_all(self, ids: &[&str]) {
        self.destroy_all_but_end(ids).await;
        self.end().await;
    }

    /// Destroys the enclaves, and leaves the cloud running.
    pub(crate) async fn destroy_all_but_end(&self, ids: &[&str]) {
        for id in ids {
            self.set_status(id, "PENDING_DESTROY").await.unwrap();
        }
        for id in ids {
            self.reaches(id, "DESTROYED").await;
        }
    }

    /// Checks that no instance is alive, ends the cloud, and checks that no process is left.
    pub(crate) async fn end(self) {
        let view = self.simulation().await.unwrap();
        assert_eq!(view.live().count(), 0, "an instance is left: {view:?}");
        assert_eq!(self.hosts().await.unwrap(), Vec::<Record>::new(), "host items are left");
        self.cloud.shutdown().await.unwrap();
    }

    /// The ends of all logs, for a test that failed.
    pub(crate) fn logs(&self) -> String {
        let mut text = String::new();
        let state = self.state_dir();
        let hosts = std::fs::read_dir(state.join("hosts")).into_iter().flatten().flatten();
        let agents = hosts.map(|host| host.path().join("agent.log"));
        let logs = std::fs::read_dir(state.join("logs")).into_iter().flatten().flatten();
        for path in logs.map(|log| log.path()).chain(agents) {
            let log = std::fs::read_to_string(&path).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(40).collect();
            let _ = writeln!(text, "--- {}", path.display());
            for line in lines.into_iter().rev() {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }
}

pub(crate) fn options(coordinator: &[(&str, i64)]) -> Options {
    let mut options = Options::find().unwrap();
    let quick = [("sweep_interval_s", 2), ("stream_poll_ms", 100)];
    for (name, value) in quick.iter().chain(coordinator) {
        let value = toml::Value::Integer(*value);
        options.coordinator_settings.insert((*name).to_owned(), value);
    }
    options
}

/// The seed's record, to the letter.
pub(crate) fn seed_record() -> Value {
    json!({
        "id": "test-enclave-001", "status": "PENDING_DEPLOY",
        "configuration": { "instance_type": "m5.large", "cpu_count": 2, "memory_mib": 1024,
                           "eif_path": "s3://your-bucket/test.eif", "debug_mode": true },
        "created_at": "2025-01-01T12:00:00Z"
    })
}

/// A record whose enclave does not run in debug mode, with changes to its configuration.
pub(crate) fn record(id: &str, changes: &Value) -> Value {
    let mut record = seed_record();
    record["id"] = id.into();
    record["configuration"]["debug_mode"] = false.into();
    record["configuration"]["instance_type"] = "m5.xlarge".into();
    for (name, value) in changes.as_object().unwrap() {
        record["configuration"][name] = value.clone();
    }
    record
}
