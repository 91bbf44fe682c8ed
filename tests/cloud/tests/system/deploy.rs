//! The main job.

use crate::{
    images::{self, program},
    system::{System, record, seed_record},
};
use bailey_model::{S3Location, report::Report};
use serde_json::json;
use sha2::Digest as _;
use std::{fs, process::Command};

#[tokio::test(flavor = "multi_thread")]
async fn the_seeds_record_is_deployed_reported_and_destroyed() {
    let system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    let deployed = system.reaches("test-enclave-001", "DEPLOYED").await;

    assert_eq!(deployed["phase"], "RUNNING");
    assert_eq!(deployed["attestation"]["verdict"], "debug");
    let deployment = &deployed["deployment"];
    assert_eq!(deployment["instance_type"], "m5.xlarge");
    assert_eq!(deployment["requested_instance_type"], "m5.large");
    assert!(deployment["warnings"][0].as_str().unwrap().contains("m5.large cannot host enclaves"));
    for phase in
        ["ACCEPTED", "LAUNCHING", "BOOTING", "FETCHING", "STARTING", "ATTESTING", "RUNNING"]
    {
        assert!(deployment["phases"][phase].is_string(), "{phase}: {deployment}");
    }
    for name in ["id", "configuration", "created_at"] {
        assert_eq!(deployed[name], seed_record()[name], "{name} is the web app's");
    }

    let location = deployed["attestation"]["report"].as_str().unwrap().parse().unwrap();
    let report: Report = serde_json::from_slice(&system.object(&location).await.unwrap()).unwrap();
    assert!(report.checks.iter().all(|check| check.outcome != "failed"), "{:?}", report.checks);
    assert!(report.pcrs[&0].is_zero());
    assert_eq!(report.previous, None);

    system.destroy_all(&["test-enclave-001"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn measurements_that_the_record_expects_make_the_verdict_verified() {
    let system = System::start().await;
    let expected = json!({"expected_pcrs": images::good().pcrs, "require_verified": true});
    system.put_record(&record("expected", &expected)).await.unwrap();
    system.put_record(&record("unexpected", &json!({}))).await.unwrap();

    let verified = system.reaches("expected", "DEPLOYED").await;
    assert_eq!(verified["attestation"]["verdict"], "verified");
    assert_eq!(verified["attestation"]["pcr_source"], "record");
    assert_eq!(verified["attestation"]["pcrs"]["0"], images::good().pcrs["0"]);
    let authentic = system.reaches("unexpected", "DEPLOYED").await;
    assert_eq!(authentic["attestation"]["verdict"], "authentic");
    assert_eq!(authentic["attestation"]["pcr_source"], "agent");

    system.destroy_all(&["expected", "unexpected"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_verifies_offline_under_its_own_root_and_no_other() {
    let system = System::start().await;
    system.put_record(&seed_record()).await.unwrap();
    let deployed = system.reaches("test-enclave-001", "DEPLOYED").await;
    let location = deployed["attestation"]["report"].as_str().unwrap().parse().unwrap();
    let file = system.state_dir().join("report.json");
    fs::write(&file, system.object(&location).await.unwrap()).unwrap();

    let verify = |root: bool| {
        let mut command = Command::new(program("bailey"));
        command.env_clear().arg("verify");
        if root {
            command.arg("--root").arg(system.trusted_root());
        }
        command.arg(&file).output().unwrap()
    };
    let accepted = verify(true);
    assert_eq!(accepted.status.code(), Some(0), "{}", String::from_utf8_lossy(&accepted.stdout));
    assert_eq!(verify(false).status.code(), Some(1), "AWS's root signed nothing here");

    system.destroy_all(&["test-enclave-001"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_enclave_attests_again_and_its_reports_form_a_chain() {
    let system = System::start_with(&[("reattest_interval_s", 1)], &[]).await;
    system.put_record(&record("again", &json!({}))).await.unwrap();
    let is_third = |record: &bailey_local_cloud::local::Record| {
        let report = record.get("attestation").and_then(|proof| proof["report"].as_str());
        report.is_some_and(|report| report.ends_with("/1/0000000003.json"))
    };
    let renewed = system.becomes("again", "a third report", is_third).await;
    assert_eq!(renewed["status"], "DEPLOYED");
    let mut previous = None;
    for sequence in 1..=3 {
        let key = format!("reports/again/1/{sequence:010}.json");
        let bucket = system.names().reports_bucket.clone();
        let stored = system.object(&S3Location { bucket, key }).await.unwrap();
        let report: Report = serde_json::from_slice(&stored).unwrap();
        assert_eq!((report.sequence, report.previous), (sequence, previous));
        previous = Some(hex::encode(sha2::Sha256::digest(&stored)));
    }
    let simulation = system.simulation().await.unwrap();
    assert_eq!(simulation.enclave_launches(), 1, "the same enclave answered each time");
    system.destroy_all(&["again"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_trusts_aws_alone_rejects_the_local_root() {
    let mut system = System::without_coordinator(&[], &[]).await;
    system.cloud.trust_aws_only();
    system.cloud.start_coordinator().unwrap();
    system.put_record(&seed_record()).await.unwrap();
    let failed = system.reaches("test-enclave-001", "FAILED").await;
    assert_eq!(failed["error"]["code"], "AttestationRejected");
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_older_record_with_numbers_as_text_is_deployed() {
    let system = System::start().await;
    let older = json!({
        "id": "enc_1763850000000_a1b2c3d4e", "name": "my enclave", "status": "PENDING_DEPLOY",
        "providerId": "aws-nitro", "walletAddress": "0xabc",
        "providerConfig": { "instanceType": "m6i.xlarge", "cpuCount": "2", "memoryMiB": "1024",
                            "eifPath": "s3://your-bucket/test.eif", "enableDebug": false,
                            "exposePorts": "8080" }
    });
    system.put_record(&older).await.unwrap();
    let deployed = system.reaches("enc_1763850000000_a1b2c3d4e", "DEPLOYED").await;
    for name in ["name", "providerConfig", "walletAddress"] {
        assert_eq!(deployed[name], older[name]);
    }
    assert_eq!(deployed["updatedAt"], deployed["updated_at"]);
    system.destroy_all(&["enc_1763850000000_a1b2c3d4e"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_records_at_once_are_deployed_each_on_its_own_instance() {
    let system = System::start().await;
    let ids = ["one", "two", "three", "four", "five"];
    for id in ids {
        system.put_record(&record(id, &json!({}))).await.unwrap();
    }
    let mut hosts = std::collections::BTreeSet::new();
    for id in ids {
        let deployed = system.reaches(id, "DEPLOYED").await;
        hosts.insert(deployed["deployment"]["instance_id"].as_str().unwrap().to_owned());
    }
    assert_eq!(hosts.len(), ids.len());
    assert_eq!(system.simulation().await.unwrap().launches, 5);
    system.destroy_all(&ids).await;
}
