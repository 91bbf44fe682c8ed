//! The signed request over TLS.
//!
//! Blocking: an enclave asks KMS a few times in its life. Whoever is asynchronous calls it from a thread.

use crate::{
    call::{Answer, Call, DataKey, Decrypt, GenerateDataKey, GenerateRandom, Refusal, body},
    credentials::{CredentialsError, Source},
    recipient::{GenerateError, OpenError, Recipient},
    secret::Secret,
};
use bailey_signing::{Post, Scope, signed};
use std::{
    error::Error,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    thread,
    time::{Duration, SystemTime},
};
use ureq::{
    Agent,
    tls::{Certificate, PemItem, RootCerts, TlsConfig, TlsProvider, parse_pem},
};

/// One attempt, with connecting.
const TIMEOUT: Duration = Duration::from_secs(15);
/// How often a call is made at most that KMS or the way there failed.
const ATTEMPTS: u32 = 4;
/// The pause after the first failure; each further one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// `Decrypt` answers with less than 20 kB.
const ANSWER_LIMIT: u64 = 256 * 1024;
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

/// Makes attestation documents with this public key.
///
/// In an enclave of `keep` that is [`crate::KeepDocuments`]; whoever has `/dev/nsm` to itself asks that.
pub trait Documents: fmt::Debug + Send + Sync {
    /// A fresh document: KMS takes none that is older than five minutes.
    fn document(&self, public_key: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>>;
}

/// Where KMS is, and how its certificate is judged.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Endpoint {
    /// The region, such as `eu-west-1`.
    pub region: String,
    /// Another address than AWS's for the region, `https://…`.
    pub url: Option<String>,
    /// A file with the root certificates that are trusted, as PEM; Mozilla's when there is none.
    pub roots: Option<PathBuf>,
}

impl Endpoint {
    fn url(&self) -> String {
        self.url.clone().unwrap_or_else(|| self.scope().endpoint())
    }

    fn scope(&self) -> Scope<'_> {
        Scope { service: "kms", region: &self.region }
    }
}

/// A client of KMS that alone can read what KMS answers.
#[derive(Debug)]
pub struct Kms {
    endpoint: Endpoint,
    agent: Agent,
    credentials: Source,
    documents: Box<dyn Documents>,
    recipient: Recipient,
}

/// Why there can be no client.
#[derive(Debug, thiserror::Error)]
pub enum KmsNewError {
    /// There is no key pair.
    #[error(transparent)]
    Generate(#[from] GenerateError),
    /// The address is none of HTTPS.
    #[error("`{0}` is no address of HTTPS: a parent could read and change what is said")]
    Plain(String),
    /// The roots cannot be read.
    #[error("cannot read the root certificates in {}", path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The file holds no root.
    #[error("{} holds no certificate as PEM", .0.display())]
    NoRoots(PathBuf),
}

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
pub enum KmsError {
    /// KMS did what it was asked without regard to the document: the plaintext was readable on the way.
    #[error("{action}: KMS answered in the clear; is this AWS's KMS?")]
    Clear {
        /// The call.
        action: &'static str,
    },
    /// There is no connection, or no answer.
    #[error("{action}: no answer from {url}")]
    Connection {
        /// The call.
        action: &'static str,
        /// Where KMS should be.
        url: String,
        /// The reason.
        source: Box<ureq::Error>,
    },
    /// There are no credentials.
    #[error("{action}: no AWS credentials")]
    Credentials {
        /// The call.
        action: &'static str,
        /// The reason.
        source: CredentialsError,
    },
    /// There is no document.
    #[error("{action}: no attestation document")]
    Document {
        /// The call.
        action: &'static str,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The answer lacks what this call answers.
    #[error("{action}: the answer has no {missing}")]
    Incomplete {
        /// The call.
        action: &'static str,
        /// What it lacks.
        missing: &'static str,
    },
    /// The answer cannot be opened.
    #[error("{action}: the answer cannot be opened")]
    Open {
        /// The call.
        action: &'static str,
        /// The reason.
        source: OpenError,
    },
    /// KMS refused.
    #[error("{action}: KMS refuses: {code}: {message}{}", advice(code))]
    Refused {
        /// The call.
        action: &'static str,
        /// The error's name in KMS's API.
        code: String,
        /// What KMS says.
        message: String,
    },
    /// The request cannot be made.
    #[error("{action}: the request cannot be made")]
    Request {
        /// The call.
        action: &'static str,
        /// The reason.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The answer is none of this API.
    #[error("{action}: HTTP status {status} with an answer that cannot be read")]
    Unreadable {
        /// The call.
        action: &'static str,
        /// The HTTP status.
        status: u16,
    },
}

/// What to look at when KMS refuses for this reason.
fn advice(code: &str) -> &'static str {
    match code {
        "AccessDeniedException" => {
            "; does the key's policy have this image's registers (`bailey image kms-policy`), and is the \
             enclave not in debug mode?"
        }
        "ValidationException" => "; is the enclave's clock right, and the document a fresh one?",
        _ => "",
    }
}

impl KmsError {
    /// Whether the same call may succeed a little later.
    fn is_passing(&self) -> bool {
        match self {
            Self::Connection { .. } => true,
            Self::Unreadable { status, .. } => *status >= 500,
            Self::Refused { code, .. } => matches!(
                code.as_str(),
                "ThrottlingException"
                    | "LimitExceededException"
                    | "DependencyTimeoutException"
                    | "KMSInternalException"
                    | "InternalFailure"
                    | "ServiceUnavailable"
            ),
            _ => false,
        }
    }
}

impl Kms {
    /// A client with a key pair of its own.
    ///
    /// It goes through the proxy that `HTTPS_PROXY` names, which `keep` sets.
    pub fn new(
        endpoint: Endpoint,
        credentials: Source,
        documents: Box<dyn Documents>,
    ) -> Result<Self, KmsNewError> {
        let url = endpoint.url();
        if !url.starts_with("https://") {
            return Err(KmsNewError::Plain(url));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .provider(TlsProvider::Rustls)
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(roots(endpoint.roots.as_deref())?)
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .https_only(true)
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(TIMEOUT))
            .build()
            .new_agent();
        Ok(Self { endpoint, agent, credentials, documents, recipient: Recipient::generate()? })
    }

