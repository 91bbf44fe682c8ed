//! Bad input: each fails with its own reason, and the others go on.

use crate::{
    images,
    system::{System, record},
};
use bailey_local_cloud::ec2::FaultKind;
use serde_json::{Value, json};

/// What a record's fate should be.
struct Case {
    id: &'static str,
    configuration: Value,
    code: &'static str,
    /// Part of the message.
    says: &'static str,
    /// Whether an enclave was started before it failed.
    started: bool,
}

fn case(id: &'static str, configuration: Value, code: &'static str, says: &'static str) -> Case {
    Case { id, configuration, code, says, started: false }
}

fn rogue(id: &'static str, code: &'static str, says: &'static str) -> Case {
    let configuration = json!({"eif_path": format!("s3://your-bucket/{id}.eif")});
    Case { id, configuration, code, says, started: true }
}

/// Fails every case, one beside the other, while a good record is deployed and lives on.
async fn each_fails_and_the_others_go_on(system: System, cases: &[Case]) {
    for case in cases {
        system.put_record(&record(case.id, &case.configuration)).await.unwrap();
    }
    system.put_record(&record("good", &json!({}))).await.unwrap();
    for case in cases {
        let failed = system.reaches(case.id, "FAILED").await;
        let error = &failed["error"];
        assert_eq!(error["code"], case.code, "{}: {error}", case.id);
        let message = error["message"].as_str().unwrap();
        assert!(message.contains(case.says), "{}: {message}", case.id);
        assert!(error["hint"].as_str().unwrap().len() > 10, "{}: {error}", case.id);
        assert_eq!(failed["error_type"], error["code"], "{}", case.id);
        assert_eq!(failed["error_message"], error["message"], "{}", case.id);
    }
    system.reaches("good", "DEPLOYED").await;
    let simulation = system.simulation().await.unwrap();
    assert_eq!(simulation.live().count(), 1, "only the good record's instance is left");
    for case in cases {
        let started: u64 = simulation
            .instances
            .iter()
            .filter(|instance| instance.tags.get("bailey:enclave").is_some_and(|t| t == case.id))
            .map(|instance| instance.enclave_launches)
            .sum();
        assert_eq!(started > 0, case.started, "{}: enclave launches", case.id);
    }
    system.destroy_all(&["good"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_records_fail_with_field_value_and_allowed_range() {
    let cases = [
        case(
            "cpus",
            json!({"cpu_count": "many"}),
            "InvalidConfiguration",
            "configuration.cpu_count is \"many\"; allowed is a whole number from 1 to 190",
        ),
        case(
            "memory",
            json!({"memory_mib": 1}),
            "InvalidConfiguration",
            "configuration.memory_mib is 1; allowed is a whole number from 64 to 4194304",
        ),
        case(
            "path",
            json!({"eif_path": "/tmp/x"}),
            "InvalidConfiguration",
            "allowed is s3://bucket/key",
        ),
        case(
            "half-core",
            json!({"cpu_count": 3}),
            "InvalidConfiguration",
            "an enclave gets whole cores",
        ),
        case("family", json!({"instance_type": "t3.large"}), "InvalidConfiguration", "t3.large"),
        case("size", json!({"cpu_count": 180}), "InvalidConfiguration", "180 vCPUs"),
        case(
            "type",
            json!({"debug_mode": [1]}),
            "InvalidConfiguration",
            "allowed is true or false",
        ),
    ];
    each_fails_and_the_others_go_on(System::start().await, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn images_that_cannot_be_read_or_are_none_fail_before_anything_is_started() {
    let system = System::start().await;
    let good = &images::good().bytes;
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle] ^= 1;
    for (key, bytes) in [
        ("text.eif", b"not an image".to_vec()),
        ("empty.eif", Vec::new()),
        ("truncated.eif", good[..good.len() / 2].to_vec()),
        ("damaged.eif", damaged),
        ("garbage-after.eif", [good.as_slice(), b"xyz"].concat()),
    ] {
        system.upload_eif(key, bytes).await.unwrap();
    }
    let image =
        |id: &'static str, path: &str, code, says| case(id, json!({"eif_path": path}), code, says);
    let wrong = json!({"expected_pcrs": {"0": "ab".repeat(48)}});
    let cases = [
        image("bucket", "s3://no-such-bucket/test.eif", "EifNotFound", "no-such-bucket"),
        image("key", "s3://your-bucket/none.eif", "EifNotFound", "s3://your-bucket/none.eif"),
        case(
            "version",
            json!({"eif_version_id": "00000000-0000-0000-0000-000000000000"}),
            "EifNotFound",
            "version",
        ),
        image("text", "s3://your-bucket/text.eif", "EifInvalid", ""),
        image("empty", "s3://your-bucket/empty.eif", "EifInvalid", ""),
        image("truncated", "s3://your-bucket/truncated.eif", "EifInvalid", ""),
        image("damaged", "s3://your-bucket/damaged.eif", "EifInvalid", "CRC"),
        image("garbage", "s3://your-bucket/garbage-after.eif", "EifInvalid", ""),
        case("mismatch", wrong, "MeasurementMismatch", "PCR0"),
        case("checksum", json!({"eif_sha384": "ab".repeat(48)}), "MeasurementMismatch", "SHA-384"),
    ];
    each_fails_and_the_others_go_on(system, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn enclaves_that_do_not_start_or_answer_or_lie_fail_and_are_ended() {
    let system = System::start_with(&[], &[("attest_timeout_s", 5)]).await;
    let modes = [
        "no-heartbeat",
        "mute",
        "silent",
        "garbage",
        "huge",
        "wrong-nonce",
        "flipped",
        "wrong-binding",
    ];
    for mode in modes {
        let image = images::rogue(mode);
        system.upload_eif(&format!("{mode}.eif"), image.bytes).await.unwrap();
    }
    let cases = [
        rogue("no-heartbeat", "EnclaveStartFailed", "E36"),
        rogue("mute", "AttestationUnavailable", ""),
        rogue("silent", "AttestationUnavailable", ""),
        rogue("garbage", "AttestationRejected", ""),
        rogue("huge", "AttestationRejected", ""),
        rogue("wrong-nonce", "AttestationRejected", "nonce"),
        rogue("flipped", "AttestationRejected", "signature"),
        rogue("wrong-binding", "AttestationRejected", "user_data"),
    ];
    each_fails_and_the_others_go_on(system, &cases).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ec2_refuses_fails_with_ec2s_words() {
    let system = System::start().await;
    let refusal = FaultKind::error("InsufficientInstanceCapacity");
    system.ec2().inject("RunInstances", 1, refusal).await.unwrap();
    let one_zone = json!({ "availability_zones": ["eu-west-1a"] });
    system.put_record(&record("refused", &one_zone)).await.unwrap();
    let failed = system.reaches("refused", "FAILED").await;
    assert_eq!(failed["error"]["code"], "CapacityUnavailable");
    assert!(failed["error_message"].as_str().unwrap().contains("InsufficientInstanceCapacity"));
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_with_an_unusable_id_fails_and_the_others_go_on() {
    let system = System::start().await;
    system.put_record(&record("../etc", &json!({}))).await.unwrap();
    system.put_record(&record("good", &json!({}))).await.unwrap();
    let failed = system.reaches("../etc", "FAILED").await;
    assert_eq!(failed["error"]["code"], "InvalidConfiguration");
    system.reaches("good", "DEPLOYED").await;
    system.destroy_all(&["good"]).await;
}
