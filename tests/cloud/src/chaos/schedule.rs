//! What happens in a schedule.

use super::{ChaosError, Findings, LIMIT, WebApp, comes_to_rest};
use crate::{
    ec2::{FaultKind, Settings},
    local::LocalCloud,
    random::Random,
    wire::{Noise, Party, Side, Wire, WireFault, WireRule},
};
use bailey_model::Status;
use std::time::Duration;
use tokio::process::Child;

/// A schedule: everything about it is made by its seed.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// The seed, which also names its records.
    pub seed: u64,
    /// How many records.
    pub records: u64,
    /// How many events.
    pub events: u64,
}

/// The coordinator's settings with which a schedule is short.
#[must_use]
pub fn settings() -> [(&'static str, i64); 4] {
    [
        ("absence_grace_s", 2),
        ("reattest_interval_s", 10),
        ("stream_poll_ms", 100),
        ("sweep_interval_s", 1),
    ]
}

/// The longest pause between two events.
const LONGEST_PAUSE_MS: u64 = 300;
/// How long a coordinator may take to come to the write at which something is to happen.
const HOLD_LIMIT: Duration = Duration::from_secs(1);

impl Schedule {
    /// Goes through the schedule in a cloud that has a wire.
    pub async fn run(self, cloud: &mut LocalCloud) -> Result<Findings, ChaosError> {
        let mut course = Course {
            random: Random::new(self.seed),
            web_app: WebApp::default(),
            another: None,
            announced: Vec::new(),
        };
        cloud.start_coordinator().map_err(ChaosError::Cloud)?;
        let ids: Vec<String> =
            (0..self.records).map(|n| format!("chaos-{}-{n}", self.seed)).collect();
        for id in &ids {
            course.web_app.deploy(cloud, id).await.map_err(ChaosError::Cloud)?;
        }
        // Every third schedule has only the faults that are among its events.
        if course.random.below(3) > 0 {
            let (seed, one_in) = (self.seed, 10 + course.random.below(40));
            wire(cloud)?.disturb(Noise { seed, one_in });
        }
        for _ in 0..self.events {
            let pause = course.random.below(LONGEST_PAUSE_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
            if let Some(id) = course.random.pick(&ids) {
                course.disturb(cloud, id).await?;
            }
        }
        // Nothing that is asked later hides what becomes of these.
        for _ in 0..2 {
            course.write_in_between(cloud).await?;
        }
        course.calm(cloud).await?;
        let coordinators = 1 + u64::from(course.another.is_some());
        let mut findings = Findings { schedules: 1, ..Findings::default() };
        let rest = comes_to_rest(cloud, &course.web_app, coordinators, LIMIT).await?;
        findings.deployed = rest.deployed;
        findings.violations.extend(rest.violations);
        for id in &ids {
            let ask = course.web_app.ask(cloud, id, Status::PendingDestroy);
            ask.await.map_err(ChaosError::Cloud)?;
        }
        let rest = comes_to_rest(cloud, &course.web_app, coordinators, LIMIT).await?;
        let (reports, broken) = rest.verify_reports(cloud, &course.web_app).await?;
        findings.violations.extend(rest.violations);
        findings.reports = reports;
        findings.violations.extend(broken);
        Ok(findings)
    }
}

fn wire(cloud: &LocalCloud) -> Result<&Wire, ChaosError> {
    cloud.wire().ok_or(ChaosError::NoWire)
}

/// A schedule under way.
struct Course {
    random: Random,
    web_app: WebApp,
    /// A second coordinator.
    another: Option<Child>,
    /// Instances whose end was announced.
    announced: Vec<String>,
}

impl Course {
    /// One event.
    async fn disturb(&mut self, cloud: &mut LocalCloud, id: &str) -> Result<(), ChaosError> {
        match self.random.below(23) {
            0..=3 => self.web_app.deploy(cloud, id).await.map_err(ChaosError::Cloud),
            4 => self.web_app.annotate(cloud, id).await.map_err(ChaosError::Cloud),
            5 => self.web_app.remove(cloud, id).await.map_err(ChaosError::Cloud),
            6..=9 => self.ask(cloud, id).await,
            10 => cloud.restart_coordinator().await.map_err(ChaosError::Cloud),
            11..=12 => self.kill_at_a_write(cloud).await,
            13 => self.fail_on_ec2(cloud).await,
            14..=15 => self.fail_on_the_wire(cloud),
            16 => self.second_coordinator(cloud).await,
            17..=19 => self.write_in_between(cloud).await,
            20 => {
                let lag = Some(self.random.below(3_000));
                let lag = Settings { describe_lag_ms: lag, ..Settings::default() };
                cloud.ec2().set(lag).await.map_err(ChaosError::Control)
            }
            _ => self.strike_a_host(cloud).await,
        }
    }

    async fn ask(&mut self, cloud: &LocalCloud, id: &str) -> Result<(), ChaosError> {
        let statuses = [
            Status::PendingDestroy,
            Status::PendingDeploy,
            Status::Pausing,
            Status::Resuming,
            // A result, which is not the web app's to write.
            Status::Failed,
        ];
        let Some(status) = self.random.pick(&statuses) else { return Ok(()) };
        self.web_app.ask(cloud, id, *status).await.map_err(ChaosError::Cloud)
    }

    /// Kills the coordinator around one of its next writes, when it comes to one.
    async fn kill_at_a_write(&mut self, cloud: &mut LocalCloud) -> Result<(), ChaosError> {
        let side = if self.random.below(2) == 0 { Side::Before } else { Side::After };
        let held = wire(cloud)?.hold_write(None, self.random.below(4), side);
        let held = tokio::time::timeout(HOLD_LIMIT, held).await;
        cloud.kill_coordinator().await;
        drop(held);
        cloud.start_coordinator().map_err(ChaosError::Cloud)
    }

    /// The web app writes to the very record that a coordinator has read, decided about and is about
    /// to write.
    async fn write_in_between(&mut self, cloud: &LocalCloud) -> Result<(), ChaosError> {
        // Requests are answered together with a write of the ledger, the rest is written by itself.
        let step = match self.random.below(2) {
            0 => format!("UpdateItem {}", cloud.names().enclaves_table),
            _ => format!("TransactWriteItems {}", cloud.names().ledger_table),
        };
        let held = wire(cloud)?.hold_write(Some(&step), self.random.below(3), Side::Before);
        let Ok(Ok(held)) = tokio::time::timeout(HOLD_LIMIT, held).await else { return Ok(()) };
        if let Some(id) = held.call.enclave_id.clone() {
            match self.random.below(4) {
                0 => self.web_app.deploy(cloud, &id).await.map_err(ChaosError::Cloud)?,
                1 => self.ask(cloud, &id).await?,
                _ => {
                    let ask = self.web_app.ask(cloud, &id, Status::PendingDestroy);
                    ask.await.map_err(ChaosError::Cloud)?;
                }
            }
        }
        held.pass();
        Ok(())
    }

    async fn fail_on_ec2(&mut self, cloud: &LocalCloud) -> Result<(), ChaosError> {
        let actions = ["RunInstances", "TerminateInstances", "StopInstances", "StartInstances"];
        let action = self.random.pick(&actions).copied().unwrap_or_default();
        let kind = match self.random.below(4) {
            0 => FaultKind::DropBefore,
            1 => FaultKind::error("RequestLimitExceeded"),
            2 if action == "RunInstances" => FaultKind::error("InsufficientInstanceCapacity"),
            _ => FaultKind::DropAfter,
        };
        cloud.ec2().inject(action, 1, kind).await.map_err(ChaosError::Control)
    }

    fn fail_on_the_wire(&mut self, cloud: &LocalCloud) -> Result<(), ChaosError> {
        let of_coordinators = [
            "PutItem",
            "TransactWriteItems",
            "UpdateItem",
            "PutObject",
            "RunInstances",
            "TerminateInstances",
            "StopInstances",
            "StartInstances",
            "DescribeInstances",
            "TransactGetItems",
            "GetRecords",
        ];
        let of_agents = ["GetItem", "UpdateItem", "GetObject", "HeadObject"];
        let (party, operations): (_, &[&str]) = if self.random.below(4) == 0 {
            (Party::Agents, &of_agents)
        } else {
            (Party::Coordinators, &of_coordinators)
        };
        let operation = self.random.pick(operations).map(|operation| (*operation).to_owned());
        let times = if self.random.below(2) == 0 { 1 } else { 4 };
        let fault = WireFault::any(&mut self.random);
        wire(cloud)?.inject(WireRule { party, operation, times, fault });
        Ok(())
    }

    /// A second coordinator comes, or goes.
    async fn second_coordinator(&mut self, cloud: &LocalCloud) -> Result<(), ChaosError> {
        match self.another.take() {
            Some(mut child) => drop(child.kill().await),
            None => {
                self.another = Some(cloud.another_coordinator().map_err(ChaosError::Cloud)?);
            }
        }
        Ok(())
    }

    /// An agent is killed, a whole instance fails, or EC2 says that it will take one back.
    async fn strike_a_host(&mut self, cloud: &LocalCloud) -> Result<(), ChaosError> {
        let view = cloud.simulation().await.map_err(ChaosError::Cloud)?;
        let live: Vec<_> = view.live().filter(|it| it.agent_pid.is_some()).collect();
        let Some(instance) = self.random.pick(&live) else { return Ok(()) };
        // Each may come too late: the instance may be gone by now.
        let ec2 = cloud.ec2();
        let _ = match self.random.below(4) {
            0 => ec2.fail_instance(&instance.id).await,
            1 => {
                self.announced.push(instance.id.clone());
                ec2.announce_interruption(&instance.id, 120).await
            }
            _ => ec2.kill_agent(&instance.id).await,
        };
        Ok(())
    }

    /// Nothing goes wrong from here on, and at least one coordinator runs.
    async fn calm(&mut self, cloud: &mut LocalCloud) -> Result<(), ChaosError> {
        // The time has come: whoever has not left by now is too late.
        for id in self.announced.drain(..) {
            let _ = cloud.ec2().fail_instance(&id).await;
        }
        wire(cloud)?.calm();
        cloud.ec2().clear_faults().await.map_err(ChaosError::Control)?;
        let calm = Settings { describe_lag_ms: Some(0), ..Settings::default() };
        cloud.ec2().set(calm).await.map_err(ChaosError::Control)?;
        if self.random.below(2) == 0
            && let Some(mut child) = self.another.take()
        {
            let _ = child.kill().await;
        }
        cloud.start_coordinator().map_err(ChaosError::Cloud)
    }
}
