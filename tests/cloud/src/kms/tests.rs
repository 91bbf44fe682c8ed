//! The client against the stand-in: documents of a simulated module, real TLS, real signatures.

use super::{Key, KmsServer, keys::Context};
use aws_credential_types::Credentials;
use bailey_attestation::{RootFingerprint, TrustedRoots};
use bailey_kms::{
    DataKey, Decrypt, EncryptionContext, Endpoint, GenerateDataKey, Kms, KmsError, Secret,
    call::GenerateRandom, client::Documents, credentials::Source,
};
use bailey_simulated_nsm::{Attestation, Authority, Enclave, Mode, SimulatedNsm};
use serde_json::json;
use std::{collections::BTreeMap, error::Error, fs, net::SocketAddr, path::Path, sync::Arc};
use tempfile::TempDir;

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1";
const SECRET: &[u8] = b"only for the enclave";
const IMAGE: [u8; 48] = [7; 48];

/// Documents of an enclave's simulated module, made `late_ms` ago.
#[derive(Debug)]
struct Module {
    nsm: SimulatedNsm,
    late_ms: u64,
}

impl Documents for Module {
    fn document(&self, public_key: &[u8]) -> Result<Vec<u8>, Box<dyn Error + Send + Sync>> {
        let public_key = Some(public_key.to_vec());
        let asked = Attestation { public_key, ..Attestation::default() };
        Ok(self.nsm.attest(&asked, bailey_runtime::now().0 - self.late_ms)?)
    }
}

/// A KMS with one key, which is for enclaves of [`IMAGE`] alone.
struct World {
    server: KmsServer,
    authority: Authority,
    ciphertext: Vec<u8>,
    dir: TempDir,
}

async fn world() -> World {
    let authority = Authority::generate().unwrap();
    let root = RootFingerprint::of_der(authority.certificate_der());
    let owner = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let server = KmsServer::start(TrustedRoots::only(vec![root]), owner).await.unwrap();
    let dir = TempDir::new().unwrap();
    fs::write(dir.path().join("roots.pem"), server.roots_pem()).unwrap();
    credentials(dir.path(), "secret");
    let key = Key::new(KEY, &[3; 32]).unwrap();
    let ciphertext = key.encrypt(SECRET, &Context::new()).unwrap();
    server.add(key.with_statement(json!({
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Condition": {"StringEqualsIgnoreCase":
            {"kms:RecipientAttestation:ImageSha384": hex::encode_upper(IMAGE)}},
    })));
    World { server, authority, ciphertext, dir }
}

fn credentials(dir: &Path, secret: &str) {
    let text = json!({"Version": 1, "AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": secret});
    fs::write(dir.join("credentials.json"), text.to_string()).unwrap();
}

impl World {
    fn client(&self, image: [u8; 48], mode: Mode, late_ms: u64) -> Arc<Kms> {
        self.client_of(self.server.address(), image, mode, late_ms)
    }

    /// A client that trusts this world's KMS, and finds one at the address.
    fn client_of(
        &self,
        address: SocketAddr,
        image: [u8; 48],
        mode: Mode,
        late_ms: u64,
    ) -> Arc<Kms> {
        let now = bailey_runtime::now().0;
        let role = "arn:aws:iam::111122223333:role/parent";
        let parent = self.authority.instance("i-0123456789abcdef0", role, now - 600_000).unwrap();
        let enclave = Enclave {
            module_id: "i-0123456789abcdef0-enc0123456789abcdef".to_owned(),
            measurements: BTreeMap::from([(0, image)]),
            mode,
        };
        let endpoint = Endpoint {
            region: "us-east-1".to_owned(),
            url: Some(format!("https://{address}")),
            roots: Some(self.dir.path().join("roots.pem")),
        };
        let credentials = Source::File(self.dir.path().join("credentials.json"));
        let documents = Module { nsm: SimulatedNsm::new(parent, enclave), late_ms };
        Arc::new(Kms::new(endpoint, credentials, Box::new(documents)).unwrap())
    }

    fn good(&self) -> Arc<Kms> {
        self.client(IMAGE, Mode::Production, 0)
    }

    async fn decrypts(&self, kms: Arc<Kms>) -> Result<Secret, KmsError> {
        self.decrypts_with(kms, EncryptionContext::new(), None).await
    }