    /// The plaintext of what KMS encrypted, at most 4,096 bytes.
    pub fn decrypt(&self, call: &Decrypt) -> Result<Secret, KmsError> {
        self.call(call).and_then(|answer| self.open::<Decrypt>(&answer))
    }

    /// A new key, in the clear and encrypted.
    pub fn generate_data_key(&self, call: &GenerateDataKey) -> Result<DataKey, KmsError> {
        let action = GenerateDataKey::ACTION;
        let answer = self.call(call)?;
        let plaintext = self.open::<GenerateDataKey>(&answer)?;
        let missing = |missing| KmsError::Incomplete { action, missing };
        let ciphertext = answer.ciphertext_blob.ok_or_else(|| missing("CiphertextBlob"))?.0;
        let key_id = answer.key_id.ok_or_else(|| missing("KeyId"))?;
        Ok(DataKey { plaintext, ciphertext, key_id })
    }

    /// Random bytes of KMS's.
    pub fn generate_random(&self, call: GenerateRandom) -> Result<Secret, KmsError> {
        self.call(&call).and_then(|answer| self.open::<GenerateRandom>(&answer))
    }

    fn open<C: Call>(&self, answer: &Answer) -> Result<Secret, KmsError> {
        let action = C::ACTION;
        if answer.plaintext.as_ref().is_some_and(|plaintext| !plaintext.0.is_empty()) {
            return Err(KmsError::Clear { action });
        }
        let missing = "CiphertextForRecipient";
        let sealed = answer.ciphertext_for_recipient.as_ref();
        let sealed = sealed.ok_or(KmsError::Incomplete { action, missing })?;
        self.recipient.open(&sealed.0).map_err(|source| KmsError::Open { action, source })
    }

    /// Calls until KMS answers or refuses for good.
    fn call<C: Call>(&self, call: &C) -> Result<Answer, KmsError> {
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            match self.attempt(call) {
                Err(err) if err.is_passing() && attempt < ATTEMPTS => thread::sleep(pause),
                outcome => return outcome,
            }
            attempt += 1;
            pause = pause.saturating_mul(2);
        }
    }

    fn attempt<C: Call>(&self, call: &C) -> Result<Answer, KmsError> {
        let action = C::ACTION;
        let document = self.documents.document(self.recipient.public_key());
        let document = document.map_err(|source| KmsError::Document { action, source })?;
        let body = body(call, document)
            .map_err(|err| KmsError::Request { action, source: Box::new(err) })?;
        let credentials = self.credentials.load();
        let credentials = credentials.map_err(|source| KmsError::Credentials { action, source })?;
        let target = format!("TrentService.{action}");
        let headers = [("content-type", CONTENT_TYPE), ("x-amz-target", target.as_str())];
        let url = self.endpoint.url();
        let post = Post { url: &url, headers: &headers, body: body.as_bytes() };
        #[expect(
            clippy::disallowed_methods,
            reason = "a signature is made of the time at which it is made"
        )]
        let now = SystemTime::now();
        let headers = signed(self.endpoint.scope(), post, &credentials.into(), now)
            .map_err(|source| KmsError::Request { action, source })?;
        let mut request = self.agent.post(&url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let lost =
            |source| KmsError::Connection { action, url: url.clone(), source: Box::new(source) };
        let mut answer = request.send(&body).map_err(lost)?;
        let text = answer.body_mut().with_config().limit(ANSWER_LIMIT).read_to_string();
        read(action, answer.status().as_u16(), &text.map_err(lost)?)
    }
}

