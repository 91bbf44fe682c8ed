//! Why a document could not be made, and why a connection ended.

use std::io;

/// Why the local authority could not issue a certificate or sign a document.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    /// A key pair could not be generated or read.
    #[error("cannot make a key pair for {object}")]
    Key {
        /// What the key is for.
        object: &'static str,
        /// What the cryptographic library said.
        #[source]
        cause: rcgen::Error,
    },
    /// A certificate could not be encoded or signed.
    #[error("cannot issue the certificate of `{subject}`")]
    Certificate {
        /// The common name that the certificate was to have.
        subject: String,
        /// What the certificate library said.
        #[source]
        cause: rcgen::Error,
    },
    /// A time is outside what a certificate can say.
    #[error("{at_ms} ms after 1970 is no time that a certificate can state")]
    Time {
        /// The time, in milliseconds since the Unix epoch.
        at_ms: u64,
    },
    /// The PEM text of an authority is not one certificate and one key.
    #[error("the authority's {object} is no PEM text")]
    Pem {
        /// Which of the two texts.
        object: &'static str,
        /// What the PEM reader said.
        #[source]
        cause: pem::PemError,
    },
    /// The key does not belong to the certificate that it came with.
    #[error("the authority's key is not the one in its certificate")]
    KeyMismatch,
    /// The document's key cannot be used by the signer.
    #[error("the signer refuses the document's key: {reason}")]
    DocumentKey {
        /// The signer's reason.
        reason: String,
    },
    /// The COSE layer could not sign.
    #[error("cannot sign the document")]
    Sign {
        /// What the COSE library said.
        #[source]
        cause: aws_nitro_enclaves_cose::error::CoseError,
    },
    /// A value could not be written as CBOR.
    #[error("cannot encode {object} as CBOR: {reason}")]
    Encode {
        /// What was being encoded.
        object: &'static str,
        /// The encoder's reason.
        reason: String,
    },
}

/// Why a connection to the simulated module ended before its peer closed it.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The stream failed.
    #[error("cannot {action}")]
    Stream {
        /// What was being done.
        action: &'static str,
        /// The stream's error.
        #[source]
        cause: io::Error,
    },
    /// A request is longer than the module accepts.
    #[error("a request has {found} bytes, at most {limit} are accepted")]
    RequestTooLong {
        /// The limit, in bytes.
        limit: usize,
        /// The announced length, in bytes.
        found: usize,
    },
    /// A request is not the CBOR of an NSM request.
    #[error("a request is no CBOR of an NSM request: {reason}")]
    Request {
        /// The decoder's reason.
        reason: String,
    },
    /// A response does not fit a frame.
    #[error("a response of {found} bytes does not fit, at most {limit} do")]
    ResponseTooLong {
        /// The limit, in bytes.
        limit: usize,
        /// The response's length, in bytes.
        found: usize,
    },
    /// A response could not be written as CBOR.
    #[error("cannot encode a response: {reason}")]
    Response {
        /// The encoder's reason.
        reason: String,
    },
}
