//! What a rogue answers.

use std::io::{self, Read, Write};

use bailey_model::binding;
use bailey_simulated_nsm::api::{Request, Response};
use bailey_vsock::{AttestRequest, AttestResponse, MAX_RESPONSE_LEN, frame};
use serde_bytes::ByteBuf;

use super::Mode;

/// What comes after an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// The next request.
    Continue,
    /// The end of the program.
    End,
    /// Nothing more on this connection, which stays open.
    Hold,
}

/// How many bytes an answer claims to have in [`Mode::Huge`].
const HUGE: u32 = 1 << 30;

/// The bytes to send for `request`, and what to do then.
pub(super) fn answer(
    mode: Mode,
    request: &AttestRequest,
    nsm: &mut (impl Read + Write),
) -> io::Result<(Vec<u8>, Next)> {
    let mut nonce = request.nonce().to_vec();
    let mut user_data = request.user_data();
    match mode {
        Mode::Garbage => {
            let body = b"\x00\xFFthis is no JSON\xC3\x28";
            let bytes = frame::encode(body, MAX_RESPONSE_LEN).map_err(io::Error::other)?;
            return Ok((bytes, Next::Continue));
        }
        Mode::Huge => return Ok((HUGE.to_be_bytes().to_vec(), Next::Hold)),
        Mode::WrongNonce => flip(&mut nonce),
        Mode::WrongBinding => {
            user_data = binding::user_data("another", request.generation().0, request.nonce());
        }
        _ => {}
    }
    let mut document = attest(nsm, nonce, &user_data)?;
    if mode == Mode::Flipped {
        // A document ends with its signature.
        flip(&mut document);
    }
    let body = AttestResponse::Document(document).to_json().map_err(io::Error::other)?;
    let bytes = frame::encode(&body, MAX_RESPONSE_LEN).map_err(io::Error::other)?;
    Ok((bytes, if mode == Mode::Dies { Next::End } else { Next::Continue }))
}

/// Flips one bit of the last byte.
fn flip(bytes: &mut [u8]) {
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
}

fn attest(nsm: &mut (impl Read + Write), nonce: Vec<u8>, user_data: &[u8]) -> io::Result<Vec<u8>> {
    let request = Request::Attestation {
        nonce: Some(ByteBuf::from(nonce)),
        user_data: Some(ByteBuf::from(user_data)),
        public_key: None,
    };
    let mut body = Vec::new();
    ciborium::into_writer(&request, &mut body).map_err(io::Error::other)?;
    let limit = bailey_simulated_nsm::MAX_REQUEST_BYTES;
    frame::write(nsm, &body, limit).map_err(io::Error::other)?;
    let limit = bailey_simulated_nsm::MAX_RESPONSE_BYTES;
    let body = frame::read(nsm, limit).map_err(io::Error::other)?.unwrap_or_default();
    match ciborium::from_reader(body.as_slice()).map_err(io::Error::other)? {
        Response::Attestation { document } => Ok(document),
        other => Err(io::Error::other(format!("the NSM answered {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_simulated_nsm::{Authority, Enclave, Mode as Run, SimulatedNsm};
    use std::os::unix::net::UnixStream;
    use std::thread;

    /// The answer to one request, over a real module.
    fn answered(mode: Mode) -> (Vec<u8>, Next) {
        let parent = Authority::generate().unwrap().instance("i-0", "role", 0).unwrap();
        let measurements = std::collections::BTreeMap::new();
        let module_id = "i-0-enc01".to_owned();
        let enclave = Enclave { module_id, measurements, mode: Run::Production };
        let nsm = SimulatedNsm::new(parent, enclave);
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        let server = thread::spawn(move || nsm.serve_connection(theirs, || 0));
        let id = "enc_1".parse().unwrap();
        let request =
            AttestRequest::new(id, bailey_model::Generation(3), b"nonce".to_vec()).unwrap();
        let answered = answer(mode, &request, &mut ours).unwrap();
        drop(ours);
        server.join().unwrap().unwrap();
        answered
    }

    fn document(mode: Mode) -> Vec<u8> {
        let (bytes, _) = answered(mode);
        let body = frame::read(&mut bytes.as_slice(), MAX_RESPONSE_LEN).unwrap().unwrap();
        AttestResponse::parse(&body).unwrap().into_document().unwrap()
    }

    fn holds(document: &[u8], bytes: &[u8]) -> bool {
        document.windows(bytes.len()).any(|window| window == bytes)
    }

    #[test]
    fn an_honest_document_has_nonce_and_binding() {
        let document = document(Mode::Honest);
        assert!(holds(&document, b"nonce\x00") || holds(&document, b"\x45nonce"));
        assert!(holds(&document, &binding::user_data("enc_1", 3, b"nonce")));
    }

    #[test]
    fn a_wrong_nonce_or_binding_is_in_a_well_formed_document() {
        assert!(!holds(&document(Mode::WrongNonce), b"\x45nonce"));
        let wrong = document(Mode::WrongBinding);
        assert!(!holds(&wrong, &binding::user_data("enc_1", 3, b"nonce")));
    }

    #[test]
    fn garbage_is_a_frame_without_json() {
        let (bytes, next) = answered(Mode::Garbage);
        let body = frame::read(&mut bytes.as_slice(), MAX_RESPONSE_LEN).unwrap().unwrap();
        assert!(AttestResponse::parse(&body).is_err());
        assert_eq!(next, Next::Continue);
    }

    #[test]
    fn a_huge_frame_is_announced_and_never_comes() {
        assert_eq!(answered(Mode::Huge), (vec![0x40, 0, 0, 0], Next::Hold));
    }

    #[test]
    fn the_one_that_dies_answers_first() {
        let (bytes, next) = answered(Mode::Dies);
        assert!(!bytes.is_empty());
        assert_eq!(next, Next::End);
    }
}
