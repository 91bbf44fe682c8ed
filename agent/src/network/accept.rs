//! Who is calling: connections of enclaves to their parent.
//!
//! A socket `<dir>/<cid>.sock_<port>` belongs to one enclave, as Firecracker has it for connections
//! from the guest. The kernel's vsock has one listener for all, and tells the peer's context id.

use crate::{
    upkeep::Complaint,
    vsock::{Stream, Vsock},
};
use bailey_vsock::EGRESS_PORT;
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::UnixListener,
    sync::{Semaphore, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_vsock::{VMADDR_CID_ANY, VsockAddr, VsockListener};

/// How long a connection waits for the agent to learn whose it is: an enclave's workload may call
/// before nitro-cli has told the enclave's context id.
const STRANGERS_PATIENCE: Duration = Duration::from_secs(30);
/// How many connections wait so at once.
const STRANGERS: usize = 64;
/// Connections of one enclave that wait to be taken.
const QUEUE: usize = 64;
/// Between two tries to listen, and after a connection that could not be accepted.
const PAUSE: Duration = Duration::from_millis(500);

/// A connection of an enclave.
pub(super) type Call = Box<dyn Stream>;

/// The connections of one enclave; it is no longer called when this is dropped.
pub(super) enum Calls {
    /// Those that its own socket takes.
    Own(OwnSocket),
    /// Those that the common listener hands on.
    Handed {
        /// What was handed on.
        calls: mpsc::Receiver<Call>,
        /// Keeps the place.
        #[expect(dead_code, reason = "what matters is when it is dropped")]
        registration: Registration,
    },
}

/// Where the common listener finds those who are called.
#[derive(Clone, Debug)]
pub(super) struct Switchboard(watch::Sender<BTreeMap<u32, mpsc::Sender<Call>>>);

/// A place on the switchboard, which is given up when this is dropped.
pub(super) struct Registration {
    switchboard: Switchboard,
    cid: u32,
    place: mpsc::Sender<Call>,
}

/// A listener that all enclaves call.
pub(super) trait Listener: Send {
    /// The next call, and the caller's context id.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Call, u32)>> + Send;
}

impl Listener for VsockListener {
    async fn accept(&mut self) -> io::Result<(Call, u32)> {
        let (stream, peer) = Self::accept(self).await?;
        Ok((Box::new(stream), peer.cid()))
    }
}

/// An enclave's socket, which is removed when this is dropped.
pub(super) struct OwnSocket {
    path: PathBuf,
    listener: UnixListener,
}

impl Calls {
    /// The calls of the enclave with this context id.
    pub(super) async fn of(vsock: &Vsock, switchboard: &Switchboard, cid: u32) -> Self {
        match vsock {
            Vsock::Kernel => switchboard.register(cid),
            Vsock::Unix(directory) => Self::Own(OwnSocket::bind(directory, cid).await),
        }
    }

    /// The next call; `None` when none can come any more.
    pub(super) async fn next(&mut self) -> Option<Call> {
        match self {
            // The place is held as long as this is.
            Self::Handed { calls, registration: _ } => calls.recv().await,
            Self::Own(socket) => loop {
                match socket.listener.accept().await {
                    Ok((stream, _)) => return Some(Box::new(stream)),
                    // Out of descriptors, most likely: they come back when a connection ends.
                    Err(err) => pause_after("a call was not accepted", &err).await,
                }
            },
        }
    }
}

/// Waits a little after a trouble of the system's, which no event tells the end of.
pub(super) async fn pause_after(what: &str, err: &io::Error) {
    log::warn!(error = bailey_runtime::chain(err).as_str(); "{what}");
    sleep(PAUSE).await;
}

impl OwnSocket {
    async fn bind(directory: &Path, cid: u32) -> Self {
        let path = directory.join(format!("{cid}.sock_{EGRESS_PORT}"));
        let mut complaint = Complaint::default();
        loop {
            // One that was killed leaves its socket, and no two enclaves have one context id.
            let _ = fs::remove_file(&path);
            match UnixListener::bind(&path) {
                Ok(listener) => return Self { path, listener },
                Err(err) => complaint.voice("an enclave cannot call", &bailey_runtime::chain(&err)),
            }
            sleep(PAUSE).await;
        }
    }
}

impl Drop for OwnSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

impl Switchboard {
    pub(super) fn new() -> Self {
        Self(watch::Sender::new(BTreeMap::new()))
    }

    /// A place for the calls of one enclave; an earlier one under its context id is void.
    pub(super) fn register(&self, cid: u32) -> Calls {
        let (place, calls) = mpsc::channel(QUEUE);
        self.0.send_modify(|all| drop(all.insert(cid, place.clone())));
        let registration = Registration { switchboard: self.clone(), cid, place };
        Calls::Handed { calls, registration }
    }

    /// Hands a call to whom it belongs, once that is known; one that nobody wants is dropped.
    async fn hand(&self, cid: u32, call: Call) {
        let mut places = self.0.subscribe();
        let known = places.wait_for(|all| all.contains_key(&cid));
        let place = match timeout(STRANGERS_PATIENCE, known).await {
            Ok(Ok(all)) => all.get(&cid).cloned(),
            _ => None,
        };
        match place {
            Some(place) => {
                if place.try_send(call).is_err() {
                    log::warn!(cid; "an enclave calls faster than it can be answered, call dropped");
                }
            }
            None => log::warn!(cid; "a call of an enclave that is not ours was dropped"),
        }
    }

    /// Hands on what the listener accepts, for ever.
    pub(super) async fn serve(&self, mut listener: impl Listener) {
        let seats = Arc::new(Semaphore::new(STRANGERS));
        loop {
            let (call, cid) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(err) => {
                    pause_after("a call was not accepted", &err).await;
                    continue;
                }
            };
            // Whoever is known takes no seat from a stranger, and waits for none.
            if self.0.borrow().contains_key(&cid) {
                self.hand(cid, call).await;
            } else if let Ok(seat) = Arc::clone(&seats).try_acquire_owned() {
                let switchboard = self.clone();
                tokio::spawn(async move {
                    let _seat = seat;
                    switchboard.hand(cid, call).await;
                });
            }
        }
    }

    /// Takes the calls of all enclaves from the kernel's vsock; in the other form nobody calls here.
    pub(super) async fn listen(&self, vsock: &Vsock) {
        if *vsock != Vsock::Kernel {
            return std::future::pending().await;
        }
        let mut complaint = Complaint::default();
        let listener = loop {
            match VsockListener::bind(VsockAddr::new(VMADDR_CID_ANY, EGRESS_PORT)) {
                Ok(listener) => break listener,
                Err(err) => complaint.voice("no enclave can call", &bailey_runtime::chain(&err)),
            }
            sleep(PAUSE).await;
        };
        self.serve(listener).await;
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.switchboard.0.send_if_modified(|all| {
            let ours = all.get(&self.cid).is_some_and(|place| place.same_channel(&self.place));
            ours && all.remove(&self.cid).is_some()
        });
    }
}