    async fn decrypts_with(
        &self,
        kms: Arc<Kms>,
        encryption_context: EncryptionContext,
        key_id: Option<&str>,
    ) -> Result<Secret, KmsError> {
        let ciphertext_blob = self.ciphertext.clone().into();
        let key_id = key_id.map(str::to_owned);
        let call = Decrypt { ciphertext_blob, key_id, encryption_context };
        tokio::task::spawn_blocking(move || kms.decrypt(&call)).await.unwrap()
    }

    /// The code with which the last call was refused.
    fn refused(outcome: Result<Secret, KmsError>) -> String {
        match outcome {
            Err(KmsError::Refused { code, .. }) => code,
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn an_enclave_of_the_keys_image_reads_what_was_encrypted_for_it() {
    let world = world().await;
    let secret = world.decrypts(world.good()).await.unwrap();
    assert_eq!(secret.as_slice(), SECRET);
    let named = world.decrypts_with(world.good(), EncryptionContext::new(), Some(KEY)).await;
    assert_eq!(named.unwrap().as_slice(), SECRET);
}

#[tokio::test]
async fn a_data_key_is_made_for_the_enclave_and_its_encrypted_form_decrypts_to_it() {
    let mut world = world().await;
    let kms = world.good();
    let context = EncryptionContext::from([("purpose".to_owned(), "test".to_owned())]);
    let call = GenerateDataKey {
        key_id: KEY.to_owned(),
        number_of_bytes: 32,
        encryption_context: context.clone(),
    };
    let asked = Arc::clone(&kms);
    let made = tokio::task::spawn_blocking(move || asked.generate_data_key(&call)).await.unwrap();
    let DataKey { plaintext, ciphertext, key_id } = made.unwrap();
    assert_eq!((plaintext.as_slice().len(), key_id.as_str()), (32, KEY));
    world.ciphertext = ciphertext;
    let again = world.decrypts_with(Arc::clone(&kms), context, None).await.unwrap();
    assert_eq!(again, plaintext);
    let without = world.decrypts(kms).await;
    assert_eq!(World::refused(without), "InvalidCiphertextException");
}

#[tokio::test]
async fn random_bytes_have_the_length_that_was_asked_for() {
    let world = world().await;
    let kms = world.good();
    let random = tokio::task::spawn_blocking(move || {
        kms.generate_random(GenerateRandom { number_of_bytes: 7 })
    });
    assert_eq!(random.await.unwrap().unwrap().as_slice().len(), 7);
}

#[tokio::test]
async fn another_image_and_an_enclave_in_debug_mode_are_denied() {
    let world = world().await;
    for (image, mode) in [([8; 48], Mode::Production), (IMAGE, Mode::Debug)] {
        let outcome = world.decrypts(world.client(image, mode, 0)).await;
        assert_eq!(World::refused(outcome), "AccessDeniedException");
    }
}

#[tokio::test]
async fn an_old_document_is_refused() {
    let world = world().await;
    let late = world.client(IMAGE, Mode::Production, 6 * 60_000 + 60_000);
    assert_eq!(World::refused(world.decrypts(late).await), "ValidationException");
}

#[tokio::test]
async fn a_wrong_signature_is_refused_and_new_credentials_are_read_for_each_call() {
    let world = world().await;
    let kms = world.good();
    credentials(world.dir.path(), "another");
    let outcome = world.decrypts(Arc::clone(&kms)).await;
    assert_eq!(World::refused(outcome), "InvalidSignatureException");
    credentials(world.dir.path(), "secret");
    assert!(world.decrypts(kms).await.is_ok());
    let seen = world.server.answered();
    let wanted = [("Decrypt", "InvalidSignatureException"), ("Decrypt", "ok")];
    let wanted = wanted.map(|(action, became)| (action.to_owned(), became.to_owned()));
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn a_parent_that_plays_kms_is_not_believed() {
    let world = world().await;
    // With another authority, as a parent could run one.
    let false_kms = self::world().await;
    let kms = world.client_of(false_kms.server.address(), IMAGE, Mode::Production, 0);
    let outcome = world.decrypts(kms).await;
    assert!(matches!(outcome, Err(KmsError::Connection { .. })), "{outcome:?}");
    assert!(false_kms.server.answered().is_empty());
}
