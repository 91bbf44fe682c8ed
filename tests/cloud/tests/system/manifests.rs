//! Signed manifests of images, from the builder's key to the verdict.

use crate::{
    images::{self, program},
    system::{System, record},
};
use bailey_model::{S3Location, report::Report};
use serde_json::json;
use std::{fs, path::Path, process::Command};

/// Signs the good image's manifest with `bailey image sign` and puts it beside the image at `key`.
async fn publish(system: &System, key: &str, signer: &Path) {
    let image = system.state_dir().join(key);
    fs::write(&image, &images::good().bytes).unwrap();
    let manifest = serde_json::to_vec(&images::good().manifest).unwrap();
    fs::write(image.with_extension("eif.manifest.json"), manifest).unwrap();
    let mut sign = Command::new(program("bailey"));
    let output =
        sign.args(["image", "sign"]).arg(&image).arg("--key").arg(signer).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let envelope = fs::read(image.with_extension("eif.manifest.dsse.json")).unwrap();
    system.upload_eif(key, images::good().bytes.clone()).await.unwrap();
    system.upload_eif(&format!("{key}.manifest.dsse.json"), envelope).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_manifest_beside_the_image_makes_the_verdict_verified() {
    let system = System::start().await;
    publish(&system, "signed.eif", &system.manifest_key()).await;
    let location =
        S3Location { bucket: system.names().eif_bucket.clone(), key: "signed.eif".to_owned() };
    let changes = json!({ "eif_path": location, "require_verified": true });
    system.put_record(&record("signed", &changes)).await.unwrap();
    let deployed = system.reaches("signed", "DEPLOYED").await;
    assert_eq!(deployed["attestation"]["verdict"], "verified");
    assert_eq!(deployed["attestation"]["pcr_source"], "manifest");

    let location = deployed["attestation"]["report"].as_str().unwrap().parse().unwrap();
    let stored = system.object(&location).await.unwrap();
    let report: Report = serde_json::from_slice(&stored).unwrap();
    assert_eq!(report.expected_pcrs, images::good().manifest.measurements.pcrs());
    let file = system.state_dir().join("report.json");
    fs::write(&file, stored).unwrap();
    let verify = |key: &Path| {
        let mut verify = Command::new(program("bailey"));
        verify.env_clear().arg("verify").arg(&file);
        verify.arg("--root").arg(system.trusted_root()).arg("--manifest-key").arg(key);
        verify.output().unwrap()
    };
    let accepted = verify(&system.state_dir().join("images.pub"));
    assert_eq!(accepted.status.code(), Some(0), "{}", String::from_utf8_lossy(&accepted.stdout));

    let other = system.state_dir().join("other.key");
    assert!(new_key(&other));
    let rejected = verify(&system.state_dir().join("other.key.pub"));
    assert_eq!(rejected.status.code(), Some(1), "{}", String::from_utf8_lossy(&rejected.stdout));
    system.destroy_all(&["signed"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_of_somebody_else_fails_before_anything_is_launched() {
    let system = System::start().await;
    let other = system.state_dir().join("other.key");
    assert!(new_key(&other));
    assert!(!new_key(&other), "a key is never overwritten");
    publish(&system, "forged.eif", &other).await;
    let path = format!("s3://{}/forged.eif", system.names().eif_bucket);
    system.put_record(&record("forged", &json!({ "eif_path": path }))).await.unwrap();
    let failed = system.reaches("forged", "FAILED").await;
    assert_eq!(failed["error"]["code"], "ManifestRejected");
    assert!(failed["error_message"].as_str().unwrap().contains("no trusted key signed it"));
    assert_eq!(system.simulation().await.unwrap().launches, 0);
    system.end().await;
}

fn new_key(file: &Path) -> bool {
    Command::new(program("bailey"))
        .args(["image", "new-key"])
        .arg(file)
        .output()
        .unwrap()
        .status
        .success()
}
