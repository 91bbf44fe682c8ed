//! The workload's side of `keep`'s documents: a client that blocks, for programs inside an enclave.
//!
//! ```no_run
//! use bailey_vsock::{DocumentRequest, documents::Client};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let (spki, nonce) = (vec![1], vec![1]);
//! let request = DocumentRequest::new(spki)?.with_nonce(nonce)?;
//! let document: Vec<u8> = Client::from_env()?.document(&request)?;
//! # Ok(())
//! # }
//! ```

use crate::{
    AttestResponse, DocumentRequest, DocumentRequestError, MAX_REQUEST_LEN, MAX_RESPONSE_LEN,
    Refusal, ResponseError,
    frame::{self, FrameError},
};
use std::{env, io, os::unix::net::UnixStream, path::PathBuf, time::Duration};

/// The variable of a workload's environment that names the socket of [`DEFAULT_PATH`].
pub const PATH_VARIABLE: &str = "KEEP_DOCUMENTS";

/// Where `keep` hands documents to its workload in an enclave.
pub const DEFAULT_PATH: &str = "/run/keep/documents.sock";

/// How long `keep` may take for each transfer; NSM takes milliseconds.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Asks `keep` for documents; each request makes a connection of its own.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Client {
    path: PathBuf,
}

impl Client {
    /// The client of the socket that the environment names ([`PATH_VARIABLE`]).
    pub fn from_env() -> Result<Self, DocumentsError> {
        let path = env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty());
        path.map(Self::new).ok_or(DocumentsError::NoPath)
    }

    /// The client of the socket at this path.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// A fresh document: a `COSE_Sign1`, as NSM encoded it.
    ///
    /// Blocks for 10 seconds per transfer at most, and for milliseconds as a rule.
    pub fn document(&self, request: &DocumentRequest) -> Result<Vec<u8>, DocumentsError> {
        let body = request.to_json().map_err(DocumentsError::Request)?;
        let mut stream = self
            .open()
            .map_err(|source| DocumentsError::Connect { path: self.path.clone(), source })?;
        frame::write(&mut stream, &body, MAX_REQUEST_LEN).map_err(DocumentsError::Transfer)?;
        let body = frame::read(&mut stream, MAX_RESPONSE_LEN).map_err(DocumentsError::Transfer)?;
        let body = body.ok_or(DocumentsError::Transfer(FrameError::Cut))?;
        let response = AttestResponse::parse(&body).map_err(DocumentsError::Response)?;
        response.into_document().map_err(DocumentsError::Refused)
    }

    fn open(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(stream)
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum DocumentsError {
    /// Nobody listens at the path, or not for this user.
    #[error("cannot connect to keep at {}", path.display())]
    Connect {
        /// The socket's path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The environment names no socket: this is no workload of `keep`'s.
    #[error("{PATH_VARIABLE} names no socket")]
    NoPath,
    /// `keep` or NSM refused.
    #[error("no document was made")]
    Refused(#[source] Refusal),
    /// The request cannot be encoded.
    #[error("cannot make the request")]
    Request(#[source] DocumentRequestError),
    /// The answer cannot be understood.
    #[error("keep's answer cannot be understood")]
    Response(#[source] ResponseError),
    /// The conversation broke.
    #[error("the conversation with keep broke")]
    Transfer(#[source] FrameError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RefusalCode;
    use std::{os::unix::net::UnixListener, thread};

    /// A `keep` that gives each of these answers to one connection, and what it was asked.
    fn keep(
        path: &std::path::Path,
        answers: Vec<Vec<u8>>,
    ) -> thread::JoinHandle<Vec<DocumentRequest>> {
        let listener = UnixListener::bind(path).unwrap();
        thread::spawn(move || {
            let serve = |answer: Vec<u8>| {
                let (mut stream, _) = listener.accept().unwrap();
                let body = frame::read(&mut stream, MAX_REQUEST_LEN).unwrap().unwrap();
                io::Write::write_all(&mut stream, &answer).unwrap();
                DocumentRequest::parse(&body).unwrap()
            };
            answers.into_iter().map(serve).collect()
        })
    }

    fn framed(response: &AttestResponse) -> Vec<u8> {
        frame::encode(&response.to_json().unwrap(), MAX_RESPONSE_LEN).unwrap()
    }

    #[test]
    fn it_asks_what_it_was_told_and_returns_the_document_or_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("socket");
        let refused = AttestResponse::refused(RefusalCode::NsmFailed, "no entropy");
        let answers = vec![
            framed(&AttestResponse::Document(vec![0x84])),
            framed(&refused),
            Vec::new(),
            frame::encode(b"{}", 9).unwrap(),
        ];
        let asked = keep(&path, answers);
        let client = Client::new(&path);
        let request = DocumentRequest::new(*b"key").unwrap().with_nonce(*b"nonce").unwrap();
        assert_eq!(client.document(&request).unwrap(), [0x84]);
        let errors = [(); 3].map(|()| client.document(&request).unwrap_err());
        assert!(matches!(&errors[0], DocumentsError::Refused(refusal)
            if refusal.code == RefusalCode::NsmFailed && refusal.message == "no entropy"));
        assert!(matches!(errors[1], DocumentsError::Transfer(FrameError::Cut)), "{errors:?}");
        assert!(matches!(errors[2], DocumentsError::Response(_)), "{errors:?}");
        assert_eq!(asked.join().unwrap(), vec![request.clone(); 4]);
        drop(dir);
        assert!(matches!(client.document(&request), Err(DocumentsError::Connect { .. })));
    }
}
