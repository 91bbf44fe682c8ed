//! One deploy and destroy after the other, with the agent killed at random instants.

use super::{
    ChaosError,
    check::{Kind, Violation},
    rest::{LIMIT, settles},
    web_app::WebApp,
};
use crate::{local::LocalCloud, random::Random};
use bailey_model::Status;
use std::time::Duration;

/// The longest pause between two kills: about as long as an agent takes from its start to a running
/// enclave, so that kills fall on everything that it does.
const LONGEST_PAUSE_MS: u64 = 1_000;

/// How often an agent is killed while its enclave rests.
const KILLS_AT_REST: u64 = 2;

/// What came of a number of kills.
#[derive(Clone, Debug, Default)]
pub struct AgentKills {
    /// How many agents were killed.
    pub killed: u64,
    /// How many enclaves were deployed and destroyed.
    pub cycles: u64,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

/// Deploys and destroys enclaves until that many agents were killed on the way: while they deploy, run
/// and end them. Whatever happens, an instance has one enclave at most, and it is started once.
pub async fn kill_agents(
    cloud: &mut LocalCloud,
    seed: u64,
    kills: u64,
) -> Result<AgentKills, ChaosError> {
    cloud.start_coordinator().map_err(ChaosError::Cloud)?;
    let mut course = Course { random: Random::new(seed), done: AgentKills::default() };
    let mut web_app = WebApp::default();
    while course.done.killed < kills && course.done.violations.is_empty() {
        let id = format!("agent-{seed}-{}", course.done.cycles);
        web_app.deploy(cloud, &id).await.map_err(ChaosError::Cloud)?;
        course.kill_until(cloud, &id, Status::Deployed).await?;
        for _ in 0..KILLS_AT_REST {
            course.pause_and_kill(cloud).await?;
        }
        // Its enclave is adopted, and looked after again.
        course.done.violations.extend(settles(cloud, &web_app, LIMIT).await?.violations);
        course.count_starts(cloud).await?;
        web_app.ask(cloud, &id, Status::PendingDestroy).await.map_err(ChaosError::Cloud)?;
        course.kill_until(cloud, &id, Status::Destroyed).await?;
        course.done.violations.extend(settles(cloud, &web_app, LIMIT).await?.violations);
        course.done.cycles += 1;
    }
    Ok(course.done)
}

struct Course {
    random: Random,
    done: AgentKills,
}

impl Course {
    /// Kills the agent again and again until the record has the status.
    async fn kill_until(
        &mut self,
        cloud: &LocalCloud,
        id: &str,
        status: Status,
    ) -> Result<(), ChaosError> {
        let reached = cloud.wait_for_status(id, status.as_str(), LIMIT);
        tokio::pin!(reached);
        loop {
            tokio::select! {
                reached = &mut reached => {
                    if let Err(error) = reached {
                        let text = error.to_string();
                        self.done.violations.push(Violation::new(Kind::Stuck, text));
                    }
                    return Ok(());
                }
                killed = self.pause_and_kill(cloud) => killed?,
            }
        }
    }

    async fn pause_and_kill(&mut self, cloud: &LocalCloud) -> Result<(), ChaosError> {
        let pause = Duration::from_millis(self.random.below(LONGEST_PAUSE_MS));
        tokio::time::sleep(pause).await;
        let view = cloud.simulation().await.map_err(ChaosError::Cloud)?;
        for instance in view.live().filter(|instance| instance.agent_pid.is_some()) {
            // It may have ended meanwhile.
            if cloud.ec2().kill_agent(&instance.id).await.is_ok() {
                self.done.killed += 1;
            }
            let enclaves = cloud.enclaves().iter().filter(|(it, _)| *it == instance.id).count();
            if enclaves > 1 {
                let text = format!("{enclaves} enclaves run on {}", instance.id);
                self.done.violations.push(Violation::new(Kind::DoubleLaunch, text));
            }
        }
        Ok(())
    }

    /// However often its agent was killed, an enclave is started once: whatever runs is adopted.
    async fn count_starts(&mut self, cloud: &LocalCloud) -> Result<(), ChaosError> {
        let view = cloud.simulation().await.map_err(ChaosError::Cloud)?;
        for instance in view.live().filter(|instance| instance.enclave_launches != 1) {
            let starts = instance.enclave_launches;
            let text = format!("{} was asked to start an enclave {starts} times", instance.id);
            self.done.violations.push(Violation::new(Kind::DoubleLaunch, text));
        }
        Ok(())
    }
}
