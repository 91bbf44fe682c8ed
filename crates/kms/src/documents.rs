//! Documents of the enclave's own `keep`.

use crate::client::Documents;
use bailey_vsock::{DocumentRequest, documents::Client};
use std::error::Error;

/// Asks `keep`, at the socket that `KEEP_DOCUMENTS` names.
#[derive(Debug)]
pub struct KeepDocuments(Client);

impl KeepDocuments {
    /// Finds the socket.
    pub fn from_environment() -> Result<Self, Box<dyn Error + Send + Sync>> {
        Ok(Self(Client::from_env()?))
    }
}

impl Documents for KeepDocuments {
    fn document(&self, public_key: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        Ok(self.0.document(&DocumentRequest::new(public_key)?)?)
    }
}
