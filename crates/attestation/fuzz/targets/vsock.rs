//! Reads what comes over an enclave's vsock, and over its workload's socket, in either direction.
#![no_main]

use bailey_attestation_fuzz::timed;
use bailey_vsock::{
    AttestRequest, AttestResponse, DocumentRequest, MAX_REQUEST_LEN, connect, frame,
    workload::{WorkloadRequest, WorkloadResponse},
};

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    timed(input, |bytes| {
        let mut stream = bytes;
        while let Ok(Some(body)) = frame::read(&mut stream, MAX_REQUEST_LEN) {
            assert!(body.len() <= MAX_REQUEST_LEN);
            read(&body);
        }
        read(bytes);
        let _ = connect::parse_request(bytes);
        let _ = connect::parse_reply(bytes);
    });
});

/// What was understood can be said again, and means the same.
fn read(body: &[u8]) {
    if let Ok(request) = AttestRequest::parse(body) {
        let again = AttestRequest::parse(&request.to_json().expect("it was JSON"));
        assert_eq!(again.ok(), Some(request));
    }
    if let Ok(request) = DocumentRequest::parse(body) {
        let again = DocumentRequest::parse(&request.to_json().expect("it was JSON"));
        assert_eq!(again.ok(), Some(request));
    }
    if let Ok(request) = WorkloadRequest::parse(body) {
        let again = WorkloadRequest::parse(&request.to_json().expect("it was JSON"));
        assert_eq!(again.ok(), Some(request));
    }
    if let Ok(response) = AttestResponse::parse(body) {
        let again = AttestResponse::parse(&response.to_json().expect("it was JSON"));
        assert_eq!(again.ok(), Some(response));
    }
    if let Ok(response) = WorkloadResponse::parse(body) {
        let again = WorkloadResponse::parse(&response.to_json().expect("it was JSON"));
        assert_eq!(again.ok(), Some(response));
    }
}
