//! Asking an enclave for an attestation document, and checking it.
//!
//! # Expected flow
//! An enclave needs a moment from its heartbeat to its listener, so connections are tried until the
//! deadline. What answers must answer well: one response that is not a good document ends it.
//!
//! # Caveats
//! The agent checks so that a bad image fails fast and says why. Nobody believes the agent: the
//! coordinator verifies the same document again by what the ledger says.

use crate::{
    ports::{AttestOrder, Cause, Responders},
    vsock::{self, ConnectError, ReadFrameError, Vsock},
};
use bailey_attestation::{
    BytesRule, ChainCache, DebugRule, InstanceBinding, ModuleIdRule, PcrRule, PcrWanted, Policy,
    Rejection, TrustedRoots, VerifyTime, verify_cached,
};
use bailey_model::{UnixMillis, binding, failure::FailureCode};
use bailey_vsock::{
    ATTESTATION_PORT, AttestRequest, AttestResponse, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, Refusal,
    RefusalCode, RequestError, ResponseError,
    frame::{self, FrameError},
};
use std::{io, sync::Arc, time::Duration};
use tokio::{
    io::AsyncWriteExt,
    time::{sleep, timeout},
};

/// Enclave and parent drift apart by seconds a week; five minutes is what verifiers usually allow.
const SKEW_MS: u64 = 300_000;
/// An enclave answers within milliseconds; one that accepts and is silent is asked again.
const TRY_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Asks enclaves of this instance over vsock.
#[derive(Clone, Debug)]
pub struct VsockResponders {
    /// How enclaves are reached.
    pub vsock: Vsock,
    /// Under which roots a document is accepted.
    pub roots: TrustedRoots,
    /// Certificate chains that were verified before.
    pub chains: Arc<ChainCache>,
    /// The instance that documents must name.
    pub instance_id: String,
    /// How long one nonce may take, all tries together.
    pub timeout: Duration,
}

impl Responders for VsockResponders {
    type Error = AttestError;

    async fn attest(&self, order: AttestOrder) -> Result<Vec<u8>, AttestError> {
        let request =
            AttestRequest::new(order.enclave_id.clone(), order.generation, order.nonce.clone())
                .and_then(|request| request.to_json())
                .map_err(AttestError::Request)?;
        let mut last = None;
        let document = timeout(self.timeout, self.ask(order.cid, &request, &mut last))
            .await
            .unwrap_or(Err(AttestError::NoAnswer { within: self.timeout, last }))?;
        let policy = self.policy(&order, bailey_runtime::now());
        let verification = verify_cached(&document, &policy, &self.chains);
        match verification.result {
            Ok(_) => Ok(document),
            Err(source) => Err(AttestError::Rejected { code: source.code(), source }),
        }
    }
}

