//! The Nitro Security Module, real or simulated.

use crate::workload::Registers;
use aws_nitro_enclaves_nsm_api::{
    api::{Request, Response},
    driver,
};
use bailey_vsock::frame::{self, FrameError};
use std::{fmt, io, os::unix::net::UnixStream, path::PathBuf, sync::Arc, time::Duration};

/// What a document is to contain beside the enclave's own state.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct AttestationInput {
    /// Bytes that bind the document to an assignment, or what the workload wants.
    pub user_data: Option<Vec<u8>>,
    /// The asker's nonce.
    pub nonce: Option<Vec<u8>>,
    /// A key of the workload's. Never one that somebody outside the enclave chose.
    pub public_key: Option<Vec<u8>>,
}

impl From<AttestationInput> for Request {
    fn from(input: AttestationInput) -> Self {
        Self::Attestation {
            user_data: input.user_data.map(Into::into),
            nonce: input.nonce.map(Into::into),
            public_key: input.public_key.map(Into::into),
        }
    }
}

/// Makes attestation documents.
pub trait SecurityModule: fmt::Debug + Send + Sync {
    /// A fresh document: a `COSE_Sign1`, as NSM encoded it.
    fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError>;
}

/// Something that speaks NSM's own protocol.
pub trait NsmDevice: fmt::Debug + Send + Sync {
    /// Carries out one request; a refusal of the module's is a response too.
    fn process(&self, request: Request) -> Result<Response, NsmError>;
}

impl<D: NsmDevice + ?Sized> NsmDevice for Arc<D> {
    fn process(&self, request: Request) -> Result<Response, NsmError> {
        self.as_ref().process(request)
    }
}

impl<D: NsmDevice> SecurityModule for D {
    fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError> {
        match accepted(self.process(input.into())?)? {
            Response::Attestation { document } => Ok(document),
            _ => Err(NsmError::OtherResponse),
        }
    }
}

/// Random bytes of the module's: 256 of them from a real one.
pub(super) fn random(nsm: &dyn NsmDevice) -> Result<Vec<u8>, NsmError> {
    match accepted(nsm.process(Request::GetRandom)?)? {
        Response::GetRandom { random } => Ok(random),
        _ => Err(NsmError::OtherResponse),
    }
}

/// Extends and locks the registers as the image says.
pub(super) fn prepare_registers(
    nsm: &dyn NsmDevice,
    registers: &Registers,
) -> Result<(), NsmError> {
    for (index, text) in &registers.extend {
        let data = text.clone().into_bytes();
        match accepted(nsm.process(Request::ExtendPCR { index: (*index).into(), data })?)? {
            Response::ExtendPCR { .. } => log::info!(register = *index; "register extended"),
            _ => return Err(NsmError::OtherResponse),
        }
    }
    for index in &registers.lock {
        match accepted(nsm.process(Request::LockPCR { index: (*index).into() })?)? {
            Response::LockPCR => log::info!(register = *index; "register locked"),
            _ => return Err(NsmError::OtherResponse),
        }
    }
    Ok(())
}

/// A response that is no refusal.
fn accepted(response: Response) -> Result<Response, NsmError> {
    match response {
        Response::Error(code) => Err(NsmError::Refused { code: format!("{code:?}") }),
        response => Ok(response),
    }
}

/// The real module, at `/dev/nsm`, opened for each request: opening costs microseconds, and there
/// is no descriptor whose state could go wrong.
#[derive(Clone, Copy, Debug)]
pub struct DeviceNsm;

impl NsmDevice for DeviceNsm {
    fn process(&self, request: Request) -> Result<Response, NsmError> {
        let device = driver::nsm_init();
        if device < 0 {
            return Err(NsmError::NoDevice);
        }
        let response = driver::nsm_process_request(device, request);
        driver::nsm_exit(device);
        Ok(response)
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

impl NsmDevice for SocketNsm {
    fn process(&self, request: Request) -> Result<Response, NsmError> {
        let mut stream =
            self.open().map_err(|source| NsmError::Connect { path: self.path.clone(), source })?;
        let mut encoded = Vec::new();
        ciborium::into_writer(&request, &mut encoded)
            .map_err(|err| NsmError::Cbor { reason: err.to_string() })?;
        frame::write(&mut stream, &encoded, MAX_REQUEST_LEN).map_err(NsmError::Transfer)?;
        let response = frame::read(&mut stream, MAX_RESPONSE_LEN).map_err(NsmError::Transfer)?;
        let response = response.ok_or(NsmError::Transfer(FrameError::Cut))?;
        ciborium::from_reader(response.as_slice())
            .map_err(|err| NsmError::Cbor { reason: err.to_string() })
    }
}

/// Why the module did not do what it was asked.
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
    #[error("NSM answered another question")]
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
