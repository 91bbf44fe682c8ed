//! Documents for the workload, with a key of its own.

use super::enclave::{DOCUMENTS, Enclave, built, serve_nsm, tell, workload};
use bailey_attestation::AttestationDocument;
use bailey_model::Generation;
use bailey_vsock::{
    AttestRequest, AttestResponse, DocumentRequest, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, RefusalCode,
    documents::Client,
    frame,
    workload::{MAX_WORKLOAD_RESPONSE_LEN, WorkloadResponse},
};
use nix::{sys::signal::Signal, unistd::Pid};
use std::{
    fs,
    io::Write as _,
    os::unix::{
        fs::{FileTypeExt as _, PermissionsExt as _},
        net::UnixStream,
    },
    path::Path,
    process::{Command, Output, Stdio},
};

fn parsed(document: &[u8]) -> AttestationDocument {
    AttestationDocument::parse(document).unwrap()
}

/// The environment that the workload says it has.
fn told(enclave: &Enclave) -> String {
    let mut told = enclave.output().entries().filter_map(|entry| tell(&entry.event));
    told.find_map(|line| line.strip_prefix("stdout: ").map(str::to_owned)).unwrap()
}

fn variable<'a>(told: &'a str, name: &str) -> &'a str {
    let prefix = format!("{name}=");
    told.split(' ').find_map(|word| word.strip_prefix(prefix.as_str())).unwrap_or("(unset)")
}

#[test]
fn a_workload_gets_documents_that_vouch_for_its_key_where_its_environment_says() {
    let enclave = Enclave::start(Some(&workload(&["where", "wait"])));
    let told = told(&enclave);
    let keep = Client::new(variable(&told, "KEEP_DOCUMENTS"));
    let request = DocumentRequest::new(*b"key").unwrap();
    let with_key_alone = parsed(&keep.document(&request).unwrap());
    let request = request.with_nonce(*b"nonce").unwrap().with_user_data(*b"data").unwrap();
    let full = parsed(&keep.document(&request).unwrap());
    assert_eq!(full.module_id(), "i-0123456789abcdef0-enc0123456789abcdef");
    let said = |document: &AttestationDocument| {
        [document.public_key(), document.nonce(), document.user_data()]
            .map(|field| field.unwrap_or_default().to_vec())
    };
    assert_eq!(said(&with_key_alone), [b"key".to_vec(), Vec::new(), Vec::new()]);
    assert_eq!(said(&full), [&b"key"[..], b"nonce", b"data"].map(<[u8]>::to_vec));
}

#[test]
fn the_socket_is_its_owners_alone() {
    let enclave = Enclave::start(Some(&workload(&["wait"])));
    let path = enclave.dir.path().join(DOCUMENTS);
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    let directory = fs::metadata(path.parent().unwrap()).unwrap();
    assert_eq!(directory.permissions().mode() & 0o777, 0o711);
}

#[test]
fn what_the_image_says_of_the_variable_stays() {
    let mut workload = workload(&["where", "wait"]);
    workload.env.insert("KEEP_DOCUMENTS".to_owned(), "/of/the/image".to_owned());
    let enclave = Enclave::start(Some(&workload));
    assert_eq!(variable(&told(&enclave), "KEEP_DOCUMENTS"), "/of/the/image");
}

#[test]
fn a_workload_that_is_started_again_still_gets_documents() {
    let mut workload = workload(&["wait"]);
    workload.restart.policy = bailey_enclave_image::workload::RestartPolicy::OnFailure;
    workload.restart.max_in_a_row = 1;
    let enclave = Enclave::start(Some(&workload));
    let mut starts = enclave.output().entries();
    let mut next = || {
        starts.find_map(|entry| match entry.event {
            bailey_vsock::workload::OutputEvent::Started { pid, .. } => Some(pid),
            _ => None,
        })
    };
    let first = Pid::from_raw(next().unwrap().try_into().unwrap());
    nix::sys::signal::kill(first, Signal::SIGKILL).unwrap();
    assert!(next().is_some());
    let request = DocumentRequest::new(*b"key").unwrap();
    assert!(enclave.documents().document(&request).is_ok());
}

#[test]
fn an_enclave_without_a_workload_has_no_such_socket() {
    let enclave = Enclave::start(None);
    assert!(enclave.attests());
    assert!(!enclave.dir.path().join(DOCUMENTS).exists());
}

