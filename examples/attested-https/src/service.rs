//! What is asked of the service over HTTP.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /` | what this is |
//! | `GET /.well-known/attestation?nonce=HEX` | a fresh document with this nonce and the certificate's key |
//! | `POST /stamp` | a document whose `user_data` is the SHA-384 of what was posted: what existed when NSM signed, seen by this very image |

use crate::identity::Identity;
use aws_lc_rs::digest::{SHA384, digest};
use bailey_vsock::{
    DocumentRequest, DocumentRequestError,
    documents::{Client, DocumentsError},
};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    Method, Request, Response, StatusCode,
    body::{Body, Bytes},
    header::{CONTENT_TYPE, HeaderValue},
};
use std::{error::Error, fmt::Write as _, sync::Arc, time::Duration};
use tokio::{sync::Semaphore, time::timeout};

/// The most that is read of a request's body, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// How many documents are asked for at once: `keep` has seats for 64 connections.
const DOCUMENTS: usize = 16;

/// How long a request's body may take.
const BODY_TIME: Duration = Duration::from_secs(10);

/// RFC 9052, section 2, has this type for a `COSE_Sign1`.
const DOCUMENT_TYPE: HeaderValue =
    HeaderValue::from_static("application/cose; cose-type=\"cose-sign1\"");

/// Answers requests; one for all connections.
#[derive(Debug)]
pub struct Service {
    public_key: Vec<u8>,
    keep: Client,
    free: Semaphore,
}

impl Service {
    /// The service with this key, which has its documents from `keep`.
    #[must_use]
    pub fn new(identity: &Identity, keep: Client) -> Arc<Self> {
        let public_key = identity.public_key().to_vec();
        Arc::new(Self { public_key, keep, free: Semaphore::new(DOCUMENTS) })
    }

    /// Answers one request, whatever it is.
    pub async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Response<Full<Bytes>>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let (head, body) = request.into_parts();
        let answered = match (&head.method, head.uri.path()) {
            (&Method::GET, "/") => return text(StatusCode::OK, ABOUT),
            (&Method::GET, "/.well-known/attestation") => {
                self.attest(head.uri.query().unwrap_or_default()).await
            }
            (&Method::POST, "/stamp") => self.stamp(body).await,
            _ => Err(Refusal::Unknown),
        };
        match answered {
            Ok(document) => {
                let mut response = Response::new(Full::from(document));
                response.headers_mut().insert(CONTENT_TYPE, DOCUMENT_TYPE);
                response
            }
            Err(refusal) => text(refusal.status(), &said(&refusal)),
        }
    }

    async fn attest(&self, query: &str) -> Result<Vec<u8>, Refusal> {
        let nonce = query.strip_prefix("nonce=").ok_or(Refusal::NoNonce)?;
        let nonce = hex::decode(nonce).map_err(|_| Refusal::NoNonce)?;
        let request = DocumentRequest::new(self.public_key.clone());
        let request = request.and_then(|request| request.with_nonce(nonce));
        self.document(request.map_err(Refusal::Request)?).await
    }

    async fn stamp<B>(&self, body: B) -> Result<Vec<u8>, Refusal>
    where
        B: Body<Data = Bytes>,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let body = timeout(BODY_TIME, Limited::new(body, MAX_BODY).collect()).await;
        let body = body.ok().and_then(Result::ok).ok_or(Refusal::Body)?.to_bytes();
        let request = DocumentRequest::new(self.public_key.clone());
        let hash = digest(&SHA384, &body).as_ref().to_vec();
        let request = request.and_then(|request| request.with_user_data(hash));
        self.document(request.map_err(Refusal::Request)?).await
    }

    async fn document(&self, request: DocumentRequest) -> Result<Vec<u8>, Refusal> {
        let _free = self.free.acquire().await.map_err(|_| Refusal::Ending)?;
        let keep = self.keep.clone();
        let asked = tokio::task::spawn_blocking(move || keep.document(&request));
        asked.await.map_err(|_| Refusal::Ending)?.map_err(Refusal::Keep)
    }
}

const ABOUT: &str = "\
An HTTPS service in an AWS Nitro Enclave. Its certificate is its own, and its attestation vouches for it:
  GET  /.well-known/attestation?nonce=HEX   a fresh document for the key of this connection's certificate
  POST /stamp                               a document with the SHA-384 of what is posted
";

fn text(status: StatusCode, text: &str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text.to_owned()));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The refusal and its causes on one line.
fn said(refusal: &Refusal) -> String {
    let mut text = refusal.to_string();
    let mut cause = refusal.source();
    while let Some(err) = cause {
        // Writing to a text cannot fail.
        let _ = write!(text, ": {err}");
        cause = err.source();
    }
    text.push('\n');
    text
}

