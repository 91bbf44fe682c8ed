//! An enclave's life once its system is up; the same for PID 1 and for `keep run`.
//!
//! ```text
//! manifest ─> signals ─> bind all sockets ─> registers ─> heartbeat ─> serve ─┬─> workload ─> last words
//!                                                                             └─ no workload: wait
//! ```

use super::{
    RunError, STACK_BYTES, Settings,
    answer::Responder,
    attend::{Attendant, copy_to_console},
    carry,
    connection::Listener,
    documents::Socket,
    heartbeat, logger, nsm,
    output::Ring,
    probe::Prober,
    serve::{Limits, Service, serve},
    settings::{DocumentsAddress, ListenAddress},
    workload::{Children, Event, Place, Run, supervise, user_of},
};
use crate::workload::{MANIFEST_PATH, MAX_MANIFEST_BYTES, Workload};
use bailey_vsock::documents::{DEFAULT_PATH, PATH_VARIABLE};
use nix::unistd::Uid;
use std::{
    fs::File,
    io::{self, Read as _},
    path::Path,
    sync::{
        Arc,
        mpsc::{Sender, channel},
    },
    thread,
    time::Duration,
};

/// How long readers have to come, and for the last of the output, before the enclave ends: a workload
/// may be over before its parent knows that the enclave has booted.
const LAST_WORDS: Duration = Duration::from_secs(5);

/// How many connections ask about the workload at once: an agent has one or two.
const WORKLOAD_CONNECTIONS: usize = 32;

/// Reads what the image says of its workload, if it has one.
pub(super) fn workload(place: &Place) -> Result<Option<Workload>, RunError> {
    let path = place.path(MANIFEST_PATH);
    let failed = |source| RunError::ReadWorkload { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(err) if err.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(err) => return Err(failed(err)),
    };
    let mut text = Vec::new();
    file.take(MAX_MANIFEST_BYTES).read_to_end(&mut text).map_err(failed)?;
    Workload::parse(&text).map(Some).map_err(RunError::Workload)
}

/// Serves, and runs the workload, until it has ended for good; why it ended, in words.
///
/// Called before any other thread exists.
pub(super) fn live(
    place: &Place,
    workload: Option<&Workload>,
    settings: &Settings,
) -> Result<String, RunError> {
    let ring = Ring::new(bytes_held(workload));
    logger::copy_to(Arc::clone(&ring));
    let (sender, events) = channel();
    let children = Children::watch(sender.clone()).map_err(RunError::Children)?;
    let attestation = bind(&settings.listen)?;
    let about_workload = bind(&settings.listen_workload)?;
    let documents = workload.map(|workload| documents_of(workload, place, settings));
    let documents = documents.transpose()?.flatten();
    let nsm = settings.nsm.connect();
    if let Some(workload) = workload {
        nsm::prepare_registers(&nsm, &workload.registers).map_err(RunError::Registers)?;
    }
    if let Some(peer) = &settings.heartbeat {
        heartbeat::send_in_background(peer.clone());
    }
    let responder = Responder::new(Arc::clone(&nsm));
    serve_in_background(attestation, responder, Limits::default(), sender.clone())?;
    let prober = Prober::new(workload.and_then(|workload| workload.health.clone()));
    let limits = Limits { connections: WORKLOAD_CONNECTIONS, ..Limits::default() };
    let attendant = Attendant::new(Arc::clone(&ring), prober);
    serve_in_background(about_workload, attendant, limits, sender.clone())?;
    if workload.is_some_and(|workload| workload.log.console) {
        copy_to_console_in_background(&ring)?;
    }
    let mut workload = workload.map(|workload| open_ways(workload, settings)).transpose()?;
    if let (Some(workload), Some(socket)) = (&mut workload, documents) {
        let path = socket.path.to_string_lossy().into_owned();
        workload.env.entry(PATH_VARIABLE.to_owned()).or_insert(path);
        let (listener, documents) = socket.service(nsm);
        serve_in_background(listener, documents, Limits::default(), sender)?;
    }
    let workload = workload.as_ref();
    let run = Run { place, children: &children, events: &events, ring: &ring };
    let end = match workload {
        Some(workload) => supervise(workload, &run),
        None => run.wait_to_be_asked(),
    };
    if let Ok(end) = &end {
        log::info!("{end}; the enclave ends");
    }
    ring.close();
    // Without a workload there was nothing to tell.
    if workload.is_some() {
        ring.wait_for_readers(LAST_WORDS);
    }
    end.map_err(RunError::Serve)
}