/// A parent may send what it likes to the ports that it reaches.
#[test]
fn no_port_of_the_parents_makes_a_document_with_a_key() {
    let enclave = Enclave::start(Some(&workload(&["wait"])));
    let workloads = DocumentRequest::new(*b"key").unwrap().with_nonce(*b"nonce").unwrap();

    let mut stream = enclave.connect("attest");
    frame::write(&mut stream, &workloads.to_json().unwrap(), MAX_REQUEST_LEN).unwrap();
    let refusal = answer(&mut stream).into_document().unwrap_err();
    assert_eq!(refusal.code, RefusalCode::InvalidRequest);

    let parents = AttestRequest::new("enc_1".parse().unwrap(), Generation(1), b"nonce".to_vec());
    let mut parents: serde_json::Value =
        serde_json::from_slice(&parents.unwrap().to_json().unwrap()).unwrap();
    parents["public_key"] = "a2V5".into();
    frame::write(&mut stream, parents.to_string().as_bytes(), MAX_REQUEST_LEN).unwrap();
    let document = answer(&mut stream).into_document().unwrap();
    assert_eq!(parsed(&document).public_key().unwrap_or_default(), b"");

    let mut stream = enclave.connect("workload");
    frame::write(&mut stream, &workloads.to_json().unwrap(), MAX_REQUEST_LEN).unwrap();
    let body = frame::read(&mut stream, MAX_WORKLOAD_RESPONSE_LEN).unwrap().unwrap();
    assert!(matches!(WorkloadResponse::parse(&body), Ok(WorkloadResponse::Refused(_))));
}

fn answer(stream: &mut UnixStream) -> AttestResponse {
    AttestResponse::parse(&frame::read(stream, MAX_RESPONSE_LEN).unwrap().unwrap()).unwrap()
}

/// `keep document` with these flags, and with this on its standard input.
fn keep_document(flags: &[&str], socket: Option<&Path>, input: &[u8]) -> Output {
    let mut command = Command::new(built("keep"));
    command.arg("document").args(flags).env_clear();
    if let Some(socket) = socket {
        command.env("KEEP_DOCUMENTS", socket);
    }
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = pipes.spawn().unwrap();
    // It may have ended already, without having read this.
    let _ = child.stdin.take().unwrap().write_all(input);
    child.wait_with_output().unwrap()
}

#[test]
fn a_script_gets_documents_from_a_command() {
    let enclave = Enclave::start(Some(&workload(&["wait"])));
    let socket = enclave.dir.path().join(DOCUMENTS);
    let data = enclave.dir.path().join("data");
    fs::write(&data, "data").unwrap();
    let flags = ["--public-key", "-", "--nonce", "00ff", "--user-data", data.to_str().unwrap()];
    let output = keep_document(&flags, Some(&socket), b"key");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document = parsed(&output.stdout);
    assert_eq!(document.public_key(), Some(&b"key"[..]));
    assert_eq!(document.nonce(), Some(&[0x00, 0xff][..]));
    assert_eq!(document.user_data(), Some(&b"data"[..]));

    for (flags, socket, code, said) in [
        (&["--public-key", "-"][..], None, 1, "KEEP_DOCUMENTS names no socket"),
        (&["--public-key", "/absent"], Some(&*socket), 1, "cannot read /absent"),
        (&["--public-key", "-", "--nonce", ""], Some(&socket), 1, "nonce has 0 bytes"),
        (&["--nonce", "00"], Some(&socket), 2, "usage: keep"),
    ] {
        let output = keep_document(flags, socket, b"key");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), output.stdout.len()), (Some(code), 0), "{stderr}");
        assert!(stderr.contains(said), "{stderr}");
    }
}

/// A process that ends with its test.
struct Keep(std::process::Child);

impl Drop for Keep {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn keep_beside_an_init_of_somebody_elses_hands_out_documents_where_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let _nsm = serve_nsm(&dir.path().join("nsm"));
    let heartbeat = std::os::unix::net::UnixListener::bind(dir.path().join("heartbeat")).unwrap();
    let address = |name: &str| format!("unix:{}", dir.path().join(name).display());
    let start = |documents: &str| {
        let mut command = Command::new(built("keep"));
        command
            .arg("attest")
            .env_clear()
            .env("KEEP_LISTEN", address("attest"))
            .env("KEEP_NSM", address("nsm"))
            .env("KEEP_HEARTBEAT", address("heartbeat"))
            .stderr(Stdio::null());
        if !documents.is_empty() {
            command.env("KEEP_LISTEN_DOCUMENTS", documents);
        }
        let keep = Keep(command.spawn().unwrap());
        // It is bound when it gives its sign of life.
        drop(heartbeat.accept().unwrap());
        keep
    };
    let socket = dir.path().join("keep/documents.sock");
    let request = DocumentRequest::new(*b"key").unwrap();

    let silent = start("");
    assert!(Client::new(&socket).document(&request).is_err());
    drop(silent);

    let _keep = start(&address("keep/documents.sock"));
    let document = Client::new(&socket).document(&request).unwrap();
    assert_eq!(parsed(&document).public_key(), Some(&b"key"[..]));
}
