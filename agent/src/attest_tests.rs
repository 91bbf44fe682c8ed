use super::*;
use bailey_model::Generation;
use bailey_simulated_nsm::{Attestation, Authority, Enclave, Mode, SimulatedNsm};
use std::{collections::BTreeMap, path::Path};
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};

const INSTANCE: &str = "i-0123456789abcdef0";
const NONCE: [u8; 32] = [7; 32];

/// What the enclave under test does with a request.
#[derive(Clone, Copy)]
enum Behaviour {
    Answers,
    AnswersForAnotherEnclave,
    ClosesTheConnection,
    IsSilent,
    RefusesAsPinned,
    TalksGarbage,
    ClaimsAHugeFrame,
    VouchesForAKey,
}

struct Setup {
    authority: Authority,
    directory: tempfile::TempDir,
}

impl Setup {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { authority: Authority::generate().unwrap(), directory }
    }

    fn nsm(&self, mode: Mode) -> SimulatedNsm {
        let now = bailey_runtime::now().0;
        let role = "arn:aws:iam::1:role/parent";
        let parent = self.authority.instance(INSTANCE, role, now).unwrap();
        let measurements = BTreeMap::from([(0, [1; 48]), (1, [2; 48]), (2, [3; 48])]);
        let module_id = format!("{INSTANCE}-enc0123456789abcdef");
        SimulatedNsm::new(parent, Enclave { module_id, measurements, mode })
    }

    fn responders(&self, timeout: Duration) -> VsockResponders {
        let root = bailey_attestation::RootFingerprint::of_der(self.authority.certificate_der());
        VsockResponders {
            vsock: Vsock::Unix(self.directory.path().to_owned()),
            roots: TrustedRoots::only(vec![root]),
            chains: Arc::new(ChainCache::new(8)),
            instance_id: INSTANCE.to_owned(),
            timeout,
        }
    }

    fn serve(&self, nsm: SimulatedNsm, behaviour: Behaviour) {
        let listener = listener(self.directory.path());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A client that went away is of no concern to the enclave.
                let _ = answer(stream, &nsm, behaviour).await;
            }
        });
    }
}

fn listener(directory: &Path) -> UnixListener {
    UnixListener::bind(directory.join("16.sock")).unwrap()
}

async fn answer(mut stream: UnixStream, nsm: &SimulatedNsm, how: Behaviour) -> io::Result<()> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        line.push(stream.read_u8().await?);
    }
    stream.write_all(b"OK 5005\n").await?;
    let length = usize::try_from(stream.read_u32().await?).unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    let request = AttestRequest::parse(&body).unwrap();
    let user_data = match how {
        Behaviour::AnswersForAnotherEnclave => binding::user_data("other", 3, request.nonce()),
        _ => request.user_data(),
    };
    let asked = Attestation {
        nonce: Some(request.nonce().to_vec()),
        user_data: Some(user_data.to_vec()),
        public_key: matches!(how, Behaviour::VouchesForAKey).then(|| b"key".to_vec()),
    };
    let document = nsm.attest(&asked, bailey_runtime::now().0).unwrap();
    let response = match how {
        Behaviour::Answers | Behaviour::AnswersForAnotherEnclave | Behaviour::VouchesForAKey => {
            AttestResponse::Document(document).to_json().unwrap()
        }
        Behaviour::RefusesAsPinned => {
            let refused = AttestResponse::refused(RefusalCode::IdentityPinned, "pinned to b");
            refused.to_json().unwrap()
        }
        Behaviour::TalksGarbage => b"garbage".to_vec(),
        Behaviour::ClaimsAHugeFrame => return stream.write_u32(1 << 30).await,
        Behaviour::ClosesTheConnection => return Ok(()),
        Behaviour::IsSilent => std::future::pending().await,
    };
    stream.write_all(&frame::encode(&response, MAX_RESPONSE_LEN).unwrap()).await
}

fn order() -> AttestOrder {
    AttestOrder {
        enclave_id: "enc_1".parse().unwrap(),
        generation: Generation(3),
        cid: 16,
        nonce: NONCE.to_vec(),
        sequence: 1,
        debug: false,
        measurements: (0..3).map(|index| (index, bailey_model::Pcr([index + 1; 48]))).collect(),
    }
}

/// What becomes of `order` when the enclave behaves so.
async fn attested(
    behaviour: Behaviour,
    mode: Mode,
    order: AttestOrder,
) -> Result<Vec<u8>, AttestError> {
    let setup = Setup::new();
    setup.serve(setup.nsm(mode), behaviour);
    setup.responders(Duration::from_secs(30)).attest(order).await
}