impl VsockResponders {
    /// Asks until there is an answer; `last` holds the reason why the last try had none.
    async fn ask(
        &self,
        cid: u32,
        request: &[u8],
        last: &mut Option<TryError>,
    ) -> Result<Vec<u8>, AttestError> {
        let mut pause = FIRST_PAUSE;
        loop {
            let outcome = timeout(TRY_TIMEOUT, self.exchange(cid, request)).await;
            match outcome.unwrap_or(Err(TryError::Silent { within: TRY_TIMEOUT })) {
                Ok(response) => match response.into_document() {
                    Ok(document) => return Ok(document),
                    Err(refusal) if refusal.code == RefusalCode::NsmFailed => {
                        *last = Some(TryError::Refused(refusal));
                    }
                    Err(refusal) => return Err(AttestError::Refused(refusal)),
                },
                Err(TryError::Frame(source @ FrameError::TooLong { .. })) => {
                    return Err(AttestError::Frame(source));
                }
                Err(TryError::Response(source)) => return Err(AttestError::Response(source)),
                Err(error) => *last = Some(error),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn exchange(&self, cid: u32, request: &[u8]) -> Result<AttestResponse, TryError> {
        let mut stream =
            self.vsock.connect(cid, ATTESTATION_PORT).await.map_err(TryError::Connect)?;
        let frame = frame::encode(request, MAX_REQUEST_LEN).map_err(TryError::Frame)?;
        stream.write_all(&frame).await.map_err(TryError::Io)?;
        let body = vsock::read_frame(&mut *stream, MAX_RESPONSE_LEN).await?;
        AttestResponse::parse(&body).map_err(TryError::Response)
    }

    fn policy(&self, order: &AttestOrder, now: UnixMillis) -> Policy {
        let binding =
            binding::user_data(order.enclave_id.as_str(), order.generation.0, &order.nonce);
        Policy {
            roots: self.roots.clone(),
            time: VerifyTime::At(now.0),
            skew_ms: SKEW_MS,
            max_age_ms: Some(SKEW_MS),
            issued_at_ms: None,
            nonce: BytesRule::Exactly(order.nonce.clone()),
            user_data: BytesRule::Exactly(binding.to_vec()),
            public_key: BytesRule::Absent,
            module_id: ModuleIdRule::Any,
            instance: Some(InstanceBinding {
                instance_id: self.instance_id.clone(),
                role_arn: None,
            }),
            debug: if order.debug { DebugRule::Allow } else { DebugRule::Refuse },
            pcrs: order
                .measurements
                .iter()
                .map(|(index, pcr)| PcrRule { index: *index, wanted: PcrWanted::Exactly(pcr.0) })
                .collect(),
        }
    }
}

/// Why one try had no answer.
#[derive(Debug, thiserror::Error)]
pub enum TryError {
    /// There is no connection.
    #[error(transparent)]
    Connect(ConnectError),
    /// The answer is not a frame.
    #[error(transparent)]
    Frame(FrameError),
    /// The connection broke.
    #[error("the connection broke")]
    Io(#[source] io::Error),
    /// The enclave could not make a document.
    #[error(transparent)]
    Refused(Refusal),
    /// The answer is not a response.
    #[error(transparent)]
    Response(ResponseError),
    /// The enclave accepted and said nothing.
    #[error("the enclave accepted a connection and was silent for {} s", within.as_secs())]
    Silent {
        /// How long it was waited for.
        within: Duration,
    },
}

impl From<ReadFrameError> for TryError {
    fn from(err: ReadFrameError) -> Self {
        match err {
            ReadFrameError::Frame(source) => Self::Frame(source),
            ReadFrameError::Io(source) => Self::Io(source),
        }
    }
}

/// Why there is no acceptable document.
#[derive(Debug, thiserror::Error)]
pub enum AttestError {
    /// The enclave answered with more than a document can be.
    #[error("the enclave's answer is not a frame of the attestation protocol")]
    Frame(#[source] FrameError),
    /// The enclave did not answer in time.
    #[error("no answer on vsock port {ATTESTATION_PORT} within {} s", within.as_secs_f32())]
    NoAnswer {
        /// How long it was tried.
        within: Duration,
        /// Why the last try failed.
        #[source]
        last: Option<TryError>,
    },
    /// The enclave refuses to answer for this assignment.
    #[error("the enclave answers no document")]
    Refused(#[source] Refusal),
    /// The document does not verify.
    #[error("the enclave's document was rejected ({code})")]
    Rejected {
        /// The rejection's stable code.
        code: &'static str,
        /// The rejection.
        source: Rejection,
    },
    /// The nonce cannot be sent.
    #[error("cannot ask for a document with this nonce")]
    Request(#[source] RequestError),
    /// The enclave answered with something else than a response.
    #[error("the enclave's answer is not a response of the attestation protocol")]
    Response(#[source] ResponseError),
}

impl Cause for AttestError {
    fn code(&self) -> FailureCode {
        match self {
            Self::NoAnswer { .. } => FailureCode::AttestationUnavailable,
            Self::Frame(_)
            | Self::Refused(_)
            | Self::Rejected { .. }
            | Self::Request(_)
            | Self::Response(_) => FailureCode::AttestationRejected,
        }
    }

    fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Rejected { code, .. } if OF_THE_CLOCK.contains(code) => {
                Some("the parent's clock is wrong: see chronyd there, and run `bailey-agent check`")
            }
            _ => None,
        }
    }
}

/// Rejections of a document that was made this moment: one of the two clocks is wrong, and the module's is
/// AWS's own.
const OF_THE_CLOCK: [&str; 4] =
    ["certificate_expired", "certificate_not_yet_valid", "timestamp_in_future", "too_old"];

#[cfg(test)]
#[path = "attest_tests.rs"]
mod tests;
