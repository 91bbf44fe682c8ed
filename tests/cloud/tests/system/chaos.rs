//! A few random schedules, and whether what is wrong would be found; `make chaos` goes through many.

use crate::system::System;
use bailey_local_cloud::{
    chaos::{Kind, LIMIT, Rest, Schedule, WebApp, comes_to_rest, kill, kill_agents, writes},
    wire::Side,
};
use bailey_model::Status;
use serde_json::Value;
use std::{collections::BTreeSet, fs, os::unix::process::CommandExt as _, time::Duration};

#[tokio::test(flavor = "multi_thread")]
async fn random_schedules_on_real_processes_leave_nothing_wrong() {
    let mut system = System::with_wire().await;
    let mut deployed = 0;
    for seed in [1, 2] {
        let schedule = Schedule { seed, records: 3, events: 12 };
        let findings = schedule.run(&mut system.cloud).await.unwrap();
        assert_eq!(findings.violations, [], "seed {seed}");
        deployed += findings.deployed;
    }
    assert!(deployed > 0, "what holds of nothing says nothing");
    system.end().await;
}

/// One write in so many is tried here; `make chaos` tries every one.
const STRIDE: usize = 4;

/// Whatever was done before the kill is done, whatever was not is done over.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_killed_at_any_of_its_writes_finishes_the_work() {
    let mut system = System::with_wire().await;
    let writes = writes(&mut system.cloud, "undisturbed").await.unwrap();
    for wanted in [
        "PutItem bailey-ledger ACCEPTING",
        "PutItem bailey-ledger LAUNCHING",
        "RunInstances",
        "TransactWriteItems bailey-ledger DEPLOYING",
        "PutItem bailey-ledger REPORTING",
        "PutObject",
        "PutItem bailey-ledger DEPLOYED",
        "UpdateItem bailey-enclaves RUNNING",
        "TransactWriteItems bailey-ledger DRAINING",
        "TerminateInstances",
        "TransactWriteItems bailey-ledger ENDED",
        "UpdateItem bailey-enclaves DESTROYED",
    ] {
        assert!(writes.iter().any(|write| write.step == wanted), "{wanted}: {writes:#?}");
    }
    let sides = |write| [(write, Side::Before), (write, Side::After)];
    let certain = writes.iter().filter(|write| !write.is_chance());
    let kills = certain.flat_map(sides).step_by(STRIDE);
    for (number, (write, side)) in kills.enumerate() {
        let id = format!("killed-{number}");
        let kill = kill(&mut system.cloud, &id, write, side).await.unwrap();
        assert_eq!(kill.violations, [], "killed {side:?} {write}");
        assert!(kill.at.is_some(), "it never came to {write} again");
    }
    system.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_killed_at_random_instants_adopts_its_one_enclave() {
    let mut system = System::with_wire().await;
    let done = kill_agents(&mut system.cloud, 7, 10).await.unwrap();
    assert_eq!(done.violations, [], "{done:?}");
    system.end().await;
}

/// Long enough for whatever could mend it by itself.
const SOON: Duration = Duration::from_secs(5);

/// A deployed enclave with which nothing is wrong, in a system that is at rest.
async fn deployed(id: &str) -> (System, WebApp) {
    let mut system = System::with_wire().await;
    system.cloud.start_coordinator().unwrap();
    let mut web_app = WebApp::default();
    web_app.deploy(&system.cloud, id).await.unwrap();
    let rest = comes_to_rest(&system.cloud, &web_app, 1, LIMIT).await.unwrap();
    assert_eq!((rest.violations, rest.deployed), (vec![], 1));
    (system, web_app)
}

