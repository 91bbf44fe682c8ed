//! Secrets of KMS for an enclave, through its parent.

use crate::{
    images::{self, Image, program},
    logs,
    system::record,
};
use aws_credential_types::Credentials;
use bailey_attestation::{RootFingerprint, TrustedRoots};
use bailey_enclave_image::build::Changes;
use bailey_local_cloud::kms::{Key, KmsServer, keys::Context};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Command};

const KEY: &str = "arn:aws:kms:us-east-1:111122223333:key/1";

/// An image whose workload has this ciphertext decrypted by this KMS, through the proxy of its parent.
fn image(kms: &KmsServer, ciphertext: &[u8], greeting: &str) -> Image {
    let command = format!(
        "./app/keep-kms --endpoint-url https://{} --ca-file roots.pem decrypt --input secret.kms",
        kms.address()
    );
    let words = ["/app/workload", "say", greeting, "run", &command, "wait"];
    let env = [
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
        // Or 127.0.0.1 would be reached without the proxy, which is possible in processes alone.
        ("NO_PROXY", ""),
    ];
    let changes = Changes {
        argv: words.map(str::to_owned).to_vec(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec(),
        ..Changes::default()
    };
    let binary = fs::read(program("keep-kms")).unwrap();
    let files: [(&str, &[u8]); 3] = [
        ("/app/keep-kms", &binary),
        ("/roots.pem", kms.roots_pem().as_bytes()),
        ("/secret.kms", ciphertext),
    ];
    images::working_with(changes, &files)
}

/// What `bailey image kms-policy` makes of the image.
fn statement(image: &Image, dir: &Path) -> Value {
    let manifest = dir.join("image.eif.manifest.json");
    fs::write(&manifest, serde_json::to_vec(&image.manifest).unwrap()).unwrap();
    let mut command = Command::new(program("bailey"));
    command.args(["image", "kms-policy", "--role", "arn:aws:iam::111122223333:role/parent"]);
    let output = command.arg(&manifest).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_image_of_a_keys_policy_decrypts_and_another_image_does_not() {
    let system = logs::system().await;
    let root = fs::read_to_string(system.cloud.trusted_root()).unwrap();
    let roots = TrustedRoots::only(vec![RootFingerprint::of_pem(&root).unwrap()]);
    let owner = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let kms = KmsServer::start(roots, owner).await.unwrap();
    let key = Key::new(KEY, &[3; 32]).unwrap();
    let ciphertext = key.encrypt(b"only for the enclave\n", &Context::new()).unwrap();
    let [mine, other] = ["mine", "other"].map(|greeting| image(&kms, &ciphertext, greeting));
    let dir = tempfile::tempdir().unwrap();
    kms.add(key.with_statement(statement(&mine, dir.path())));

    for (id, image) in [("mine", mine), ("other", other)] {
        system.upload_eif(&format!("{id}.eif"), image.bytes).await.unwrap();
        let configuration = json!({
            "eif_path": format!("s3://your-bucket/{id}.eif"),
            "egress": [kms.address().to_string()],
        });
        system.put_record(&record(id, &configuration)).await.unwrap();
        system.reaches(id, "DEPLOYED").await;
    }
    let lines = logs::logs_with(&system, "mine", "application: ended").await;
    assert!(lines.contains(&"application: only for the enclave".to_owned()), "{lines:?}");
    let lines = logs::logs_with(&system, "other", "application: ended").await;
    let denied = lines.iter().any(|line| line.contains("KMS refuses: AccessDeniedException"));
    assert!(denied && !lines.concat().contains("only for the enclave"), "{lines:?}");
    let mut seen = kms.answered();
    seen.sort();
    let wanted = [("Decrypt", "AccessDeniedException"), ("Decrypt", "ok")];
    let wanted = wanted.map(|(action, became)| (action.to_owned(), became.to_owned()));
    assert_eq!(seen, wanted);
    system.destroy_all(&["mine", "other"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kms_is_out_of_reach_for_an_enclave_whose_record_does_not_list_it() {
    let system = logs::system().await;
    let owner = Credentials::new("AKIDEXAMPLE", "secret", None, None, "test");
    let kms = KmsServer::start(TrustedRoots::aws(), owner).await.unwrap();
    let image = image(&kms, b"ciphertext", "mine");
    system.upload_eif("mine.eif", image.bytes).await.unwrap();
    let eif = json!({ "eif_path": "s3://your-bucket/mine.eif" });
    system.put_record(&record("mine", &eif)).await.unwrap();
    system.reaches("mine", "DEPLOYED").await;
    let lines = logs::logs_with(&system, "mine", "application: ended").await;
    assert!(lines.iter().any(|line| line.contains("Decrypt: no answer from")), "{lines:?}");
    assert_eq!(kms.answered(), []);
    assert!(system.logs().contains("egress refused"));
    system.destroy_all(&["mine"]).await;
}
