//! The Nitro Security Module, real or simulated.

use aws_nitro_enclaves_nsm_api::{
    api::{Request, Response},
    driver,
};
use bailey_vsock::frame::{self, FrameError};
use std::{fmt, io, os::unix::net::UnixStream, path::PathBuf, time::Duration};

/// What a document is to contain beside the enclave's own state.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AttestationInput {
    /// Bytes that bind the document to an assignment.
    pub user_data: Vec<u8>,
    /// The asker's nonce.
    pub nonce: Vec<u8>,
}

impl From<AttestationInput> for Request {
    fn from(input: AttestationInput) -> Self {
        Self::Attestation {
            user_data: Some(input.user_data.into()),
            nonce: Some(input.nonce.into()),
            // Never one that somebody outside the enclave chose.
            public_key: None,
        }
    }
}

/// Makes attestation documents.
pub trait SecurityModule: fmt::Debug + Send + Sync {
    /// A fresh document: a `COSE_Sign1`, as NSM encoded it.
    fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError>;
}

impl SecurityModule for Box<dyn SecurityModule> {
    fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError> {
        self.as_ref().attest(input)
    }
}

/// The real module, at `/dev/nsm`, opened for each request: opening costs microseconds, and there
/// is no descriptor whose state could go wrong.
#[derive(Clone, Copy, Debug)]
pub struct DeviceNsm;

impl SecurityModule for DeviceNsm {
    fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError> {
        let device = driver::nsm_init();
        if device < 0 {
            return Err(NsmError::NoDevice);
        }
        let response = driver::nsm_process_request(device, input.into());
        driver::nsm_exit(device);
        document(response)
    }
}

/// A simulated module behind a Unix socket: frames of the CBOR that the device would be given.
#[derive(Clone, Debug)]
pub struct SocketNsm {
    path: PathBuf,
}

/// The longest request, in bytes. The driver's buffer has 4 KiB.
const MAX_REQUEST_LEN: usize = 16 * 1024;

/// The longest response, in bytes. The driver's buffer has 12 KiB.
const MAX_RESPONSE_LEN: usize = 64 * 1024;

/// How long a simulated module may take for each transfer.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(10);

impl SocketNsm {
    /// The module that listens at `path`; each request makes a connection of its own.
    #[must_use]
    pub fn new(path: PathBuf) -> Self {
        Self { path }
    }

    fn open(&self) -> io::Result<UnixStream> {
        let stream = UnixStream::connect(&self.path)?;
        stream.set_read_timeout(Some(SOCKET_TIMEOUT))?;
        stream.set_write_timeout(Some(SOCKET_TIMEOUT))?;
        Ok(stream)
    }
}

impl SecurityModule for SocketNsm {
    fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError> {
        let mut stream =
            self.open().map_err(|source| NsmError::Connect { path: self.path.clone(), source })?;
        let mut request = Vec::new();
        ciborium::into_writer(&Request::from(input), &mut request)
            .map_err(|err| NsmError::Cbor { reason: err.to_string() })?;
        frame::write(&mut stream, &request, MAX_REQUEST_LEN).map_err(NsmError::Transfer)?;
        let response = frame::read(&mut stream, MAX_RESPONSE_LEN).map_err(NsmError::Transfer)?;
        let response = response.ok_or(NsmError::Transfer(FrameError::Cut))?;
        let response = ciborium::from_reader(response.as_slice())
            .map_err(|err| NsmError::Cbor { reason: err.to_string() })?;
        document(response)
    }
}

fn document(response: Response) -> Result<Vec<u8>, NsmError> {
    match response {
        Response::Attestation { document } => Ok(document),
        Response::Error(code) => Err(NsmError::Refused { code: format!("{code:?}") }),
        _ => Err(NsmError::OtherResponse),
    }
}

/// Why there is no document.
#[derive(Debug, thiserror::Error)]
pub enum NsmError {
    /// The simulated module and `keep` disagree about the encoding.
    #[error("cannot encode the request or decode the response: {reason}")]
    Cbor {
        /// The codec's reason.
        reason: String,
    },
    /// The simulated module cannot be reached.
    #[error("cannot connect to the simulated NSM at {}", path.display())]
    Connect {
        /// Its socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// `/dev/nsm` cannot be opened: this is no enclave, or its kernel lacks the driver.
    #[error("cannot open /dev/nsm")]
    NoDevice,
    /// The module answered another question.
    #[error("NSM answered with something else than a document")]
    OtherResponse,
    /// The module refused.
    #[error("NSM refused: {code}")]
    Refused {
        /// NSM's error code by name.
        code: String,
    },
    /// The conversation with the simulated module broke.
    #[error("the conversation with the simulated NSM broke")]
    Transfer(#[source] FrameError),
}