fn kinds(rest: &Rest) -> BTreeSet<Kind> {
    rest.violations.iter().map(|violation| violation.kind).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_instance_with_our_tags_is_found() {
    let (system, web_app) = deployed("twice").await;
    let view = system.simulation().await.unwrap();
    let mut parameters = vec![
        ("LaunchTemplate.LaunchTemplateName".to_owned(), system.names().launch_template.clone()),
        ("InstanceType".to_owned(), "m5.xlarge".to_owned()),
        ("MinCount".to_owned(), "1".to_owned()),
        ("MaxCount".to_owned(), "1".to_owned()),
        ("EnclaveOptions.Enabled".to_owned(), "true".to_owned()),
        ("TagSpecification.1.ResourceType".to_owned(), "instance".to_owned()),
    ];
    for (number, (key, value)) in (1..).zip(&view.instances[0].tags) {
        parameters.push((format!("TagSpecification.1.Tag.{number}.Key"), key.clone()));
        parameters.push((format!("TagSpecification.1.Tag.{number}.Value"), value.clone()));
    }
    let parameters: Vec<_> =
        parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let answer = system.ec2().call("RunInstances", &parameters).await.unwrap();
    assert!(answer.status.is_success(), "{answer:?}");
    let rest = comes_to_rest(&system.cloud, &web_app, 1, SOON).await.unwrap();
    let found = kinds(&rest);
    assert!(found.contains(&Kind::DoubleLaunch), "{:#?}", rest.violations);
    assert!(found.is_subset(&[Kind::DoubleLaunch, Kind::Orphan].into()), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instance_without_our_tags_is_found() {
    let (system, web_app) = deployed("beside").await;
    let parameters =
        [("ImageId", "ami-1"), ("InstanceType", "m5.large"), ("MinCount", "1"), ("MaxCount", "1")];
    let answer = system.ec2().call("RunInstances", &parameters).await.unwrap();
    assert!(answer.status.is_success(), "{answer:?}");
    let rest = comes_to_rest(&system.cloud, &web_app, 1, SOON).await.unwrap();
    assert_eq!(kinds(&rest), [Kind::Orphan].into(), "{:#?}", rest.violations);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attribute_of_the_web_app_that_is_gone_is_found() {
    use aws_sdk_dynamodb::types::AttributeValue;
    let (system, web_app) = deployed("robbed").await;
    let update = system.dynamodb().update_item().table_name(&system.names().enclaves_table);
    let update = update.key("id", AttributeValue::S("robbed".to_owned()));
    update.update_expression("REMOVE billing").send().await.unwrap();
    let rest = comes_to_rest(&system.cloud, &web_app, 1, SOON).await.unwrap();
    assert_eq!(kinds(&rest), [Kind::LostWrite].into(), "{:#?}", rest.violations);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_that_does_not_belong_to_the_ledgers_state_is_found() {
    let (mut system, web_app) = deployed("forged").await;
    system.cloud.stop_coordinator().await.unwrap();
    // Not as the web app, which would remember it as its own.
    system.set_status("forged", Status::Failed.as_str()).await.unwrap();
    let rest = comes_to_rest(&system.cloud, &web_app, 1, SOON).await.unwrap();
    assert_eq!(kinds(&rest), [Kind::WrongStatus].into(), "{:#?}", rest.violations);
}

/// The request was there, and somebody's result took its place before anybody acted on it.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_overwritten_is_found() {
    let (mut system, mut web_app) = deployed("unheard").await;
    system.cloud.stop_coordinator().await.unwrap();
    web_app.ask(&system.cloud, "unheard", Status::PendingDestroy).await.unwrap();
    system.set_status("unheard", Status::Deployed.as_str()).await.unwrap();
    system.cloud.start_coordinator().unwrap();
    let rest = comes_to_rest(&system.cloud, &web_app, 1, SOON).await.unwrap();
    assert_eq!(kinds(&rest), [Kind::LostWrite].into(), "{:#?}", rest.violations);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_enclave_that_is_left_running_is_found() {
    let (system, mut web_app) = deployed("left").await;
    let (instance_id, responder) = system.enclaves().into_iter().next().unwrap();
    let program = fs::read(format!("/proc/{}/exe", responder.pid)).unwrap();
    web_app.ask(&system.cloud, "left", Status::PendingDestroy).await.unwrap();
    let rest = comes_to_rest(&system.cloud, &web_app, 1, LIMIT).await.unwrap();
    assert_eq!(rest.violations, []);
    // The same program in the same place, as if its host had not ended it.
    let enclave = system.state_dir().join("hosts").join(instance_id).join("run/left");
    fs::create_dir_all(&enclave).unwrap();
    let keep = enclave.join("keep");
    fs::write(&keep, program).unwrap();
    fs::set_permissions(&keep, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let _heartbeat = std::os::unix::net::UnixListener::bind(enclave.join("hb")).unwrap();
    let _nsm = std::os::unix::net::UnixListener::bind(enclave.join("nsm")).unwrap();
    let mut left = std::process::Command::new(&keep);
    left.arg0("keep").arg("attest").current_dir(&enclave).env_clear();
    for (name, socket) in [("KEEP_LISTEN", "keep"), ("KEEP_NSM", "nsm"), ("KEEP_HEARTBEAT", "hb")] {
        left.env(name, format!("unix:/proc/self/cwd/{socket}.sock"));
    }
    let mut left = left.spawn().unwrap();
    let rest = comes_to_rest(&system.cloud, &web_app, 1, SOON).await.unwrap();
    left.kill().unwrap();
    left.wait().unwrap();
    assert_eq!(kinds(&rest), [Kind::Orphan].into(), "{:#?}", rest.violations);
}

/// A report that is changed after the fact breaks the history of its enclave.
#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_was_changed_is_found() {
    let (system, mut web_app) = deployed("edited").await;
    let bucket = system.names().reports_bucket.clone();
    let keys = system.keys(&bucket, "reports/edited/").await.unwrap();
    let report = system.s3().get_object().bucket(&bucket).key(&keys[0]).send().await.unwrap();
    let report = report.body.collect().await.unwrap().into_bytes();
    let mut report: Value = serde_json::from_slice(&report).unwrap();
    report["generation"] = 7.into();
    let body = serde_json::to_vec(&report).unwrap().into();
    system.s3().put_object().bucket(&bucket).key(&keys[0]).body(body).send().await.unwrap();
    web_app.ask(&system.cloud, "edited", Status::PendingDestroy).await.unwrap();
    let rest = comes_to_rest(&system.cloud, &web_app, 1, LIMIT).await.unwrap();
    let (_, found) = rest.verify_reports(&system.cloud, &web_app).await.unwrap();
    let kinds: Vec<_> = found.iter().map(|violation| violation.kind).collect();
    assert_eq!(kinds, [Kind::BrokenChain], "{found:#?}");
    system.end().await;
}
