//! From a request's bytes to a response, and to whom this enclave belongs.

use super::{
    chain,
    nsm::{AttestationInput, NsmError, SecurityModule},
    serve::{ConverseError, Peer, Service},
};
use bailey_model::{EnclaveId, Generation};
use bailey_vsock::{
    AttestRequest, AttestResponse, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, RefusalCode,
    frame::FrameError,
};
use std::sync::{Mutex, PoisonError};

/// Answers requests for documents, for one assignment only.
///
/// The first request that gets a document *pins* its enclave id and generation; any other is
/// refused from then on. This code is measured, so a verified document is proof that the enclave
/// answers for no other assignment. Nothing but a new enclave removes the pin.
#[derive(Debug)]
pub struct Responder<N> {
    nsm: N,
    pin: Mutex<Option<Identity>>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
struct Identity {
    enclave_id: EnclaveId,
    generation: Generation,
}

impl<N: SecurityModule> Responder<N> {
    /// A responder that has answered nobody yet.
    #[must_use]
    pub fn new(nsm: N) -> Self {
        Self { nsm, pin: Mutex::new(None) }
    }

    /// Answers the body of one frame; whatever it holds, there is an answer.
    pub fn answer(&self, body: &[u8]) -> AttestResponse {
        match AttestRequest::parse(body) {
            Ok(request) => self.attest(&request),
            Err(err) => {
                log::warn!(error = chain(&err).as_str(); "request refused");
                AttestResponse::refused(RefusalCode::InvalidRequest, chain(&err))
            }
        }
    }

    fn attest(&self, request: &AttestRequest) -> AttestResponse {
        let wanted =
            Identity { enclave_id: request.enclave_id().clone(), generation: request.generation() };
        // A thread that panicked while it held the lock left the pin as it was.
        let mut pin = self.pin.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = match &*pin {
            Some(pinned) if *pinned != wanted => return refuse(pinned, &wanted),
            Some(_) => {
                drop(pin);
                self.document(request)
            }
            // Nobody else is answered until it is known whether this identity becomes the pin.
            None => self.document(request).inspect(|_| *pin = Some(wanted.clone())),
        };
        respond(outcome, &wanted)
    }

    fn document(&self, request: &AttestRequest) -> Result<Vec<u8>, NsmError> {
        self.nsm.attest(AttestationInput {
            user_data: Some(request.user_data().to_vec()),
            nonce: Some(request.nonce().to_vec()),
            public_key: None,
        })
    }
}

impl<N: SecurityModule> Service for Responder<N> {
    fn converse(&self, peer: &mut Peer) -> Result<(), ConverseError> {
        answer_each(peer, |body| self.answer(body))
    }