/// Why a request gets no document.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("what is posted has {MAX_BODY} bytes at most, and comes within {} s", BODY_TIME.as_secs())]
    Body,
    #[error("the service ends")]
    Ending,
    #[error("keep gave no document")]
    Keep(#[source] DocumentsError),
    #[error("the query is nonce=HEX")]
    NoNonce,
    #[error("no document can hold that")]
    Request(#[source] DocumentRequestError),
    #[error("there is nothing here; GET / says what there is")]
    Unknown,
}

impl Refusal {
    fn status(&self) -> StatusCode {
        match self {
            Self::Body | Self::NoNonce | Self::Request(_) => StatusCode::BAD_REQUEST,
            Self::Unknown => StatusCode::NOT_FOUND,
            Self::Ending | Self::Keep(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_vsock::{AttestResponse, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, frame};
    use std::os::unix::net::UnixListener;

    /// A service whose keep answers with the request itself, as JSON.
    fn service(dir: &std::path::Path) -> (Arc<Service>, Identity) {
        let path = dir.join("documents.sock");
        let listener = UnixListener::bind(&path).unwrap();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().map(Result::unwrap) {
                let body = frame::read(&mut stream, MAX_REQUEST_LEN).unwrap().unwrap();
                let answer = AttestResponse::Document(body).to_json().unwrap();
                frame::write(&mut stream, &answer, MAX_RESPONSE_LEN).unwrap();
            }
        });
        let identity = Identity::generate().unwrap();
        (Service::new(&identity, Client::new(path)), identity)
    }

    async fn ask(service: &Arc<Service>, method: Method, uri: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let body = Full::from(body.to_vec());
        let request = Request::builder().method(method).uri(uri).body(body).unwrap();
        let response = Arc::clone(service).answer(request).await;
        let status = response.status().as_u16();
        (status, response.into_body().collect().await.unwrap().to_bytes().to_vec())
    }

    #[tokio::test]
    async fn a_document_is_asked_for_the_certificates_key_and_the_callers_nonce() {
        let dir = tempfile::tempdir().unwrap();
        let (service, identity) = service(dir.path());
        let uri = "/.well-known/attestation?nonce=00ff";
        let (status, document) = ask(&service, Method::GET, uri, b"").await;
        let asked = DocumentRequest::parse(&document).unwrap();
        assert_eq!(status, 200);
        assert_eq!(asked.public_key(), identity.public_key());
        assert_eq!((asked.nonce(), asked.user_data()), (Some(&[0x00, 0xff][..]), None));
    }

    #[tokio::test]
    async fn a_stamp_is_a_document_with_the_hash_of_what_was_posted() {
        let dir = tempfile::tempdir().unwrap();
        let (service, identity) = service(dir.path());
        let (status, document) = ask(&service, Method::POST, "/stamp", b"hello").await;
        let asked = DocumentRequest::parse(&document).unwrap();
        assert_eq!(status, 200);
        assert_eq!(asked.public_key(), identity.public_key());
        assert_eq!(asked.user_data(), Some(digest(&SHA384, b"hello").as_ref()));
    }

    #[tokio::test]
    async fn what_makes_no_sense_is_refused_with_a_reason() {
        let dir = tempfile::tempdir().unwrap();
        let (service, _) = service(dir.path());
        let long = vec![0; MAX_BODY + 1];
        let endless = format!("/.well-known/attestation?nonce={}", "00".repeat(1_025));
        for (method, uri, body, status, said) in [
            (Method::GET, "/.well-known/attestation", &b""[..], 400, "the query is nonce=HEX\n"),
            (
                Method::GET,
                "/.well-known/attestation?nonce=xyz",
                b"",
                400,
                "the query is nonce=HEX\n",
            ),
            (
                Method::GET,
                "/.well-known/attestation?nonce=",
                b"",
                400,
                "no document can hold that: nonce has 0 bytes, allowed are 1 to 1024\n",
            ),
            (
                Method::GET,
                &endless,
                b"",
                400,
                "no document can hold that: nonce has 1025 bytes, allowed are 1 to 1024\n",
            ),
            (
                Method::POST,
                "/stamp",
                &long,
                400,
                "what is posted has 65536 bytes at most, and comes within 10 s\n",
            ),
            (Method::GET, "/stamp", b"", 404, "there is nothing here; GET / says what there is\n"),
        ] {
            let answer = ask(&service, method, uri, body).await;
            assert_eq!(answer, (status, said.as_bytes().to_vec()), "{uri}");
        }
    }

    #[tokio::test]
    async fn without_keep_there_is_no_document_and_the_service_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::generate().unwrap();
        let service = Service::new(&identity, Client::new(dir.path().join("absent")));
        let uri = "/.well-known/attestation?nonce=00";
        let (status, said) = ask(&service, Method::GET, uri, b"").await;
        assert_eq!(status, 503);
        assert!(said.starts_with(b"keep gave no document: cannot connect to keep at "));
        assert_eq!(ask(&service, Method::GET, "/", b"").await.0, 200);
    }
}
