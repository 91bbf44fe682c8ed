//! One port of the parent that leads into an enclave.

use super::{Figures, Settings, accept::pause_after, pump::pump};
use crate::{
    upkeep::Complaint,
    workload::{Findings, Running},
};
use bailey_model::network::IngressPort;
use bailey_network::proxy_header;
use std::{net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt as _,
    net::{TcpListener, TcpStream},
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

/// Between two tries to listen.
const PAUSE: Duration = Duration::from_millis(500);

/// A port and the enclave behind it.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) settings: Settings,
    pub(super) running: Running,
    pub(super) way: IngressPort,
    pub(super) figures: Arc<Figures>,
}

/// Serves the port until it is aborted, while the workload is healthy if that is asked for.
///
/// A port that is closed refuses connections, as load balancers expect; those that are open go on.
pub(super) async fn serve(port: Port, mut findings: watch::Receiver<Findings>) {
    if port.way.check().is_err() {
        return log::error!(port = port.way.to_string().as_str(); "a port that cannot be had was left closed");
    }
    let mut open = JoinSet::new();
    let port = Arc::new(port);
    let seats = Arc::new(Semaphore::new(port.settings.limits.connections));
    loop {
        let is_open = |findings: &Findings| port.is_open(findings);
        if findings.wait_for(is_open).await.is_err() {
            return;
        }
        let closed = |findings: &Findings| !port.is_open(findings);
        tokio::select! {
            () = accept(&port, &seats, &mut open) => {}
            closed = findings.wait_for(closed) => {
                if closed.is_err() {
                    return;
                }
                port.tell("port closed: the workload is not healthy");
            }
        }
    }
}

async fn accept(port: &Arc<Port>, seats: &Arc<Semaphore>, open: &mut JoinSet<()>) {
    let listener = port.bind().await;
    port.tell("port open");
    loop {
        // Whoever comes when all seats are taken waits in the kernel's queue.
        let Ok(seat) = Arc::clone(seats).acquire_owned().await else { return };
        while open.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((stream, peer)) => {
                let port = Arc::clone(port);
                open.spawn(async move {
                    port.carry(stream, peer).await;
                    drop(seat);
                });
            }
            Err(err) => pause_after("a connection was not accepted", &err).await,
        }
    }
}

impl Port {
    fn is_open(&self, findings: &Findings) -> bool {
        let health = findings.get(&self.running.enclave.nitro_id).and_then(|it| it.health.as_ref());
        !self.way.health_gated || health.is_some_and(|health| health.healthy)
    }

    async fn bind(&self) -> TcpListener {
        let address = (self.settings.ingress_address, self.way.parent_port);
        let mut complaint = Complaint::default();
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(err) => {
                    let reason = format!("{}: {}", self.way, bailey_runtime::chain(&err));
                    complaint.voice("a port of an enclave cannot be opened", &reason);
                }
            }
            sleep(PAUSE).await;
        }
    }

    async fn carry(&self, mut outer: TcpStream, peer: SocketAddr) {
        let (cid, enclave_port) = (self.running.enclave.cid, self.way.enclave_port.into());
        let limits = self.settings.limits;
        let connecting = self.settings.vsock.connect(cid, enclave_port);
        let mut inner = match timeout(limits.connect, connecting).await {
            Ok(Ok(inner)) => inner,
            Ok(Err(err)) => return self.not_carried(&bailey_runtime::chain(&err)),
            Err(_) => return self.not_carried("connecting takes too long"),
        };
        let _open = self.figures.opened(&self.figures.accepted);
        let _ = outer.set_nodelay(true);
        if self.way.proxy_protocol {
            let Ok(local) = outer.local_addr() else { return };
            if inner.write_all(&proxy_header::encode(peer, local)).await.is_err() {
                return;
            }
        }
        let counts = (&self.figures.bytes_out, &self.figures.bytes_in);
        if let Err(err) = pump(&mut inner, &mut outer, counts, limits.idle).await {
            let (enclave_id, error) =
                (self.running.enclave_id.as_str(), bailey_runtime::chain(&err));
            log::debug!(enclave_id, error = error.as_str(); "connection broke off");
        }
    }

    fn not_carried(&self, reason: &str) {
        let (enclave_id, port) = (self.running.enclave_id.as_str(), self.way.to_string());
        log::debug!(enclave_id, port = port.as_str(), reason; "connection not carried");
    }

    fn tell(&self, what: &str) {
        let (enclave_id, port) = (self.running.enclave_id.as_str(), self.way.to_string());
        log::info!(enclave_id, port = port.as_str(); "{what}");
    }
}
