//! One connection over TLS, whoever is at its other end, and requests over it.
//!
//! No authority vouches for the certificate; its key is what the enclave's document has to vouch for. That
//! the other end *has* this key is checked in the handshake, and nothing is resumed: so the key that
//! [`Channel::public_key`] returns is that of whoever reads what is sent.

mod accept;

use crate::exit::{Advise, Exit};
use accept::AnyCertificate;
use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
};
use hyper_util::rt::TokioIo;
use rustls::{
    CertificateError, ClientConfig,
    client::Resumption,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{InvalidDnsNameError, ServerName},
    server::ParsedCertificate,
    version::TLS13,
};
use std::{io, sync::Arc};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

/// A connection over which requests are sent, one after the other; it is never replaced by another one.
#[derive(Debug)]
pub(crate) struct Channel {
    requests: SendRequest<Full<Bytes>>,
    public_key: Vec<u8>,
}

impl Channel {
    /// Connects to `host`, a name or an address, and shakes hands: TLS 1.3 alone, HTTP/1.1.
    pub(crate) async fn open(host: &str, port: u16) -> Result<Self, ChannelError> {
        let named = || format!("{host}:{port}");
        let unbracketed = host.trim_start_matches('[').trim_end_matches(']');
        let name = ServerName::try_from(unbracketed.to_owned())
            .map_err(|source| ChannelError::Name { source })?;
        let stream = TcpStream::connect((unbracketed, port))
            .await
            .map_err(|source| ChannelError::Connect { target: named(), source })?;
        let tls = TlsConnector::from(config()?).connect(name, stream).await;
        let stream = tls.map_err(|source| ChannelError::handshake(named(), source))?;
        let public_key = public_key(&stream)?;
        let (requests, connection) = http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|source| ChannelError::Http { source })?;
        // What goes wrong there, the request under way tells.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self { requests, public_key })
    }

    /// The key of the certificate that this connection showed: its `SubjectPublicKeyInfo`, in DER.
    pub(crate) fn public_key(&self) -> &[u8] {
        &self.public_key
    }

    /// Sends a request once the connection is free, and waits for the answer's head.
    pub(crate) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, ChannelError> {
        self.requests.ready().await.map_err(|source| ChannelError::Http { source })?;
        self.requests.send_request(request).await.map_err(|source| ChannelError::Http { source })
    }
}

fn config() -> Result<Arc<ClientConfig>, ChannelError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])
        .map_err(|source| ChannelError::Tls { source })?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate::new(&provider)))
        .with_no_client_auth();
    config.resumption = Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn public_key(stream: &TlsStream<TcpStream>) -> Result<Vec<u8>, ChannelError> {
    let (_, tls) = stream.get_ref();
    let certificate = tls.peer_certificates().and_then(<[_]>::first);
    let certificate = certificate.ok_or(ChannelError::NoCertificate)?;
    let parsed =
        ParsedCertificate::try_from(certificate).map_err(|source| ChannelError::Tls { source })?;
    Ok(parsed.subject_public_key_info().to_vec())
}

/// Random bytes for a nonce.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], ChannelError> {
    let CryptoProvider { secure_random, .. } = aws_lc_rs::default_provider();
    let mut bytes = [0; N];
    secure_random.fill(&mut bytes).map_err(|_| ChannelError::Random)?;
    Ok(bytes)
}

/// Why there is no connection, or no answer on it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ChannelError {
    /// Nobody listens there, or there is no such name.
    #[error("cannot connect to {target}")]
    Connect { target: String, source: io::Error },
    /// The other end does not have the key of the certificate that it shows.
    #[error("{target} does not have the key of the certificate that it shows")]
    Forged { target: String, source: io::Error },
    /// The other end speaks no TLS 1.3, or broke off.
    #[error("no TLS 1.3 with {target}")]
    Handshake { target: String, source: io::Error },
    /// The other end broke off, or speaks no HTTP.
    #[error("the connection broke")]
    Http { source: hyper::Error },
    /// The host is neither a name nor an address.
    #[error("the URL's host is no name")]
    Name { source: InvalidDnsNameError },
    /// A handshake without a certificate.
    #[error("the service shows no certificate")]
    NoCertificate,
    /// The system has no random bytes.
    #[error("there are no random bytes")]
    Random,
    /// TLS cannot be set up, or the certificate cannot be read.
    #[error("TLS cannot be used")]
    Tls { source: rustls::Error },
}

impl ChannelError {
    fn handshake(target: String, source: io::Error) -> Self {
        let reason = source.get_ref().and_then(|err| err.downcast_ref::<rustls::Error>());
        match reason {
            Some(rustls::Error::InvalidCertificate(CertificateError::BadSignature)) => {
                Self::Forged { target, source }
            }
            _ => Self::Handshake { target, source },
        }
    }
}

impl Advise for ChannelError {
    fn exit(&self) -> Exit {
        match self {
            Self::Forged { .. } | Self::NoCertificate => Exit::Negative,
            _ => Exit::Unable,
        }
    }
}

#[cfg(test)]
mod tests;
