//! Signed manifests as the source of what an image has to measure to.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "what is missing here has failed its test"
)]

use crate::world::{World, image_pcrs, record_with};
use bailey_lifecycle::{ManifestObject, Step, ledger::State};
use bailey_manifest::{PublicKey, SigningKey, TrustedKeys, sign};
use bailey_model::{failure::FailureCode, report::Report};
use serde_json::{Value, json};
use std::time::Duration;

fn key() -> SigningKey {
    SigningKey::from_pem(&SigningKey::generate_pem().unwrap()).unwrap()
}

fn public(key: &SigningKey) -> PublicKey {
    key.public_key().unwrap()
}

/// What a builder signs of the image that every world runs.
fn manifest() -> Value {
    let pcrs = image_pcrs();
    json!({
        "name": "demo", "version": "1", "profile": "aws", "size_bytes": 7,
        "eif_sha384": "dd".repeat(48),
        "measurements": { "PCR0": pcrs[&0], "PCR1": pcrs[&1], "PCR2": pcrs[&2] },
    })
}

/// A world with a signed manifest, whose coordinator trusts `trusted`.
fn world(changes: &Value, manifest: &Value, signer: &SigningKey, trusted: &SigningKey) -> World {
    let mut changes = changes.clone();
    changes["debug_mode"] = false.into();
    let mut world = World::with_record(record_with(&changes));
    world.config.manifest_keys = TrustedKeys::new(vec![public(trusted)]);
    let envelope = sign(manifest.to_string().as_bytes(), signer).unwrap();
    world.manifest = ManifestObject::Found(envelope.into_bytes());
    world
}

