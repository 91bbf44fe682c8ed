//! Serving over Unix sockets.

use super::*;
use crate::keep::{AttestationInput, ListenAddress, NsmError, Responder, SecurityModule};
use bailey_model::Generation;
use bailey_vsock::{
    AttestRequest, AttestResponse, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, RefusalCode, frame,
};
use std::{
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::{
        Mutex,
        mpsc::{Receiver, Sender, channel},
    },
};
use tempfile::TempDir;

#[derive(Debug)]
struct NonceNsm;

impl SecurityModule for NonceNsm {
    fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError> {
        Ok(input.nonce.unwrap_or_default())
    }
}

/// A running server; its thread ends with the test's process.
struct Server {
    _dir: TempDir,
    path: PathBuf,
}

impl Server {
    fn start(limits: Limits) -> Self {
        Self::serve(Responder::new(NonceNsm), limits)
    }

    fn serve(service: impl Service + 'static, limits: Limits) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keep");
        let listener = Listener::bind(&ListenAddress::Unix(path.clone())).unwrap();
        thread::spawn(move || serve(&listener, service, limits));
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

/// Many times as many as are served at once, and none of them ever says a whole word.
#[test]
fn half_open_peers_do_not_block_another_one() {
    let server = Server::start(Limits { connections: 4, ..Limits::default() });
    let silent: Vec<UnixStream> = (0..100).map(|_| server.connect()).collect();
    for mut stream in &silent {
        // Those that were sent away already cannot be written to.
        let _ = stream.write_all(&[0, 0]);
    }
    assert_eq!(ask(&mut server.connect(), b"a"), AttestResponse::Document(b"a".to_vec()));
}

/// A module that says when it is asked, and answers when it is told to.
#[derive(Debug)]
struct SlowNsm {
    asked: Mutex<Sender<()>>,
    told: Mutex<Receiver<()>>,
}

impl SecurityModule for SlowNsm {
    fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError> {
        self.asked.lock().unwrap().send(()).unwrap();
        self.told.lock().unwrap().recv().unwrap();
        Ok(input.nonce.unwrap_or_default())
    }
}

#[test]
fn when_all_are_being_answered_a_newcomer_is_told_so() {
    let ((asked, is_asked), (tell, told)) = (channel(), channel());
    let nsm = SlowNsm { asked: asked.into(), told: told.into() };
    let limits = Limits { connections: 1, ..Limits::default() };
    let server = Server::serve(Responder::new(nsm), limits);
    let mut first = server.connect();
    let request =
        AttestRequest::new("enc_1".parse().unwrap(), Generation(1), b"a".to_vec()).unwrap();
    frame::write(&mut first, &request.to_json().unwrap(), MAX_REQUEST_LEN).unwrap();
    is_asked.recv().unwrap();
    let refusal = receive(&mut server.connect()).into_document().unwrap_err();
    assert_eq!(refusal.message, "1 connections are open already");
    tell.send(()).unwrap();
    assert_eq!(receive(&mut first), AttestResponse::Document(b"a".to_vec()));
}

#[test]
fn a_peer_that_takes_too_long_is_given_up() {
    let limits = Limits { per_frame: Duration::from_millis(50), ..Limits::default() };
    let server = Server::start(limits);
    let mut stream = server.connect();
    stream.write_all(&[0]).unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}