/// Opens the ways between the workload and its parent; the workload, told of its way out. What its image
/// sets itself, it keeps.
fn open_ways(workload: &Workload, settings: &Settings) -> Result<Workload, RunError> {
    let mut workload = workload.clone();
    for port in &workload.network.ports {
        carry::inward(&settings.ports.of(*port), *port).map_err(RunError::Carry)?;
    }
    if let (true, Some(parent)) = (workload.network.egress, &settings.egress) {
        let proxy =
            carry::outward(parent.clone(), settings.egress_port).map_err(RunError::Carry)?;
        for (name, value) in carry::variables(proxy) {
            workload.env.entry(name).or_insert(value);
        }
    }
    Ok(workload)
}

/// The socket on which the workload gets documents.
fn documents_of(
    workload: &Workload,
    place: &Place,
    settings: &Settings,
) -> Result<Option<Socket>, RunError> {
    let path = match &settings.documents {
        DocumentsAddress::Nowhere => return Ok(None),
        DocumentsAddress::Unix(path) => path.clone(),
        DocumentsAddress::Usual => place.path(DEFAULT_PATH),
    };
    open_documents(&path, user_of(workload, place)).map(Some)
}

/// Serves attestation, and documents where the settings say so, in an image that has an init of its own,
/// until a listener fails.
pub(super) fn attest(settings: &Settings) -> Result<(), RunError> {
    let listener = bind(&settings.listen)?;
    let documents = match &settings.documents {
        DocumentsAddress::Unix(path) => Some(open_documents(path, None)?),
        DocumentsAddress::Usual | DocumentsAddress::Nowhere => None,
    };
    if let Some(peer) = &settings.heartbeat {
        heartbeat::send_in_background(peer.clone());
    }
    let nsm = settings.nsm.connect();
    let (sender, events) = channel();
    if let Some(socket) = documents {
        let (listener, documents) = socket.service(Arc::clone(&nsm));
        serve_in_background(listener, documents, Limits::default(), sender.clone())?;
    }
    serve_in_background(listener, Responder::new(nsm), Limits::default(), sender)?;
    match events.recv() {
        Ok(Event::Listener(err)) => Err(RunError::Serve(err)),
        // Nobody else reports anything here.
        _ => Ok(()),
    }
}

fn open_documents(path: &Path, owner: Option<Uid>) -> Result<Socket, RunError> {
    let socket = Socket::open(path, owner).map_err(|source| {
        let address = ListenAddress::Unix(path.to_owned()).to_string();
        RunError::Bind { address, source }
    })?;
    log::info!(address = path.display().to_string().as_str(); "documents for the workload");
    Ok(socket)
}

fn bytes_held(workload: Option<&Workload>) -> usize {
    let log = workload.map(|workload| workload.log).unwrap_or_default();
    usize::try_from(log.ring_kib).unwrap_or(usize::MAX).saturating_mul(1024)
}

/// Binds, and says where.
pub(super) fn bind(address: &ListenAddress) -> Result<Listener, RunError> {
    let listener = Listener::bind(address)
        .map_err(|source| RunError::Bind { address: address.to_string(), source })?;
    log::info!(address = address.to_string().as_str(); "listening");
    Ok(listener)
}

fn serve_in_background(
    listener: Listener,
    service: impl Service + 'static,
    limits: Limits,
    events: Sender<Event>,
) -> Result<(), RunError> {
    let serve = move || {
        if let Err(err) = serve(&listener, service, limits) {
            // Nobody listens only when this process is ending.
            let _ = events.send(Event::Listener(err));
        }
    };
    let thread = thread::Builder::new().name("listener".into()).stack_size(STACK_BYTES);
    thread.spawn(serve).map(drop).map_err(RunError::Serve)
}

fn copy_to_console_in_background(ring: &Arc<Ring>) -> Result<(), RunError> {
    let ring = Arc::clone(ring);
    let copy = move || {
        if let Err(err) = copy_to_console(&ring, io::stderr()) {
            log::warn!(error = err.to_string().as_str(); "the console gets nothing more of the workload");
        }
    };
    let thread = thread::Builder::new().name("console".into()).stack_size(STACK_BYTES);
    thread.spawn(copy).map(drop).map_err(RunError::Serve)
}
