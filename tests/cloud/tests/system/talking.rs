//! A client that talks to an enclave: to the one that was meant, and to nobody in between.

use crate::{
    images::{self, Image, program},
    networks::free_port,
    system::{LIMIT, System, options, record},
};
use bailey_local_cloud::intercept::{impostor, intercept};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha384};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::Duration,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;

/// A deployed service, and what a client knows of it.
struct Service {
    door: u16,
    image: Image,
    manifest: PathBuf,
}

/// A client's program, with what it trusts.
pub(crate) struct Client {
    pub(crate) root: String,
    pub(crate) dir: TempDir,
}

impl Client {
    /// `bailey talk` to this port, with these flags.
    fn talk(port: u16, path: &str, flags: &[&str]) -> Output {
        let url = format!("https://127.0.0.1:{port}{path}");
        let mut command = Command::new(program("bailey"));
        command.env_clear().args(["talk", &url]).args(flags).output().unwrap()
    }

    /// The same under the local root, to whom this manifest describes.
    pub(crate) fn talk_to(&self, port: u16, path: &str, manifest: &Path, flags: &[&str]) -> Output {
        let usual = ["--root", &self.root, "--expected-pcrs", manifest.to_str().unwrap()];
        Self::talk(port, path, &[&usual, flags].concat())
    }

    /// Once the service can be reached.
    pub(crate) async fn talk_when_up(&self, door: u16, manifest: &Path, flags: &[&str]) -> Output {
        let up = async {
            loop {
                let output = self.talk_to(door, "/", manifest, flags);
                if output.status.code() != Some(2) {
                    return output;
                }
                // The workload may not listen yet, which nothing announces here.
                sleep(Duration::from_millis(50)).await;
            }
        };
        timeout(LIMIT, up).await.unwrap()
    }
}

pub(crate) fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Nothing was printed, for nothing was asked; and why.
pub(crate) fn refused(output: &Output, reason: &str) {
    let said = said(output);
    assert_eq!((output.status.code(), &*output.stdout), (Some(1), &b""[..]), "{said}");
    assert!(said.contains(reason), "{said}");
}

async fn deploy(system: &System, client: &Client, id: &str, debug: bool) -> Service {
    let (inside, door) = (free_port().await, free_port().await);
    let image = images::attested_https(inside);
    system.upload_eif(&format!("{id}.eif"), image.bytes.clone()).await.unwrap();
    let mut configuration = json!({
        "eif_path": format!("s3://your-bucket/{id}.eif"),
        "debug_mode": debug,
        "ingress": [{"parent_port": door, "enclave_port": inside}],
    });
    if !debug {
        configuration["expected_pcrs"] = image.pcrs.clone();
    }
    system.put_record(&record(id, &configuration)).await.unwrap();
    let manifest = client.dir.path().join(format!("{id}.json"));
    fs::write(&manifest, serde_json::to_vec(&image.manifest).unwrap()).unwrap();
    Service { door, image, manifest }
}