/// What an answer says.
fn read(action: &'static str, status: u16, text: &str) -> Result<Answer, KmsError> {
    let unreadable = |_| KmsError::Unreadable { action, status };
    if status == 200 {
        return serde_json::from_str(text).map_err(unreadable);
    }
    let refusal: Refusal = serde_json::from_str(text).map_err(unreadable)?;
    let code = refusal.code().to_owned();
    if code.is_empty() {
        return Err(KmsError::Unreadable { action, status });
    }
    Err(KmsError::Refused { action, code, message: refusal.message })
}

/// The roots in the file, or those that Mozilla trusts.
fn roots(file: Option<&Path>) -> Result<RootCerts, KmsNewError> {
    let Some(path) = file else {
        let all = webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter();
        return Ok(RootCerts::from(all.map(|der| Certificate::from_der(der.as_ref()))));
    };
    let pem =
        fs::read(path).map_err(|source| KmsNewError::Roots { path: path.to_owned(), source })?;
    let found: Vec<_> = parse_pem(&pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(certificate),
            _ => None,
        })
        .collect();
    if found.is_empty() {
        return Err(KmsNewError::NoRoots(path.to_owned()));
    }
    Ok(RootCerts::from(found.into_iter()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct NoDocuments;

    impl Documents for NoDocuments {
        fn document(&self, _: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
            Err("no NSM here".into())
        }
    }

    fn endpoint(url: Option<&str>) -> Endpoint {
        Endpoint { region: "eu-west-1".into(), url: url.map(str::to_owned), roots: None }
    }

    fn kms(endpoint: Endpoint) -> Result<Kms, KmsNewError> {
        Kms::new(endpoint, Source::Environment, Box::new(NoDocuments))
    }

    #[test]
    fn kms_is_where_aws_has_it_in_each_partition_and_never_in_the_clear() {
        assert_eq!(endpoint(None).url(), "https://kms.eu-west-1.amazonaws.com");
        let china = Endpoint { region: "cn-north-1".into(), ..Endpoint::default() };
        assert_eq!(china.url(), "https://kms.cn-north-1.amazonaws.com.cn");
        let plain = kms(endpoint(Some("http://127.0.0.1:1"))).unwrap_err();
        assert!(matches!(plain, KmsNewError::Plain(_)), "{plain}");
    }

    #[test]
    fn roots_that_are_not_there_are_named() {
        let with = |path: &Path| {
            kms(Endpoint { roots: Some(path.to_owned()), ..endpoint(None) }).unwrap_err()
        };
        assert!(with(Path::new("/nonexistent.pem")).to_string().contains("/nonexistent.pem"));
        assert!(with(Path::new("/dev/null")).to_string().contains("holds no certificate"));
    }

    #[test]
    fn without_a_document_nothing_is_sent() {
        let kms = kms(endpoint(None)).unwrap();
        let failed = kms.generate_random(GenerateRandom { number_of_bytes: 1 }).unwrap_err();
        assert!(matches!(failed, KmsError::Document { .. }), "{failed}");
    }

    #[test]
    fn answers_are_told_apart() {
        let refused = read("Decrypt", 400, r#"{"__type":"AccessDeniedException","Message":"m"}"#);
        let text = refused.unwrap_err().to_string();
        assert!(text.contains("AccessDeniedException: m; does the key's policy"), "{text}");
        assert!(matches!(
            read("Decrypt", 400, "{}"),
            Err(KmsError::Unreadable { status: 400, .. })
        ));
        assert!(read("Decrypt", 503, "<html>").unwrap_err().is_passing());
        assert!(!read("Decrypt", 404, "<html>").unwrap_err().is_passing());
        let clear = read("Decrypt", 200, r#"{"Plaintext":"AAAA"}"#).unwrap();
        let opened = kms(endpoint(None)).unwrap().open::<Decrypt>(&clear).unwrap_err();
        assert!(matches!(opened, KmsError::Clear { .. }), "{opened}");
        let empty = read("Decrypt", 200, r#"{"KeyId":"k","Plaintext":""}"#).unwrap();
        let opened = kms(endpoint(None)).unwrap().open::<Decrypt>(&empty).unwrap_err();
        assert!(matches!(opened, KmsError::Incomplete { .. }), "{opened}");
    }
}
