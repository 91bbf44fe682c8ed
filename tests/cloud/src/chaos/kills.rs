//! One deploy and destroy after the other, with the coordinator killed at each of its writes.

use super::{
    ChaosError, LIMIT,
    check::{Kind, Violation},
    rest::settles,
    web_app::WebApp,
};
use crate::{
    local::LocalCloud,
    wire::{Held, Side, Wire},
};
use bailey_lifecycle::launch::TAG_ENCLAVE;
use bailey_model::Status;
use std::{fmt, time::Duration};
use tokio::sync::oneshot;

/// How long the answer to a write may take that shows already.
const HELD_LIMIT: Duration = Duration::from_secs(2);

/// How many deploys may come without the write at which the coordinator is to be killed.
const TRIES: u32 = 5;

/// What came of a deploy and destroy during which the coordinator was killed.
#[derive(Clone, Debug)]
pub struct Kill {
    /// The call at which it was killed; none when it came to no such write.
    pub at: Option<String>,
    /// What is wrong.
    pub violations: Vec<Violation>,
}

/// A write of a coordinator in the life of an enclave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Write {
    /// What it does.
    pub step: String,
    /// How many writes do the same before.
    pub before: u64,
}

impl Write {
    /// Whether it only shows how far a host is: which of these phases are seen depends on when they are
    /// looked at, and the next life may have others.
    #[must_use]
    pub fn is_chance(&self) -> bool {
        let passing = ["BOOTING", "FETCHING", "ALLOCATING", "STARTING", "ATTESTING", "VERIFYING"];
        let phase = self.step.strip_prefix("UpdateItem bailey-enclaves ");
        phase.is_some_and(|phase| passing.contains(&phase))
    }
}

impl fmt::Display for Write {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.step, self.before + 1)
    }
}

/// The writes of a coordinator that nobody kills, from an enclave's request to its end.
pub async fn writes(cloud: &mut LocalCloud, id: &str) -> Result<Vec<Write>, ChaosError> {
    let _ = wire(cloud)?.take_writes();
    live_and_die(cloud, id, None).await?;
    let mut writes: Vec<Write> = Vec::new();
    for call in wire(cloud)?.take_writes() {
        let step = call.step();
        let before = writes.iter().rev().find(|write| write.step == step);
        let before = before.map_or(0, |write| write.before + 1);
        writes.push(Write { step, before });
    }
    Ok(writes)
}

/// Deploys and destroys an enclave, and kills the coordinator at one of its writes: before it takes
/// effect, or when it has and is not answered yet.
///
/// What it writes to show how far a host is depends on when it looks, so a deploy may come without
/// that write; then the next one is tried.
pub async fn kill(
    cloud: &mut LocalCloud,
    id: &str,
    write: &Write,
    side: Side,
) -> Result<Kill, ChaosError> {
    let mut kill = Kill { at: None, violations: Vec::new() };
    for try_number in 0..TRIES {
        let held = wire(cloud)?.hold_write(Some(&write.step), write.before, side);
        let tried = live_and_die(cloud, &format!("{id}-{try_number}"), Some(held)).await?;
        // It may not have come to it.
        wire(cloud)?.calm();
        kill.at = tried.at;
        kill.violations.extend(tried.violations);
        if kill.at.is_some() {
            break;
        }
    }
    Ok(kill)
}

async fn live_and_die(
    cloud: &mut LocalCloud,
    id: &str,
    mut held: Option<oneshot::Receiver<Held>>,
) -> Result<Kill, ChaosError> {
    let mut web_app = WebApp::default();
    let mut kill = Kill { at: None, violations: Vec::new() };
    cloud.start_coordinator().map_err(ChaosError::Cloud)?;
    web_app.deploy(cloud, id).await.map_err(ChaosError::Cloud)?;
    reaches(cloud, id, Status::Deployed, &mut held, &mut kill).await?;
    let rest = settles(cloud, &web_app, LIMIT).await?;
    kill.violations.extend(rest.violations);
    web_app.ask(cloud, id, Status::PendingDestroy).await.map_err(ChaosError::Cloud)?;
    reaches(cloud, id, Status::Destroyed, &mut held, &mut kill).await?;
    // The last write shows before its answer is held.
    if held.is_some()
        && let Ok(last) = tokio::time::timeout(HELD_LIMIT, next_held(&mut held)).await
    {
        kill.at = Some(restart(cloud, last).await?);
    }
    let rest = settles(cloud, &web_app, LIMIT).await?;
    kill.violations.extend(rest.violations);
    let is_its = |tag: &String| tag == id;
    let instances = rest.seen.simulation.instances.iter();
    let launches = instances.filter(|it| it.tags.get(TAG_ENCLAVE).is_some_and(is_its)).count();
    if launches != 1 {
        let text = format!("{id}: it was launched {launches} times");
        kill.violations.push(Violation::new(Kind::DoubleLaunch, text));
    }
    Ok(kill)
}

/// Waits for a status; when a write of the coordinator is held meanwhile, kills it and starts
/// another.
async fn reaches(
    cloud: &mut LocalCloud,
    id: &str,
    status: Status,
    held: &mut Option<oneshot::Receiver<Held>>,
    kill: &mut Kill,
) -> Result<(), ChaosError> {
    loop {
        tokio::select! {
            call = next_held(held) => kill.at = Some(restart(cloud, call).await?),
            reached = cloud.wait_for_status(id, status.as_str(), LIMIT) => {
                if let Err(error) = reached {
                    kill.violations.push(Violation::new(Kind::Stuck, error.to_string()));
                }
                return Ok(());
            }
        }
    }
}

/// Kills the coordinator while one of its calls is held, and starts another; tells which call.
async fn restart(cloud: &mut LocalCloud, held: Held) -> Result<String, ChaosError> {
    cloud.kill_coordinator().await;
    let call = held.call.to_string();
    // Only now, for a coordinator that lives would ask again.
    drop(held);
    cloud.start_coordinator().map_err(ChaosError::Cloud)?;
    Ok(call)
}

/// The call that is held; for ever when there is none to come. Cancel-safe.
async fn next_held(held: &mut Option<oneshot::Receiver<Held>>) -> Held {
    if let Some(waiting) = held {
        let found = waiting.await;
        *held = None;
        if let Ok(found) = found {
            return found;
        }
    }
    std::future::pending().await
}

fn wire(cloud: &LocalCloud) -> Result<&Wire, ChaosError> {
    cloud.wire().ok_or(ChaosError::NoWire)
}