    fn turned_away(&self, message: String) -> Option<Vec<u8>> {
        too_many(message)
    }
}

/// Answers one request after the other until the peer leaves.
pub(super) fn answer_each(
    peer: &mut Peer,
    answer: impl Fn(&[u8]) -> AttestResponse,
) -> Result<(), ConverseError> {
    loop {
        match peer.read(MAX_REQUEST_LEN) {
            Ok(Some(body)) => send(peer, &answer(&body))?,
            Ok(None) => return Ok(()),
            // Where the next frame starts is unknown, so this answer is the last.
            Err(err @ FrameError::TooLong { .. }) => {
                let code = RefusalCode::InvalidRequest;
                return send(peer, &AttestResponse::refused(code, err.to_string()));
            }
            Err(err) => return Err(ConverseError::Frame(err)),
        }
    }
}

/// What a peer hears for whom there is no seat: asking again may help.
pub(super) fn too_many(message: String) -> Option<Vec<u8>> {
    AttestResponse::refused(RefusalCode::NsmFailed, message).to_json().ok()
}

fn send(peer: &mut Peer, response: &AttestResponse) -> Result<(), ConverseError> {
    let body = response.to_json().map_err(|err| ConverseError::Response(err.into()))?;
    peer.write(&body, MAX_RESPONSE_LEN)
}

fn refuse(pinned: &Identity, wanted: &Identity) -> AttestResponse {
    log::warn!(
        enclave_id = pinned.enclave_id.as_str(),
        generation = pinned.generation.0,
        wanted_enclave_id = wanted.enclave_id.as_str(),
        wanted_generation = wanted.generation.0;
        "another identity refused"
    );
    let message = format!(
        "this enclave answers for {} generation {} only",
        pinned.enclave_id, pinned.generation
    );
    AttestResponse::refused(RefusalCode::IdentityPinned, message)
}

fn respond(outcome: Result<Vec<u8>, NsmError>, identity: &Identity) -> AttestResponse {
    let (enclave_id, generation) = (identity.enclave_id.as_str(), identity.generation.0);
    match outcome {
        Ok(document) => {
            log::info!(enclave_id = enclave_id, generation = generation; "document issued");
            AttestResponse::Document(document)
        }
        Err(err) => {
            let error = chain(&err);
            log::error!(enclave_id = enclave_id, generation = generation, error = error.as_str(); "no document");
            AttestResponse::refused(RefusalCode::NsmFailed, error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_model::binding;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Echoes what it was asked to sign, or fails.
    #[derive(Debug, Default)]
    struct EchoNsm {
        fails: AtomicBool,
    }

    impl SecurityModule for EchoNsm {
        fn attest(&self, input: AttestationInput) -> Result<Vec<u8>, NsmError> {
            if self.fails.load(Ordering::Relaxed) {
                return Err(NsmError::Refused { code: "InternalError".into() });
            }
            let AttestationInput { user_data, nonce, public_key } = input;
            Ok([user_data, nonce, public_key].map(Option::unwrap_or_default).concat())
        }
    }

    fn request(id: &str, generation: u64) -> Vec<u8> {
        AttestRequest::new(id.parse().unwrap(), Generation(generation), b"nonce".to_vec())
            .unwrap()
            .to_json()
            .unwrap()
    }

    fn code(response: AttestResponse) -> Option<RefusalCode> {
        response.into_document().err().map(|refusal| refusal.code)
    }

    #[test]
    fn the_document_holds_binding_and_nonce() {
        let response = Responder::new(EchoNsm::default()).answer(&request("enc_1", 3));
        let binding = binding::user_data("enc_1", 3, b"nonce");
        let expected = [&binding[..], b"nonce"].concat();
        assert_eq!(response, AttestResponse::Document(expected));
    }

    /// Such a document would make the parent's key pass for the enclave's.
    #[test]
    fn a_public_key_that_a_parent_sends_does_not_get_into_the_document() {
        let mut body: serde_json::Value = serde_json::from_slice(&request("enc_1", 3)).unwrap();
        body["public_key"] = "a2V5".into();
        let with_key = Responder::new(EchoNsm::default()).answer(body.to_string().as_bytes());
        let without = Responder::new(EchoNsm::default()).answer(&request("enc_1", 3));
        assert_eq!(with_key, without);
    }

    #[test]
    fn the_first_answer_pins_enclave_and_generation() {
        let responder = Responder::new(EchoNsm::default());
        assert_eq!(code(responder.answer(&request("enc_1", 3))), None);
        assert_eq!(code(responder.answer(&request("enc_1", 3))), None);
        for (id, generation) in [("enc_1", 4), ("enc_1", 2), ("enc_2", 3)] {
            let response = responder.answer(&request(id, generation));
            assert_eq!(
                response.into_document().unwrap_err().to_string(),
                "the enclave refused (IdentityPinned): \
                 this enclave answers for enc_1 generation 3 only"
            );
        }
        assert_eq!(code(responder.answer(&request("enc_1", 3))), None);
    }

    #[test]
    fn a_request_without_an_answer_pins_nothing() {
        let responder = Responder::new(EchoNsm::default());
        responder.nsm.fails.store(true, Ordering::Relaxed);
        assert_eq!(code(responder.answer(&request("enc_1", 3))), Some(RefusalCode::NsmFailed));
        responder.nsm.fails.store(false, Ordering::Relaxed);
        assert_eq!(code(responder.answer(&request("enc_2", 1))), None);
    }

    #[test]
    fn a_malformed_request_is_refused_with_its_reason() {
        let responder = Responder::new(EchoNsm::default());
        let response =
            responder.answer(br#"{"version":1,"enclave_id":"a","generation":1,"nonce":""}"#);
        assert_eq!(
            response,
            AttestResponse::refused(
                RefusalCode::InvalidRequest,
                "the nonce has 0 bytes, allowed are 1 to 512"
            )
        );
        assert_eq!(code(responder.answer(b"\xff")), Some(RefusalCode::InvalidRequest));
    }
}
