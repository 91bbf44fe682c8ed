//! Waiting until everything has come to rest, and that it stays so.

use super::{
    ChaosError,
    check::{self, Kind, Violation},
    reports,
    seen::Seen,
    web_app::WebApp,
};
use crate::local::LocalCloud;
use bailey_model::Status;
use std::time::{Duration, Instant};

/// How long anything may take to come to rest; nothing is measured by it. The longest that the
/// coordinator waits for is what `DescribeInstances` may lag behind: two minutes.
pub const LIMIT: Duration = Duration::from_mins(4);

/// How often to look: nothing tells when all parts of the cloud have done their work.
const LOOK_PERIOD: Duration = Duration::from_millis(200);

/// What was found when everything was to have come to rest.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// How many of the web app's records are deployed.
    pub deployed: u64,
    /// What does not hold.
    pub violations: Vec<Violation>,
    pub(super) seen: Seen,
}

impl Rest {
    /// Verifies the histories of the enclaves that were seen: how many reports are parts of whole
    /// ones, and what is wrong with the others.
    pub async fn verify_reports(
        &self,
        cloud: &LocalCloud,
        web_app: &WebApp,
    ) -> Result<(u64, Vec<Violation>), ChaosError> {
        reports::check(cloud, &self.seen, web_app).await
    }
}

/// Waits until everything that must hold at rest does, and looks again when coordinators have
/// swept over it: what rests must not move again by itself.
///
/// What does not hold after `limit` is a violation.
pub async fn comes_to_rest(
    cloud: &LocalCloud,
    web_app: &WebApp,
    coordinators: u64,
    limit: Duration,
) -> Result<Rest, ChaosError> {
    let rest = settles(cloud, web_app, limit).await?;
    if !rest.violations.is_empty() {
        return Ok(rest);
    }
    let wire = cloud.wire().ok_or(ChaosError::NoWire)?;
    // A sweep that begins now is over when the same coordinator begins the next.
    if tokio::time::timeout(limit, wire.sweeps(2 * coordinators)).await.is_err() {
        let silent = Violation::new(Kind::Stuck, "no coordinator sweeps any more");
        return Ok(Rest { violations: vec![silent], ..rest });
    }
    let seen = Seen::look(cloud).await?;
    let mut violations = check::at_rest(&seen, web_app);
    for violation in &mut violations {
        violation.text.insert_str(0, "after it had come to rest: ");
    }
    Ok(Rest { violations, seen, ..rest })
}

/// Waits until everything that must hold at rest does.
pub(super) async fn settles(
    cloud: &LocalCloud,
    web_app: &WebApp,
    limit: Duration,
) -> Result<Rest, ChaosError> {
    let started = Instant::now();
    loop {
        let seen = Seen::look(cloud).await?;
        let violations = check::at_rest(&seen, web_app);
        if violations.is_empty() || started.elapsed() > limit {
            let is_deployed = |id: &&String| {
                seen.entries.get(*id).and_then(check::rest) == Some(Status::Deployed)
            };
            let deployed = web_app.written.keys().filter(is_deployed).count();
            let deployed = u64::try_from(deployed).unwrap_or(u64::MAX);
            return Ok(Rest { deployed, violations, seen });
        }
        tokio::time::sleep(LOOK_PERIOD).await;
    }
}
