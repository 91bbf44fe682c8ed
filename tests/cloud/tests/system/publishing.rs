//! `bailey eif publish`, from a file to a record that deploys it.

use crate::{
    images::{self, program},
    system::{System, record},
};
use bailey_manifest::{PublicKey, TrustedKeys};
use bailey_model::{S3Location, manifest::Manifest};
use serde_json::{Value, json};
use std::{fs, path::Path, process::Output};

async fn publish(system: &System, file: &Path, key: &str, flags: &[&str]) -> Output {
    let mut program = tokio::process::Command::new(program("bailey"));
    let to = location(system, key).to_string();
    // The key comes by flag only, so that what is not to be signed is not.
    program.args(["eif", "publish"]).arg(file).arg(to).args(flags);
    program.envs(system.env()).env_remove("BAILEY_MANIFEST_KEY").output().await.unwrap()
}

fn location(system: &System, key: &str) -> S3Location {
    S3Location { bucket: system.names().eif_bucket.clone(), key: key.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_published_image_deploys_as_verified_with_what_was_printed() {
    let system = System::start().await;
    let file = system.state_dir().join("app.eif");
    fs::write(&file, &images::good().bytes).unwrap();
    let key = system.manifest_key();
    let flags = ["--json", "--sign-key", key.to_str().unwrap()];
    let output = publish(&system, &file, "apps/app.eif", &flags).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut fields: Value = serde_json::from_slice(&output.stdout).unwrap();
    let manifest = &images::good().manifest;
    assert_eq!(fields["eif_sha384"], json!(manifest.eif_sha384));
    assert_eq!(fields["expected_pcrs"], images::good().pcrs);

    // The signed manifest alone is enough.
    fields.as_object_mut().unwrap().remove("expected_pcrs");
    fields["require_verified"] = true.into();
    system.put_record(&record("published", &fields)).await.unwrap();
    let deployed = system.reaches("published", "DEPLOYED").await;
    assert_eq!(deployed["attestation"]["verdict"], "verified");
    assert_eq!(deployed["attestation"]["pcr_source"], "manifest");
    system.destroy_all(&["published"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_image_goes_up_in_parts_and_a_bad_one_not_at_all() {
    let system = System::start().await;
    let image = images::large();
    let file = system.state_dir().join("large.eif");
    fs::write(&file, &image.bytes).unwrap();
    fs::write(
        system.state_dir().join("large.eif.manifest.json"),
        serde_json::to_vec(&image.manifest).unwrap(),
    )
    .unwrap();
    let key = system.manifest_key();
    let signed = publish(&system, &file, "large.eif", &["--sign-key", key.to_str().unwrap()]).await;
    assert!(signed.status.success(), "{}", String::from_utf8_lossy(&signed.stderr));
    let told = String::from_utf8(signed.stdout).unwrap();
    assert!(told.contains(&image.manifest.measurements.pcr0.to_string()), "{told}");
    let stored = system.object(&location(&system, "large.eif")).await.unwrap();
    assert!(stored == image.bytes, "other bytes are in S3");
    let manifest = system.object(&location(&system, "large.eif.manifest.json")).await.unwrap();
    assert_eq!(serde_json::from_slice::<Manifest>(&manifest).unwrap(), image.manifest);
    let envelope = location(&system, "large.eif.manifest.dsse.json");
    let envelope = system.object(&envelope).await.unwrap();
    let public = fs::read_to_string(&system.env()["BAILEY_MANIFEST_PUBLIC_KEY"]).unwrap();
    let keys = TrustedKeys::new(vec![PublicKey::from_pem(&public).unwrap()]);
    assert_eq!(*keys.open(&envelope).unwrap().manifest(), image.manifest);

    let unsigned = publish(&system, &file, "large.eif", &[]).await;
    assert!(unsigned.status.success());
    let warning = String::from_utf8(unsigned.stderr).unwrap();
    assert!(warning.contains("large.eif.manifest.dsse.json is there"), "{warning}");

    let mut damaged = image.bytes;
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    fs::write(&file, damaged).unwrap();
    let refused = publish(&system, &file, "damaged.eif", &[]).await;
    assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
    for key in ["damaged.eif", "damaged.eif.manifest.json"] {
        assert!(system.object(&location(&system, key)).await.is_err(), "{key} is there");
    }
    system.end().await;
}
