//! Serving several peers at once, none of which can hold up another.

use super::{
    answer::Responder,
    chain,
    connection::{Connection, Listener, Timed},
    nsm::SecurityModule,
};
use bailey_vsock::{
    AttestResponse, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, RefusalCode, ResponseError,
    frame::{self, FrameError},
};
use std::{
    io,
    ops::ControlFlow,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// What one peer may use up.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How many connections are served at once; more get a refusal and are closed.
    pub connections: usize,
    /// How long a peer may take to send a whole request, and to take a whole response.
    pub per_frame: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 64, per_frame: Duration::from_secs(10) }
    }
}

/// Stack of a connection's thread. The NSM driver puts 16 KiB on it and JSON recurses 128 deep at
/// most; the default of 2 MiB would be most of a small enclave's address space.
const STACK_BYTES: usize = 256 * 1024;

/// How long to wait after the system was out of descriptors or memory: no event announces that
/// some are free again.
const EXHAUSTION_PAUSE: Duration = Duration::from_millis(100);

/// Answers whoever connects, until the listener itself fails.
pub fn serve<N: SecurityModule + 'static>(
    listener: &Listener,
    responder: Responder<N>,
    limits: Limits,
) -> io::Result<()> {
    let responder = Arc::new(responder);
    let open = Arc::new(AtomicUsize::new(0));
    loop {
        match listener.accept() {
            Ok(connection) => match Slot::take(&open, limits.connections) {
                Some(slot) => start(connection, slot, Arc::clone(&responder), limits),
                None => turn_away(connection, limits),
            },
            Err(err) => recover(err)?,
        }
    }
}

/// Passes by what concerns one connection or one moment, and returns what is wrong for good.
fn recover(err: io::Error) -> io::Result<()> {
    use nix::errno::Errno;
    match err.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ECONNABORTED | Errno::ECONNRESET | Errno::EINTR) => Ok(()),
        Some(Errno::EMFILE | Errno::ENFILE | Errno::ENOBUFS | Errno::ENOMEM) => {
            log::error!(error = err.to_string().as_str(); "cannot accept connections");
            thread::sleep(EXHAUSTION_PAUSE);
            Ok(())
        }
        _ => Err(err),
    }
}

fn start<N: SecurityModule + 'static>(
    connection: Box<dyn Connection>,
    slot: Slot,
    responder: Arc<Responder<N>>,
    limits: Limits,
) {
    let serve = move || {
        converse(connection, &responder, limits);
        drop(slot);
    };
    let thread = thread::Builder::new().name("connection".into()).stack_size(STACK_BYTES);
    if let Err(err) = thread.spawn(serve) {
        log::error!(error = err.to_string().as_str(); "cannot serve a connection");
    }
}

/// Answers request after request until the peer leaves, breaks the framing or takes too long.
fn converse<N: SecurityModule>(
    mut connection: Box<dyn Connection>,
    responder: &Responder<N>,
    limits: Limits,
) {
    loop {
        match exchange(connection.as_mut(), responder, limits) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => return,
            Err(err) => {
                log::warn!(error = chain(&err).as_str(); "connection given up");
                return;
            }
        }
    }
}

fn exchange<N: SecurityModule>(
    connection: &mut dyn Connection,
    responder: &Responder<N>,
    limits: Limits,
) -> Result<ControlFlow<()>, ExchangeError> {
    let read = frame::read(&mut Timed::new(connection, limits.per_frame), MAX_REQUEST_LEN);
    match read {
        Ok(Some(body)) => {
            respond(connection, &responder.answer(&body), limits)?;
            Ok(ControlFlow::Continue(()))
        }
        Ok(None) => Ok(ControlFlow::Break(())),
        Err(err @ FrameError::TooLong { .. }) => {
            // Where the next frame starts is unknown, so this answer is the last.
            let refusal = AttestResponse::refused(RefusalCode::InvalidRequest, err.to_string());
            respond(connection, &refusal, limits)?;
            Ok(ControlFlow::Break(()))
        }
        Err(err) => Err(ExchangeError::Frame(err)),
    }
}

fn respond(
    connection: &mut dyn Connection,
    response: &AttestResponse,
    limits: Limits,
) -> Result<(), ExchangeError> {
    let body = response.to_json().map_err(ExchangeError::Response)?;
    frame::write(&mut Timed::new(connection, limits.per_frame), &body, MAX_RESPONSE_LEN)
        .map_err(ExchangeError::Frame)
}

/// Says why, in a frame small enough for the socket's empty buffer, so that it cannot block.
fn turn_away(mut connection: Box<dyn Connection>, limits: Limits) {
    log::warn!(limit = limits.connections; "connection refused, too many are open");
    let message = format!("{} connections are open already", limits.connections);
    let refusal = AttestResponse::refused(RefusalCode::NsmFailed, message);
    if let Err(err) = respond(connection.as_mut(), &refusal, limits) {
        log::warn!(error = chain(&err).as_str(); "connection given up");
    }
}

