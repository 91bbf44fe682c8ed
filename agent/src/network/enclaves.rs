//! Who is served: whatever runs, and nothing else.

use super::{
    FiguresBoard, Resolver, Settings,
    accept::{Calls, Switchboard},
    egress::{self, Proxy},
    ingress::{self, Port},
};
use crate::workload::{Findings, Running};
use std::{collections::BTreeMap, sync::Arc};
use tokio::{
    sync::watch,
    task::{JoinHandle, JoinSet},
};

/// Serves each enclave that `running` names, until that ends.
pub async fn serve<R: Resolver>(
    settings: Settings,
    resolver: impl Fn() -> R,
    mut running: watch::Receiver<Vec<Running>>,
    findings: watch::Receiver<Findings>,
    figures: FiguresBoard,
) {
    let switchboard = Switchboard::new();
    let mut served = BTreeMap::<String, (Running, Task)>::new();
    let listening = switchboard.listen(&settings.vsock);
    tokio::pin!(listening);
    loop {
        let now = running.borrow_and_update().clone();
        let (kept, ended) = served.into_iter().partition(|(_, (it, _))| now.contains(it));
        served = kept;
        for (_, (_, task)) in ended {
            task.end().await;
        }
        for it in now {
            served.entry(it.enclave.nitro_id.clone()).or_insert_with(|| {
                let figures = figures.begin(it.enclave_id.clone(), it.generation);
                let proxy = Proxy::new(it.clone(), settings.limits, resolver(), figures);
                let one = one(settings.clone(), switchboard.clone(), proxy, findings.clone());
                (it, Task(tokio::spawn(one)))
            });
        }
        tokio::select! {
            changed = running.changed() => {
                if changed.is_err() {
                    return;
                }
            }
            () = &mut listening => {}
        }
    }
}

/// A task that ends, with each connection of its, when this is dropped.
struct Task(JoinHandle<()>);

impl Task {
    /// Ends it, and returns when nothing of it is left: what follows may have its context id.
    async fn end(mut self) {
        self.0.abort();
        let _ = (&mut self.0).await;
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Serves one enclave, until it is aborted.
async fn one<R: Resolver>(
    settings: Settings,
    switchboard: Switchboard,
    proxy: Proxy<R>,
    findings: watch::Receiver<Findings>,
) {
    let proxy = Arc::new(proxy);
    let mut ports = JoinSet::new();
    for port in &proxy.running.ingress {
        let port = Port {
            settings: settings.clone(),
            running: proxy.running.clone(),
            way: *port,
            figures: Arc::clone(&proxy.figures),
        };
        ports.spawn(ingress::serve(port, findings.clone()));
    }
    let calls = Calls::of(&settings.vsock, &switchboard, proxy.running.enclave.cid).await;
    egress::serve(Arc::clone(&proxy), calls).await;
    while ports.join_next().await.is_some() {}
}
