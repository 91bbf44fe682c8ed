//! Somebody between a client and an enclave, who ends TLS in between: reads and could change all that is
//! said, unless the client asks whose key that is.

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{
    ClientConfig, DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName, UnixTime},
};
use std::{io, net::SocketAddr, sync::Arc};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// Carries what is said on each connection to the service at `target` and back, for ever; TLS is ended here
/// with a certificate of our own, and spoken anew with the service.
pub async fn intercept(listener: TcpListener, target: SocketAddr) -> io::Result<()> {
    let towards_clients = TlsAcceptor::from(Arc::new(impostor()?));
    let towards_service = TlsConnector::from(Arc::new(careless()?));
    loop {
        let (client, _) = listener.accept().await?;
        let (accept, connect) = (towards_clients.clone(), towards_service.clone());
        tokio::spawn(async move {
            // Whoever breaks off has found out, or is done.
            let _ = carry(client, target, &accept, &connect).await;
        });
    }
}

async fn carry(
    client: TcpStream,
    target: SocketAddr,
    accept: &TlsAcceptor,
    connect: &TlsConnector,
) -> io::Result<()> {
    let service = TcpStream::connect(target).await?;
    let mut service = connect.connect(ServerName::from(target.ip()), service).await?;
    let mut client = accept.accept(client).await?;
    copy_bidirectional(&mut client, &mut service).await.map(drop)
}

/// The server's side of TLS with a new key, in a certificate that anybody can make.
pub fn impostor() -> io::Result<ServerConfig> {
    let made = generate_simple_self_signed(vec!["enclave.invalid".to_owned()]);
    let CertifiedKey { cert, signing_key } = made.map_err(io::Error::other)?;
    let signing_key: KeyPair = signing_key;
    let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
    ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key.into())
        .map_err(io::Error::other)
}

fn careless() -> io::Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody { provider }))
        .with_no_client_auth();
    Ok(config)
}

/// Takes anybody for the service, as whoever only wants to listen does.
#[derive(Debug)]
struct Anybody {
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