async fn rejected(behaviour: Behaviour, mode: Mode, order: AttestOrder) -> String {
    let err = attested(behaviour, mode, order).await.unwrap_err();
    assert_eq!(err.code(), FailureCode::AttestationRejected, "{err:?}");
    bailey_runtime::chain(&err)
}

#[tokio::test]
async fn a_good_document_is_returned_as_it_came() {
    let document = attested(Behaviour::Answers, Mode::Production, order()).await.unwrap();
    assert!(document.len() > 4_000);
}

#[tokio::test]
async fn debug_mode_is_accepted_only_where_it_was_asked_for() {
    let text = rejected(Behaviour::Answers, Mode::Debug, order()).await;
    assert!(text.contains("(debug)"), "{text}");
    let order = AttestOrder { debug: true, measurements: BTreeMap::new(), ..order() };
    attested(Behaviour::Answers, Mode::Debug, order).await.unwrap();
}

#[tokio::test]
async fn an_enclave_with_other_measurements_is_rejected() {
    let mut order = order();
    order.measurements.insert(0, bailey_model::Pcr([9; 48]));
    let text = rejected(Behaviour::Answers, Mode::Production, order).await;
    assert!(text.contains("(pcr_mismatch)"), "{text}");
}

#[tokio::test]
async fn a_document_made_for_another_enclave_is_rejected() {
    let text = rejected(Behaviour::AnswersForAnotherEnclave, Mode::Production, order()).await;
    assert!(text.contains("(user_data_mismatch)"), "{text}");
}

/// Its workload can have any nonce and any user data signed, but never without a key.
#[tokio::test]
async fn a_document_that_was_made_for_a_workload_is_rejected() {
    let text = rejected(Behaviour::VouchesForAKey, Mode::Production, order()).await;
    assert!(text.contains("(public_key_unexpected)"), "{text}");
}

#[tokio::test]
async fn a_document_under_a_local_root_is_rejected_where_only_awss_is_trusted() {
    let setup = Setup::new();
    setup.serve(setup.nsm(Mode::Production), Behaviour::Answers);
    let mut responders = setup.responders(Duration::from_secs(30));
    responders.roots = TrustedRoots::aws();
    let err = responders.attest(order()).await.unwrap_err();
    assert!(err.to_string().contains("(root_not_trusted)"), "{err}");
}

#[tokio::test]
async fn a_document_of_another_instance_is_rejected() {
    let setup = Setup::new();
    setup.serve(setup.nsm(Mode::Production), Behaviour::Answers);
    let mut responders = setup.responders(Duration::from_secs(30));
    responders.instance_id = "i-00000000000000000".to_owned();
    let err = responders.attest(order()).await.unwrap_err();
    assert_eq!(err.code(), FailureCode::AttestationRejected, "{err:?}");
}

#[tokio::test]
async fn what_is_no_document_is_rejected_at_once() {
    for (behaviour, said) in [
        (Behaviour::TalksGarbage, "not a response"),
        (Behaviour::ClaimsAHugeFrame, "exceeds the limit"),
        (Behaviour::RefusesAsPinned, "IdentityPinned"),
    ] {
        let text = rejected(behaviour, Mode::Production, order()).await;
        assert!(text.contains(said), "{text}");
    }
}

#[tokio::test]
async fn an_enclave_that_does_not_answer_is_unavailable_after_the_configured_time() {
    for behaviour in [Behaviour::ClosesTheConnection, Behaviour::IsSilent] {
        let setup = Setup::new();
        setup.serve(setup.nsm(Mode::Production), behaviour);
        let err = setup.responders(Duration::from_millis(200)).attest(order()).await.unwrap_err();
        assert_eq!(err.to_string(), "no answer on vsock port 5005 within 0.2 s");
        assert_eq!(err.code(), FailureCode::AttestationUnavailable);
    }
}

#[tokio::test]
async fn an_enclave_that_is_not_listening_yet_is_asked_again() {
    let setup = Setup::new();
    let responders = setup.responders(Duration::from_secs(30));
    let asking = tokio::spawn(async move { responders.attest(order()).await });
    // The first try has found no socket by the time that the task gets its next turn.
    tokio::task::yield_now().await;
    setup.serve(setup.nsm(Mode::Production), Behaviour::Answers);
    asking.await.unwrap().unwrap();
}

#[test]
fn a_wrong_clock_is_named_as_the_reason() {
    for code in OF_THE_CLOCK {
        assert!(Rejection::CODES.contains(&code), "{code} is no rejection");
    }
    let source = Rejection::TooOld { age_ms: 1, max_age_ms: 0 };
    let late = AttestError::Rejected { code: source.code(), source };
    assert!(late.hint().is_some_and(|hint| hint.contains("clock")));
    let source = Rejection::TimestampZero;
    let other = AttestError::Rejected { code: source.code(), source };
    assert_eq!(other.hint(), None);
}
