//! HTTPS, with a certificate of its own authority.

use super::{
    calls::{Refusal, Service},
    keys::Key,
};
use aws_credential_types::Credentials;
use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
    serve::Listener,
};
use bailey_attestation::TrustedRoots;
use bailey_signing::{Post, Scope, signed};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::{
    ServerConfig, crypto::aws_lc_rs::default_provider, pki_types::PrivatePkcs8KeyDer,
    version::TLS13,
};
use serde_json::{Value, json};
use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};
use time::{OffsetDateTime, PrimitiveDateTime, macros::format_description};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// The region whose KMS this is.
const REGION: &str = "us-east-1";

/// A running KMS; it ends when it is dropped.
#[derive(Debug)]
pub struct KmsServer {
    address: SocketAddr,
    roots_pem: String,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    service: Mutex<Service>,
    credentials: Credentials,
    /// Each call, and what became of it: `ok`, or the error's name.
    answered: Mutex<Vec<(String, String)>>,
}

/// Why there is no server.
#[derive(Debug, thiserror::Error)]
pub enum KmsServerError {
    /// There is no certificate.
    #[error("cannot make a certificate")]
    Certificate(#[from] rcgen::Error),
    /// There is no listener.
    #[error("cannot listen")]
    Listen(#[from] io::Error),
    /// TLS cannot be had.
    #[error("cannot set TLS up")]
    Tls(#[from] rustls::Error),
}

impl KmsServer {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// It believes documents under `roots`, and requests that are signed with `credentials`.
    ///
    /// # Errors
    /// There is no port, no certificate, or no TLS.
    pub async fn start(
        roots: TrustedRoots,
        credentials: Credentials,
    ) -> Result<Self, KmsServerError> {
        let mut authority = CertificateParams::new([])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(["127.0.0.1".to_owned()])?;
        let leaf = leaf.signed_by(&key, &authority)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_protocol_versions(&[&TLS13])?
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], key.into())?;
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            service: Mutex::new(Service { keys: Vec::new(), roots }),
            credentials,
            answered: Mutex::default(),
        });
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        let listener = Tls { listener, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                log::error!(error = error.to_string().as_str(); "KMS ended");
            }
        });
        Ok(Self { address, roots_pem: authority.pem(), shared, task })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The root of its certificate, as PEM.
    #[must_use]
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }

    /// Adds a key.
    pub fn add(&self, key: Key) {
        lock(&self.shared.service).keys.push(key);
    }

    /// What was called, and what became of it: `ok`, or the error's name.
    #[must_use]
    pub fn answered(&self) -> Vec<(String, String)> {
        lock(&self.shared.answered).clone()
    }
}

impl Drop for KmsServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Nothing that is held under these locks is left half done by a panic.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Accepts connections, and speaks TLS on them.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = Listener::accept(&mut self.listener).await;
            // A peer that does not like the certificate is its own affair.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let target = text(&headers, "x-amz-target");
    let action = target.strip_prefix("TrentService.").unwrap_or(target);
    let now = bailey_runtime::now().0;
    let outcome = if is_signed(&headers, &body, &shared.credentials) {
        lock(&shared.service).answer(action, &body, now)
    } else {
        let message = "the signature does not match".to_owned();
        Err(Refusal { code: "InvalidSignatureException", message })
    };
    let became = outcome.as_ref().map_or_else(|refusal| refusal.code, |_| "ok");
    lock(&shared.answered).push((action.to_owned(), became.to_owned()));
    match outcome {
        Ok(answer) => respond(StatusCode::OK, &answer),
        Err(Refusal { code, message }) => {
            respond(StatusCode::BAD_REQUEST, &json!({"__type": code, "message": message}))
        }
    }
}

fn respond(status: StatusCode, body: &Value) -> Response {
    let headers = [(header::CONTENT_TYPE, "application/x-amz-json-1.1")];
    (status, headers, body.to_string()).into_response()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

/// Whether the request has the signature that these credentials give it.
fn is_signed(headers: &HeaderMap, body: &[u8], credentials: &Credentials) -> bool {
    expected(headers, body, credentials)
        .is_some_and(|expected| expected == text(headers, "authorization"))
}

/// The header that the request should have.
fn expected(headers: &HeaderMap, body: &[u8], credentials: &Credentials) -> Option<String> {
    let form = format_description!("[year][month][day]T[hour][minute][second]Z");
    let date = PrimitiveDateTime::parse(text(headers, "x-amz-date"), form).ok()?.assume_utc();
    let seconds = (date - OffsetDateTime::UNIX_EPOCH).whole_seconds();
    let since_epoch = Duration::from_secs(u64::try_from(seconds).ok()?);
    let url = format!("https://{}/", text(headers, "host"));
    let own = ["content-type", "x-amz-target"].map(|name| (name, text(headers, name)));
    let post = Post { url: &url, headers: &own, body };
    let scope = Scope { service: "kms", region: REGION };
    let all = signed(scope, post, credentials, SystemTime::UNIX_EPOCH + since_epoch).ok()?;
    all.into_iter().find(|(name, _)| name == "authorization").map(|(_, value)| value)
}
