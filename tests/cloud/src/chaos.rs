//! Random schedules on real processes: requests, rewrites, kills and lost answers, until the world calms
//! down; then every record must have come to rest, and nothing may be left.
//!
//! A schedule is what its seed makes it; how processes interleave is theirs.

use crate::{
    ec2::{ControlError, FaultKind, Settings, SimulationView},
    local::{CloudError, LocalCloud, Record},
};
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

/// How long a record may take to come to rest; nothing is measured by it.
const LIMIT: Duration = Duration::from_mins(3);

/// Why a schedule could not be gone through.
#[derive(Debug, thiserror::Error)]
pub enum ChaosError {
    /// The local cloud does not do what it is asked.
    #[error("the local cloud fails")]
    Cloud(#[source] CloudError),
    /// The EC2 simulator does not do what it is asked.
    #[error("the EC2 simulator fails")]
    Control(#[source] ControlError),
}

/// What was found, over all schedules.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    /// How many schedules came to their end.
    pub schedules: u64,
    /// Records that were deployed at some rest.
    pub deployed: u64,
    /// More than one instance for one accepted request, without a reason.
    pub double_launches: Vec<String>,
    /// Instances that outlive their records.
    pub orphans: Vec<String>,
    /// Records that never came to rest.
    pub stuck: Vec<String>,
    /// What the web app wrote and is no longer there.
    pub lost_writes: Vec<String>,
}

impl Findings {
    /// How much is wrong.
    #[must_use]
    pub fn violations(&self) -> usize {
        self.double_launches.len() + self.orphans.len() + self.stuck.len() + self.lost_writes.len()
    }
}

/// What the web app thinks of one of its records.
#[derive(Clone, Debug, Default)]
struct Written {
    is_there: bool,
    note: u64,
    /// Another instance may take the place of one that is gone.
    may_move: bool,
}

/// Goes through the schedule with this seed: so many records, so many events.
pub async fn schedule(
    cloud: &mut LocalCloud,
    seed: u64,
    records: u64,
    events: u64,
    findings: &mut Findings,
) -> Result<(), ChaosError> {
    let mut random = Random(seed);
    let mut written: BTreeMap<String, Written> =
        (0..records).map(|n| (format!("chaos-{seed}-{n}"), Written::default())).collect();
    let ids: Vec<String> = written.keys().cloned().collect();
    for id in &ids {
        put(cloud, id, written.entry(id.clone()).or_default()).await?;
    }
    for _ in 0..events {
        tokio::time::sleep(Duration::from_millis(random.below(400))).await;
        let Some(id) = ids.get(random.index(ids.len())) else { continue };
        disturb(cloud, &mut random, id, written.entry(id.clone()).or_default()).await?;
    }
    cloud.ec2().clear_faults().await.map_err(ChaosError::Control)?;
    let calm = Settings { pending_ms: None, describe_lag_ms: Some(0) };
    cloud.ec2().set(calm).await.map_err(ChaosError::Control)?;
    cloud.start_coordinator().map_err(ChaosError::Cloud)?;
    comes_to_rest(cloud, &written, findings).await?;
    for id in &ids {
        if cloud.record(id).await.map_err(ChaosError::Cloud)?.is_some() {
            cloud.set_status(id, "PENDING_DESTROY").await.map_err(ChaosError::Cloud)?;
        }
    }
    is_cleared(cloud, &written, findings).await?;
    findings.schedules += 1;
    Ok(())
}

/// The web app writes the whole record.
async fn put(cloud: &LocalCloud, id: &str, written: &mut Written) -> Result<(), ChaosError> {
    written.is_there = true;
    written.note += 1;
    let record = json!({
        "id": id, "status": "PENDING_DEPLOY", "note": written.note,
        "configuration": { "instance_type": "m5.xlarge", "cpu_count": 2, "memory_mib": 1024,
                           "eif_path": format!("s3://{}/test.eif", cloud.names().eif_bucket) },
    });
    cloud.put_record(&record).await.map_err(ChaosError::Cloud)
}

/// One event of a schedule.
async fn disturb(
    cloud: &mut LocalCloud,
    random: &mut Random,
    id: &str,
    written: &mut Written,
) -> Result<(), ChaosError> {
    match random.below(16) {
        0..=2 => put(cloud, id, written).await?,
        3 if written.is_there => {
            written.note += 1;
            let note = json!(written.note);
            cloud.set_attribute(id, "note", &note).await.map_err(ChaosError::Cloud)?;
        }
        4 if written.is_there => {
            written.is_there = false;
            cloud.delete_record(id).await.map_err(ChaosError::Cloud)?;
        }
        5..=8 if written.is_there => {
            let statuses = ["PENDING_DESTROY", "PENDING_DEPLOY", "PAUSING", "RESUMING", "FAILED"];
            let status = statuses.get(random.index(statuses.len())).copied().unwrap_or_default();
            written.may_move |= status == "PAUSING";
            cloud.set_status(id, status).await.map_err(ChaosError::Cloud)?;
        }
        9..=11 => cloud.restart_coordinator().await.map_err(ChaosError::Cloud)?,
        12 => {
            let actions = ["RunInstances", "TerminateInstances", "StopInstances", "StartInstances"];
            let action = actions.get(random.index(actions.len())).copied().unwrap_or_default();
            let kind = match random.below(4) {
                0 => FaultKind::DropBefore,
                1 => FaultKind::error("RequestLimitExceeded"),
                2 if action == "RunInstances" => FaultKind::error("InsufficientInstanceCapacity"),
                _ => FaultKind::DropAfter,
            };
            cloud.ec2().inject(action, 1, kind).await.map_err(ChaosError::Control)?;
        }
        13 => {
            let lag = Settings { pending_ms: None, describe_lag_ms: Some(random.below(3_000)) };
            cloud.ec2().set(lag).await.map_err(ChaosError::Control)?;
        }
        _ => {
            let view = cloud.simulation().await.map_err(ChaosError::Cloud)?;
            let live: Vec<_> = view.live().filter(|it| it.agent_pid.is_some()).collect();
            let Some(instance) = live.get(random.index(live.len())) else { return Ok(()) };
            // Either may come too late: the instance may be gone by now.
            if random.below(3) == 0 {
                let _ = cloud.ec2().fail_instance(&instance.id).await;
            } else {
                let _ = cloud.ec2().kill_agent(&instance.id).await;
            }
        }
    }
    Ok(())
}

fn status(record: &Record) -> &str {
    record.get("status").and_then(Value::as_str).unwrap_or_default()
}

/// Waits until every record shows a status at which it stays, and what it says is so.
async fn comes_to_rest(
    cloud: &LocalCloud,
    written: &BTreeMap<String, Written>,
    findings: &mut Findings,
) -> Result<(), ChaosError> {
    let rests = ["DEPLOYED", "DESTROYED", "FAILED", "PAUSED"];
    for (id, expected) in written {
        if !expected.is_there {
            continue;
        }
        let is_at_rest = |record: &Record| rests.contains(&status(record));
        let record = match cloud.wait_for(id, "rest", LIMIT, is_at_rest).await {
            Ok(waited) => waited.record,
            Err(error) => {
                findings.stuck.push(format!("{id}: {error}"));
                continue;
            }
        };
        findings.deployed += u64::from(status(&record) == "DEPLOYED");
        if record.get("note") != Some(&json!(expected.note)) {
            findings.lost_writes.push(format!("{id}: note {:?}", record.get("note")));
        }
    }
    Ok(())
}

/// Waits until nothing is left of the schedule's records, and looks at what was launched for them.
async fn is_cleared(
    cloud: &LocalCloud,
    written: &BTreeMap<String, Written>,
    findings: &mut Findings,
) -> Result<(), ChaosError> {
    let is_ours = |tags: &BTreeMap<String, String>| {
        tags.get("bailey:enclave").is_some_and(|id| written.contains_key(id))
    };
    let left = async {
        loop {
            let view = cloud.simulation().await.map_err(ChaosError::Cloud)?;
            let left: Vec<_> =
                view.live().filter(|it| is_ours(&it.tags)).map(|it| it.id.clone()).collect();
            if left.is_empty() {
                return Ok::<_, ChaosError>(view);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let view = match tokio::time::timeout(LIMIT, left).await {
        Ok(view) => view?,
        Err(_) => cloud.simulation().await.map_err(ChaosError::Cloud)?,
    };
    let ledger = cloud.ledger().await.map_err(ChaosError::Cloud)?;
    for orphan in view.live().filter(|it| is_ours(&it.tags)) {
        let key = orphan.tags.get("bailey:enclave").map(|id| format!("enclave#{id}"));
        let entry = ledger.iter().find(|it| it.get("pk").and_then(Value::as_str) == key.as_deref());
        let known = entry.map(|it| json!([it.get("state"), it.get("events")]));
        findings.orphans.push(format!(
            "{} is {:?}; the ledger says: {}",
            orphan.id,
            orphan.state,
            known.unwrap_or_default()
        ));
    }
    findings.double_launches.extend(doubles(&view, written));
    for id in written.iter().filter(|(_, it)| it.is_there).map(|(id, _)| id) {
        if let Err(error) = cloud.wait_for_status(id, "DESTROYED", LIMIT).await {
            findings.stuck.push(format!("{id}: {error}"));
        }
    }
    Ok(())
}

/// The requests for which more than one instance was launched, or one token twice.
fn doubles(view: &SimulationView, written: &BTreeMap<String, Written>) -> Vec<String> {
    let mut launched: BTreeMap<(String, String), u64> = BTreeMap::new();
    let (mut tokens, mut doubles) = (BTreeSet::new(), Vec::new());
    for instance in &view.instances {
        let tag = |name: &str| instance.tags.get(name).cloned().unwrap_or_default();
        let Some(expected) = written.get(&tag("bailey:enclave")) else { continue };
        if !tokens.insert(instance.client_token.clone()) {
            doubles.push(format!("token {:?} was used twice", instance.client_token));
        }
        if !expected.may_move {
            let request = (tag("bailey:enclave"), tag("bailey:generation"));
            *launched.entry(request).or_default() += 1;
        }
    }
    let twice = launched.into_iter().filter(|(_, times)| *times > 1);
    doubles.extend(twice.map(|(request, times)| format!("{request:?} was launched {times} times")));
    doubles
}

/// The generator `SplitMix64`: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next().checked_rem(limit).unwrap_or_default()
    }

    fn index(&mut self, length: usize) -> usize {
        let limit = u64::try_from(length).unwrap_or(u64::MAX);
        usize::try_from(self.below(limit)).unwrap_or_default()
    }
}
