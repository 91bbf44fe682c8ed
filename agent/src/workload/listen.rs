//! Who is listened to: whatever runs, and nothing else.

use super::{
    Finding, Findings, Running, Shipper, console::Console, position::Positions, probe, tail::Tail,
};
use crate::{nitro_cli::NitroCli, vsock::Vsock};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// Listens to the workload of each enclave that `running` names, and to the console of those in debug
/// mode, until that ends.
pub async fn listen(
    vsock: Vsock,
    nitro_cli: NitroCli,
    state_dir: &Path,
    health_period: Duration,
    shipper: Option<Shipper>,
    mut running: watch::Receiver<Vec<Running>>,
    found: watch::Sender<Findings>,
) {
    let positions = Positions::below(state_dir);
    // Dropping it ends all of them.
    let mut tasks = JoinSet::new();
    let mut listening = BTreeMap::<String, Vec<AbortHandle>>::new();
    // Before the supervisor says anything, what runs is unknown, and nothing is to be forgotten.
    while running.changed().await.is_ok() {
        let now = running.borrow_and_update().clone();
        let ids: BTreeSet<&str> = now.iter().map(|it| it.enclave.nitro_id.as_str()).collect();
        listening.retain(|id, handles| {
            let runs = ids.contains(id.as_str());
            if !runs {
                handles.iter().for_each(AbortHandle::abort);
            }
            runs
        });
        // What is found of an enclave that is gone is of use until the supervisor has taken it in, which it
        // has when it no longer names it.
        found.send_if_modified(|findings| {
            let before = findings.len();
            findings.retain(|id, _| ids.contains(id.as_str()));
            findings.len() != before
        });
        positions.keep(&ids);
        for it in &now {
            let nitro_id = it.enclave.nitro_id.clone();
            if listening.contains_key(&nitro_id) {
                continue;
            }
            let tail = Tail {
                vsock: vsock.clone(),
                running: it.clone(),
                positions: positions.clone(),
                shipper: shipper.clone(),
            };
            let ended = noting(&found, &nitro_id, |finding, end| finding.end = Some(end));
            let health = noting(&found, &nitro_id, |finding, health| finding.health = Some(health));
            let tail = tasks.spawn(tail.follow(ended));
            let probe = tasks.spawn(probe::watch(vsock.clone(), it.clone(), health_period, health));
            let console = it.debug.then(|| {
                let last = noting(&found, &nitro_id, |finding, lines| finding.console = lines);
                let (nitro_cli, shipper) = (nitro_cli.clone(), shipper.clone());
                let console = Console { nitro_cli, running: it.clone(), shipper };
                tasks.spawn(console.follow(last))
            });
            listening.insert(nitro_id, [tail, probe].into_iter().chain(console).collect());
        }
        // Those that were aborted, and probes that are not configured.
        while tasks.try_join_next().is_some() {}
    }
}

/// Puts what is found of an enclave where the supervisor sees it.
fn noting<T>(
    found: &watch::Sender<Findings>,
    nitro_id: &str,
    put: impl Fn(&mut Finding, T) + Send + 'static,
) -> impl Fn(T) + Send + 'static {
    let (found, nitro_id) = (found.clone(), nitro_id.to_owned());
    move |what| found.send_modify(|all| put(all.entry(nitro_id.clone()).or_default(), what))
}