fn error_message(world: &World) -> String {
    world.attribute("error_message").as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_manifest_that_a_trusted_key_signed_makes_the_verdict_verified() {
    let key = key();
    let mut world = world(&json!({ "require_verified": true }), &manifest(), &key, &key);
    world.deploy();
    assert_eq!(world.status(), "DEPLOYED", "{}", error_message(&world));
    let attestation = world.attribute("attestation");
    assert_eq!(attestation["verdict"], "verified");
    assert_eq!(attestation["pcr_source"], "manifest");
    assert_eq!(world.manifests_read, ["s3://your-bucket/test.eif.manifest.dsse.json"]);

    let report: Report = serde_json::from_str(world.reports.values().next().unwrap()).unwrap();
    let evidence = report.manifest.unwrap();
    assert_eq!(evidence.key_id, public(&key).id());
    let trusted = TrustedKeys::new(vec![public(&key)]);
    let opened = trusted.open(evidence.envelope.as_slice()).unwrap();
    assert_eq!(opened.manifest().measurements.pcrs(), report.expected_pcrs);
}

#[test]
fn the_host_is_told_to_refuse_any_other_image_than_the_manifests() {
    let key = key();
    let mut world = world(&json!({}), &manifest(), &key, &key);
    world.settle();
    let desired = world.desired.values().next().unwrap();
    let assignment = desired.assignments.first().unwrap();
    assert_eq!(assignment.expected_pcrs, image_pcrs());
    assert_eq!(assignment.eif.sha384.unwrap().to_string(), "dd".repeat(48));
}

#[test]
fn an_enclave_that_measures_otherwise_is_rejected_whatever_its_host_says() {
    let key = key();
    let mut other = manifest();
    other["measurements"]["PCR2"] = "ee".repeat(48).into();
    let mut world = world(&json!({}), &other, &key, &key);
    world.deploy();
    assert_eq!(world.failure_code(), Some(FailureCode::AttestationRejected));
    assert!(error_message(&world).starts_with("pcr_mismatch: "), "{}", error_message(&world));
}

#[test]
fn a_manifest_of_an_unknown_key_ends_the_deploy_before_anything_is_launched() {
    let mut world = world(&json!({}), &manifest(), &key(), &key());
    world.settle();
    assert_eq!(world.failure_code(), Some(FailureCode::ManifestRejected));
    assert!(error_message(&world).contains("no trusted key signed it"));
    assert_eq!((world.status().as_str(), world.instances.len()), ("FAILED", 0));
}

#[test]
fn a_manifest_of_another_file_than_the_record_pins_is_refused() {
    let key = key();
    let pinned = json!({ "eif_sha384": "ab".repeat(48) });
    let mut pinned_world = world(&pinned, &manifest(), &key, &key);
    pinned_world.settle();
    assert_eq!(pinned_world.failure_code(), Some(FailureCode::ManifestRejected));
    assert!(error_message(&pinned_world).contains("the record states eif_sha384 abab"));

    let expecting = json!({ "expected_pcrs": { "2": "ab".repeat(48) } });
    let mut expecting = world(&expecting, &manifest(), &key, &key);
    expecting.settle();
    assert_eq!(expecting.failure_code(), Some(FailureCode::ManifestRejected));
    assert!(error_message(&expecting).contains("the record expects abab"));
}

#[test]
fn without_a_manifest_the_verdict_is_authentic_or_the_deploy_fails_as_the_record_wants() {
    for object in [ManifestObject::Absent, ManifestObject::Denied] {
        let key = key();
        let mut content = world(&json!({}), &manifest(), &key, &key);
        content.manifest = object.clone();
        content.deploy();
        assert_eq!(content.attribute("attestation")["verdict"], "authentic");
        assert_eq!(content.attribute("attestation")["pcr_source"], "agent");
        assert_eq!(content.manifests_read.len(), 1);

        let mut strict = world(&json!({ "require_verified": true }), &manifest(), &key, &key);
        strict.manifest = object;
        strict.settle();
        assert_eq!(strict.failure_code(), Some(FailureCode::NotVerified));
        assert_eq!(strict.instances.len(), 0);
    }
}

#[test]
fn no_manifest_is_looked_for_where_none_is_needed() {
    let key = key();
    let stated = json!({ "expected_pcrs": { "0": image_pcrs()[&0] } });
    let mut stated = world(&stated, &manifest(), &key, &key);
    stated.deploy();
    assert_eq!(stated.attribute("attestation")["pcr_source"], "record");

    let mut debug = world(&json!({}), &manifest(), &key, &key);
    debug.write(record_with(&json!({ "debug_mode": true })));
    debug.settle();

    let mut no_keys = world(&json!({}), &manifest(), &key, &key);
    no_keys.config.manifest_keys = TrustedKeys::default();
    no_keys.deploy();
    assert_eq!(no_keys.attribute("attestation")["verdict"], "authentic");
    for world in [stated, debug, no_keys] {
        assert_eq!(world.manifests_read, [""; 0]);
    }
}

#[test]
fn a_manifest_is_read_again_after_a_crash_and_for_every_generation() {
    let key = key();
    let mut world = world(&json!({}), &manifest(), &key, &key);
    while world.manifests_read.is_empty() {
        assert!(world.step(true));
    }
    assert_eq!(*world.state(), State::Accepting);
    world.deploy();
    assert_eq!(world.manifests_read.len(), 2);
    world.ask("PENDING_DESTROY");
    world.settle();
    world.host_works();
    world.settle();
    world.ask("PENDING_DEPLOY");
    world.manifest = ManifestObject::Found(b"{}".to_vec());
    world.settle();
    assert_eq!(world.failure_code(), Some(FailureCode::ManifestRejected));
}

#[test]
fn a_manifest_that_cannot_be_read_for_long_ends_in_a_timeout() {
    let key = key();
    let mut world = world(&json!({}), &manifest(), &key, &key);
    let step = loop {
        match world.next() {
            step @ Step::ReadManifest(_) => break step,
            _ => assert!(world.step(false)),
        }
    };
    assert_eq!(world.next(), step, "until then it is tried again");
    world.now = world.now.plus(world.config.deploy_timeout + Duration::from_millis(1));
    world.settle();
    assert_eq!(world.failure_code(), Some(FailureCode::DeployTimeout));
}
