//! The outbound proxy of one enclave: HTTP `CONNECT`, and tunnels to what its record lists.

use super::{
    Figures, Limits, Resolver,
    accept::{Call, Calls},
    pump::pump,
    refusals::Refusals,
};
use crate::workload::Running;
use bailey_network::{
    answer::{self, Status},
    policy::{Policy, Refused, Target},
    request::{self, Authority, MAX_HEAD, Progress, RequestError},
};
use std::{
    io,
    net::IpAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};

/// The most addresses of one name that are tried.
const ADDRESSES: usize = 8;
/// How long an enclave may take to hear why it is refused.
const LAST_WORD: Duration = Duration::from_secs(2);

/// The proxy of one enclave.
#[derive(Debug)]
pub(super) struct Proxy<R> {
    pub(super) running: Running,
    pub(super) figures: Arc<Figures>,
    policy: Policy,
    limits: Limits,
    resolver: R,
    refusals: Refusals,
}

/// Takes the enclave's calls until none can come any more.
pub(super) async fn serve<R: Resolver>(proxy: Arc<Proxy<R>>, mut calls: Calls) {
    let seats = Arc::new(Semaphore::new(proxy.limits.connections));
    let mut open = JoinSet::new();
    while let Some(call) = calls.next().await {
        while open.try_join_next().is_some() {}
        let Ok(seat) = Arc::clone(&seats).try_acquire_owned() else {
            let most = proxy.limits.connections;
            proxy.note("a connection", &format!("{most} connections are open already"));
            continue;
        };
        let proxy = Arc::clone(&proxy);
        open.spawn(async move {
            proxy.answer(call).await;
            drop(seat);
        });
    }
}

impl<R: Resolver> Proxy<R> {
    pub(super) fn new(
        running: Running,
        limits: Limits,
        resolver: R,
        figures: Arc<Figures>,
    ) -> Self {
        let policy = Policy::of(running.egress.clone());
        Self { running, figures, policy, limits, resolver, refusals: Refusals::default() }
    }

    /// Serves one connection from its first byte to its last.
    async fn answer(&self, mut call: Call) {
        let asked = match timeout(self.limits.head, read_head(&mut call)).await {
            Ok(Ok(Some(asked))) => asked,
            // Whoever leaves without a word is owed none.
            Ok(Ok(None)) => return,
            Ok(Err(refusal)) => return self.refuse(call, "a request", refusal).await,
            Err(_) => return self.refuse(call, "a request", NoTunnel::Silent).await,
        };
        let destination = asked.to_string();
        let opening = timeout(self.limits.connect, self.open(&asked)).await;
        let mut outer = match opening.unwrap_or(Err(NoTunnel::Slow)) {
            Ok(outer) => outer,
            Err(refusal) => return self.refuse(call, &destination, refusal).await,
        };
        let _open = self.figures.opened(&self.figures.tunnels);
        if call.write_all(answer::TUNNEL.as_bytes()).await.is_err() {
            return;
        }
        let counts = (&self.figures.bytes_out, &self.figures.bytes_in);
        if let Err(err) = pump(&mut call, &mut outer, counts, self.limits.idle).await {
            let enclave_id = self.running.enclave_id.as_str();
            let (destination, error) = (destination.as_str(), bailey_runtime::chain(&err));
            log::debug!(enclave_id, destination, error = error.as_str(); "tunnel broke off");
        }
    }