/// Answers whoever asks for a document with this one, and keeps what was asked.
async fn replay(document: Vec<u8>) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&heard);
    tokio::spawn(async move {
        let tls = TlsAcceptor::from(Arc::new(impostor().unwrap()));
        while let Ok((stream, _)) = listener.accept().await {
            let mut stream = tls.accept(stream).await.unwrap();
            let mut answered = 0;
            while let Ok(byte) = stream.read_u8().await {
                log.lock().unwrap().push(byte);
                let asked = log.lock().unwrap().windows(4).filter(|it| it == b"\r\n\r\n").count();
                if asked > answered {
                    answered = asked;
                    let answer =
                        format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", document.len());
                    stream.write_all(answer.as_bytes()).await.unwrap();
                    stream.write_all(&document).await.unwrap();
                }
            }
        }
    });
    (port, heard)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_talks_to_the_enclave_that_was_meant_and_to_nobody_in_between() {
    let mut system = System::of(options(&[])).await;
    system.cloud.start_coordinator().unwrap();
    let root = system.trusted_root().display().to_string();
    let client = Client { root, dir: tempfile::tempdir().unwrap() };
    let service = deploy(&system, &client, "service", false).await;
    let debugged = deploy(&system, &client, "debugged", true).await;
    for id in ["service", "debugged"] {
        system.reaches(id, "DEPLOYED").await;
    }

    let greeted = client.talk_when_up(service.door, &service.manifest, &[]).await;
    assert_eq!(greeted.status.code(), Some(0), "{}\n{}", said(&greeted), system.logs());
    assert!(greeted.stdout.starts_with(b"An HTTPS service in an AWS Nitro Enclave."));
    for proven in ["proven to be the enclave that was meant", "key      vouched for", "not AWS's"] {
        assert!(said(&greeted).contains(proven), "{}", said(&greeted));
    }
    stamps(&client, &service);

    // Between client and enclave.
    let middle = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let port = middle.local_addr().unwrap().port();
    let genuine = SocketAddr::from((Ipv4Addr::LOCALHOST, service.door));
    tokio::spawn(intercept(middle, genuine));
    let output = client.talk_to(port, "/", &service.manifest, &[]);
    refused(&output, "the document vouches for another key");

    // With what the enclave once said.
    let uri = format!("/.well-known/attestation?nonce={}", "07".repeat(32));
    let document = client.talk_to(service.door, &uri, &service.manifest, &[]);
    let (port, heard) = replay(document.stdout).await;
    let output = client.talk_to(port, "/stamp", &service.manifest, &["--data", "a secret"]);
    refused(&output, "the document answers another nonce");
    let heard = String::from_utf8(heard.lock().unwrap().clone()).unwrap();
    assert!(heard.starts_with("GET /.well-known/attestation?nonce="), "{heard}");
    assert!(!heard.contains("secret") && !heard.contains("/stamp"), "{heard}");

    // Genuine enclaves that are not the one.
    refused(
        &client.talk_to(service.door, "/", &debugged.manifest, &[]),
        "another image runs there",
    );
    let manifest = service.manifest.to_str().unwrap();
    let output = Client::talk(service.door, "/", &["--expected-pcrs", manifest]);
    refused(&output, "no trusted root vouches for the document");
    let output = client.talk_to(service.door, "/", &service.manifest, &["--instance-id", "i-0"]);
    refused(&output, "the enclave runs on another parent");
    let output = client.talk_when_up(debugged.door, &debugged.manifest, &[]).await;
    refused(&output, "the enclave runs in debug mode");
    let output = client.talk_to(debugged.door, "/", &debugged.manifest, &["--allow-debug"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("DEBUG MODE"), "{}", said(&output));

    system.destroy_all_but_end(&["service", "debugged"]).await;
    let output = client.talk_to(service.door, "/", &service.manifest, &[]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    system.end().await;
}

/// What is posted to the service is stamped by the enclave's module, and anybody can verify the stamp.
fn stamps(client: &Client, service: &Service) {
    let output = client.talk_to(service.door, "/stamp", &service.manifest, &["--data", "hello"]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let stamp = client.dir.path().join("stamp");
    fs::write(&stamp, &output.stdout).unwrap();
    let pcr0 = format!("0={}", service.image.pcrs["0"].as_str().unwrap());
    let verified = Command::new(program("bailey"))
        .env_clear()
        .args(["verify", "--json", "--root", &client.root, "--pcr", &pcr0])
        .arg(&stamp)
        .output()
        .unwrap();
    assert_eq!(verified.status.code(), Some(0), "{}", said(&verified));
    let verified: Value = serde_json::from_slice(&verified.stdout).unwrap();
    assert_eq!(verified["document"]["user_data"], hex::encode(Sha384::digest(b"hello")));

    let missing = client.talk_to(service.door, "/nothing", &service.manifest, &[]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(missing.stdout.starts_with(b"there is nothing here"));
    let unnamed = Client::talk(service.door, "/", &["--pcr", &format!("3={}", "00".repeat(48))]);
    assert_eq!(unnamed.status.code(), Some(2));
    assert!(said(&unnamed).contains("these measurements name no image"), "{}", said(&unnamed));
}
