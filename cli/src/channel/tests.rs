use super::*;
use http_body_util::BodyExt as _;
use rcgen::{CertifiedKey, KeyPair, PublicKeyData as _, generate_simple_self_signed};
use rustls::{
    ServerConfig,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
    server::{ClientHello, ResolvesServerCert},
    sign,
};
use std::net::Ipv4Addr;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;

fn private(key: &KeyPair) -> PrivateKeyDer<'static> {
    PrivatePkcs8KeyDer::from(key.serialize_der()).into()
}

fn certificate() -> CertifiedKey<KeyPair> {
    generate_simple_self_signed(vec!["enclave.invalid".to_owned()]).unwrap()
}

/// A server that answers each request of a connection with `hello`; its port.
async fn serve(config: ServerConfig) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let tls = TlsAcceptor::from(Arc::new(config));
        while let Ok((stream, _)) = listener.accept().await {
            // Whoever refuses this server breaks off.
            let Ok(mut stream) = tls.accept(stream).await else { continue };
            let mut head = Vec::new();
            while let Ok(byte) = stream.read_u8().await {
                head.push(byte);
                if head.ends_with(b"\r\n\r\n") {
                    head.clear();
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
                    stream.write_all(answer).await.unwrap();
                }
            }
        }
    });
    port
}

fn server() -> rustls::ConfigBuilder<ServerConfig, rustls::WantsVerifier> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    ServerConfig::builder_with_provider(provider).with_protocol_versions(&[&TLS13]).unwrap()
}

#[tokio::test]
async fn requests_go_over_one_connection_whose_key_is_that_of_its_certificate() {
    let CertifiedKey { cert, signing_key } = certificate();
    let config = server().with_no_client_auth();
    let config = config.with_single_cert(vec![cert.der().clone()], private(&signing_key)).unwrap();
    let port = serve(config).await;
    for host in ["127.0.0.1", "localhost"] {
        let mut channel = Channel::open(host, port).await.unwrap();
        assert_eq!(channel.public_key(), signing_key.subject_public_key_info());
        for _ in 0..2 {
            let request = Request::builder().uri("/").body(Full::default()).unwrap();
            let response = channel.send(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "hello");
        }
    }
}

/// Shows somebody else's certificate, and signs with a key of its own.
#[derive(Debug)]
struct Impostor(Arc<sign::CertifiedKey>);

impl ResolvesServerCert for Impostor {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<sign::CertifiedKey>> {
        Some(Arc::clone(&self.0))
    }
}

#[tokio::test]
async fn whoever_shows_a_certificate_without_having_its_key_is_refused() {
    let genuine = certificate();
    let own = KeyPair::generate().unwrap();
    let signer = aws_lc_rs::sign::any_ecdsa_type(&private(&own)).unwrap();
    let shown = sign::CertifiedKey::new(vec![genuine.cert.der().clone()], signer);
    let impostor = Arc::new(Impostor(Arc::new(shown)));
    let port = serve(server().with_no_client_auth().with_cert_resolver(impostor)).await;
    let refused = Channel::open("127.0.0.1", port).await.unwrap_err();
    assert!(matches!(refused, ChannelError::Forged { .. }), "{refused:?}");
    assert_eq!(refused.exit(), Exit::Negative);
}

#[tokio::test]
async fn whoever_speaks_no_tls_at_all_is_told_apart() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let plain = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
    });
    let refused = Channel::open("127.0.0.1", port).await.unwrap_err();
    assert!(matches!(refused, ChannelError::Handshake { .. }), "{refused:?}");
    // With the task its listener has ended.
    plain.await.unwrap();
    let nobody = Channel::open("127.0.0.1", port).await.unwrap_err();
    assert!(matches!(nobody, ChannelError::Connect { .. }), "{nobody:?}");
    let nameless = Channel::open("not a name", port).await.unwrap_err();
    assert!(matches!(nameless, ChannelError::Name { .. }), "{nameless:?}");
}

#[test]
fn random_bytes_differ() {
    assert_ne!(random::<32>().unwrap(), random::<32>().unwrap());
}