    async fn open(&self, asked: &Authority) -> Result<TcpStream, NoTunnel> {
        let addresses = match self.policy.target(asked).map_err(NoTunnel::Refused)? {
            Target::Address(address) => vec![address],
            Target::Name(name) => {
                let found = self.resolver.resolve(&name).await.map_err(NoTunnel::Unresolved)?;
                self.admitted(&found, asked)?
            }
        };
        let mut last = io::ErrorKind::AddrNotAvailable.into();
        for address in addresses.into_iter().take(ADDRESSES) {
            match TcpStream::connect((address, asked.port)).await {
                Ok(stream) => {
                    // What the two ends send in small pieces, they mean to.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(err) => last = err,
            }
        }
        Err(NoTunnel::Unconnected(last))
    }

    /// The addresses that may be connected to. What was looked up is what is connected to: nobody can
    /// answer otherwise in between.
    fn admitted(&self, found: &[IpAddr], asked: &Authority) -> Result<Vec<IpAddr>, NoTunnel> {
        let mut refused = None;
        let mut admitted = Vec::new();
        for address in found {
            match self.policy.admit(*address, asked.port) {
                Ok(()) => admitted.push(*address),
                Err(why) => refused = Some((*address, why)),
            }
        }
        match (admitted.is_empty(), refused) {
            (false, None) => Ok(admitted),
            (false, Some((address, why))) => {
                self.note(&format!("{asked} at {address}"), &why.to_string());
                Ok(admitted)
            }
            (true, Some((address, why))) => Err(NoTunnel::Rebound { address, why }),
            (true, None) => Err(NoTunnel::Unresolved(io::ErrorKind::NotFound.into())),
        }
    }

    async fn refuse(&self, mut call: Call, destination: &str, refusal: NoTunnel) {
        let reason = bailey_runtime::chain(&refusal);
        self.note(destination, &reason);
        let text = answer::refusal(refusal.status(), &reason);
        // A socket that is closed with unread bytes in it may take its last words along; so what still
        // comes is read, for a moment.
        let last_word = async {
            call.write_all(text.as_bytes()).await?;
            call.shutdown().await?;
            let mut rest = [0; 1_024];
            while call.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        };
        let _ = timeout(LAST_WORD, last_word).await;
    }

    fn note(&self, destination: &str, reason: &str) {
        self.figures.refused.fetch_add(1, Ordering::Relaxed);
        self.refusals.tell(&self.running, destination, reason);
    }
}

/// Reads one request's head; `None` when the other side left before it began one.
async fn read_head(call: &mut Call) -> Result<Option<Authority>, NoTunnel> {
    let mut head = Vec::with_capacity(512);
    loop {
        // One byte more than a head can have shows that it is longer.
        let room = (MAX_HEAD + 1).saturating_sub(head.len());
        let mut chunk = [0; 512];
        let chunk = chunk.get_mut(..room.min(512)).unwrap_or_default();
        let count = match call.read(chunk).await {
            Ok(0) if head.is_empty() => return Ok(None),
            Ok(0) | Err(_) => return Err(NoTunnel::Malformed(RequestError::Line)),
            Ok(count) => count,
        };
        head.extend_from_slice(chunk.get(..count).unwrap_or_default());
        match request::parse(&head).map_err(NoTunnel::Malformed)? {
            Progress::Partial => {}
            Progress::Whole(authority) => return Ok(Some(authority)),
        }
    }
}

/// Why there is no tunnel.
#[derive(Debug, thiserror::Error)]
enum NoTunnel {
    #[error("the request is not served")]
    Malformed(#[source] RequestError),
    #[error("the name resolves to {address}, which is refused")]
    Rebound {
        address: IpAddr,
        #[source]
        why: Refused,
    },
    #[error("refused")]
    Refused(#[source] Refused),
    #[error("no whole request came in time")]
    Silent,
    #[error("connecting takes too long")]
    Slow,
    #[error("cannot connect")]
    Unconnected(#[source] io::Error),
    #[error("cannot resolve the name")]
    Unresolved(#[source] io::Error),
}

impl NoTunnel {
    fn status(&self) -> Status {
        match self {
            Self::Malformed(RequestError::Method) => Status::MethodNotAllowed,
            Self::Malformed(_) => Status::BadRequest,
            Self::Rebound { .. } | Self::Refused(_) => Status::Forbidden,
            Self::Silent => Status::RequestTimeout,
            Self::Slow => Status::GatewayTimeout,
            Self::Unconnected(_) | Self::Unresolved(_) => Status::BadGateway,
        }
    }
}
