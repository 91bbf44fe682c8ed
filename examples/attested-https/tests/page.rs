//! The ten lines of docs/networking.md, as they stand there.

#![allow(clippy::unwrap_used, reason = "lines that cannot be run have failed their test")]

use bailey_vsock::{AttestResponse, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, frame};
use std::os::unix::net::UnixListener;

/// What the page shows; the comments say where it begins and ends.
fn shown() -> Result<(Vec<u8>, Vec<u8>), Box<dyn std::error::Error>> {
    // begin
    use bailey_vsock::{DocumentRequest, documents::Client};
    use rcgen::PublicKeyData as _;

    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)?;
    let certificate =
        rcgen::CertificateParams::new(vec!["enclave.invalid".into()])?.self_signed(&key)?;
    // Serve TLS 1.3 with both; no resumption, so that every connection shows the certificate. Then,
    // for GET /.well-known/attestation?nonce=HEX, whose answer is the document's bytes:
    let attest = |nonce: Vec<u8>| -> Result<Vec<u8>, Box<dyn std::error::Error>> {
        let request = DocumentRequest::new(key.subject_public_key_info())?.with_nonce(nonce)?;
        Ok(Client::from_env()?.document(&request)?)
    };
    // end
    Ok((certificate.der().to_vec(), attest(b"nonce".to_vec())?))
}

#[test]
fn the_lines_of_the_networking_page_are_these() {
    let page = include_str!("../../../docs/networking.md");
    let (_, rest) =
        page.split_once("<!-- tested: a certificate of your own -->\n```rust\n").unwrap();
    let (on_page, _) = rest.split_once("```").unwrap();
    let (_, rest) = include_str!("page.rs").split_once("// begin\n").unwrap();
    let (here, _) = rest.split_once("    // end\n").unwrap();
    // However a formatter breaks the lines.
    let words = |text: &str| text.split_whitespace().collect::<String>();
    assert_eq!(words(on_page), words(here));
}

#[test]
fn they_make_a_certificate_and_a_document_for_its_key() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("documents.sock");
    let listener = UnixListener::bind(&path).unwrap();
    // A keep that answers with the request itself.
    let keep = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let body = frame::read(&mut stream, MAX_REQUEST_LEN).unwrap().unwrap();
        let answer = AttestResponse::Document(body).to_json().unwrap();
        frame::write(&mut stream, &answer, MAX_RESPONSE_LEN).unwrap();
    });
    let program = std::env::current_exe().unwrap();
    // The variable of a process cannot be set without `unsafe`, so this is another one.
    let shown = std::process::Command::new(program)
        .args(["--exact", "in_a_process_with_the_variable", "--ignored"])
        .env("KEEP_DOCUMENTS", &path)
        .output()
        .unwrap();
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stdout));
    keep.join().unwrap();
}

#[test]
#[ignore = "the test above runs it in a process of its own"]
fn in_a_process_with_the_variable() {
    let (certificate, document) = shown().unwrap();
    let asked = bailey_vsock::DocumentRequest::parse(&document).unwrap();
    assert_eq!(asked.nonce(), Some(&b"nonce"[..]));
    assert!(certificate.windows(asked.public_key().len()).any(|it| it == asked.public_key()));
}