/// One of the connections that may be open; given back when it is dropped.
#[derive(Debug)]
struct Slot {
    open: Arc<AtomicUsize>,
}

impl Slot {
    fn take(open: &Arc<AtomicUsize>, limit: usize) -> Option<Self> {
        let one_more = |count| (count < limit).then_some(count + 1);
        open.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more).ok()?;
        Some(Self { open: Arc::clone(open) })
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Why a connection ended early.
#[derive(Debug, thiserror::Error)]
enum ExchangeError {
    #[error("the peer broke off")]
    Frame(#[source] FrameError),
    #[error("cannot encode the response")]
    Response(#[source] ResponseError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keep::{AttestationInput, ListenAddress, NsmError};
    use bailey_model::Generation;
    use bailey_vsock::AttestRequest;
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
        path::PathBuf,
    };
    use tempfile::TempDir;

    #[derive(Debug)]
    struct NonceNsm;

    impl SecurityModule for NonceNsm {
        fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError> {
            Ok(input.nonce)
        }
    }

    /// A running server; its thread ends with the test's process.
    struct Server {
        _dir: TempDir,
        path: PathBuf,
    }

    impl Server {
        fn start(limits: Limits) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("keep");
            let listener = Listener::bind(&ListenAddress::Unix(path.clone())).unwrap();
            thread::spawn(move || serve(&listener, Responder::new(NonceNsm), limits));
            Self { _dir: dir, path }
        }

        fn connect(&self) -> UnixStream {
            UnixStream::connect(&self.path).unwrap()
        }
    }

    fn ask(stream: &mut UnixStream, nonce: &[u8]) -> AttestResponse {
        let request =
            AttestRequest::new("enc_1".parse().unwrap(), Generation(1), nonce.to_vec()).unwrap();
        frame::write(stream, &request.to_json().unwrap(), MAX_REQUEST_LEN).unwrap();
        receive(stream)
    }

    fn receive(stream: &mut UnixStream) -> AttestResponse {
        AttestResponse::parse(&frame::read(stream, MAX_RESPONSE_LEN).unwrap().unwrap()).unwrap()
    }

    #[test]
    fn one_connection_carries_several_requests() {
        let server = Server::start(Limits::default());
        let mut stream = server.connect();
        for nonce in [b"a", b"b"] {
            assert_eq!(ask(&mut stream, nonce), AttestResponse::Document(nonce.to_vec()));
        }
    }

    #[test]
    fn a_malformed_request_leaves_the_connection_usable() {
        let server = Server::start(Limits::default());
        let mut stream = server.connect();
        frame::write(&mut stream, b"{}", MAX_REQUEST_LEN).unwrap();
        let refusal = receive(&mut stream).into_document().unwrap_err();
        assert_eq!(refusal.code, RefusalCode::InvalidRequest);
        assert_eq!(ask(&mut stream, b"a"), AttestResponse::Document(b"a".to_vec()));
    }

    #[test]
    fn an_oversize_frame_is_refused_and_ends_the_connection() {
        let server = Server::start(Limits::default());
        let mut stream = server.connect();
        stream.write_all(&[0, 0, 0x40, 1]).unwrap();
        assert_eq!(
            receive(&mut stream),
            AttestResponse::refused(
                RefusalCode::InvalidRequest,
                "a frame of 16385 bytes exceeds the limit of 16384"
            )
        );
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn half_open_peers_do_not_block_another_one() {
        let server = Server::start(Limits::default());
        let silent: Vec<UnixStream> = (0..32).map(|_| server.connect()).collect();
        for mut stream in &silent {
            stream.write_all(&[0, 0]).unwrap();
        }
        assert_eq!(ask(&mut server.connect(), b"a"), AttestResponse::Document(b"a".to_vec()));
    }

    #[test]
    fn connections_beyond_the_limit_are_told_why() {
        let server = Server::start(Limits { connections: 1, ..Limits::default() });
        let mut first = server.connect();
        assert_eq!(ask(&mut first, b"a"), AttestResponse::Document(b"a".to_vec()));
        let mut second = server.connect();
        let refusal = receive(&mut second).into_document().unwrap_err();
        assert_eq!(refusal.message, "1 connections are open already");
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_peer_that_takes_too_long_is_given_up() {
        let limits = Limits { per_frame: Duration::from_millis(50), ..Limits::default() };
        let server = Server::start(limits);
        let mut stream = server.connect();
        stream.write_all(&[0]).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    }

    #[test]
    fn a_slot_is_given_back() {
        let open = Arc::new(AtomicUsize::new(0));
        let slot = Slot::take(&open, 1).unwrap();
        assert!(Slot::take(&open, 1).is_none());
        drop(slot);
        assert!(Slot::take(&open, 1).is_some());
    }
}
