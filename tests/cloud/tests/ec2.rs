//! The EC2 simulator over its wire, without hosts.

#![allow(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use bailey_local_cloud::ec2::{
    Control, FaultKind, InstanceState, Place, QueryAnswer, Settings, Simulator, SimulatorOptions,
    serve,
};
use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::net::TcpListener;

const RUN: [(&str, &str); 5] = [
    ("ImageId", "ami-1"),
    ("InstanceType", "m5.xlarge"),
    ("MinCount", "1"),
    ("MaxCount", "1"),
    ("EnclaveOptions.Enabled", "true"),
];

async fn simulator() -> (Control, Arc<Simulator>) {
    let simulator = Simulator::new(SimulatorOptions {
        place: Place { region: "eu-west-1".to_owned(), account: "123456789012".to_owned() },
        subnets: BTreeMap::new(),
        pending: Duration::from_millis(20),
        describe_lag: Duration::ZERO,
        host: None,
    });
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let control = Control::new(&format!("http://{}", listener.local_addr().unwrap()));
    tokio::spawn(serve(listener, Arc::clone(&simulator)));
    (control, simulator)
}

async fn run(control: &Control, more: &[(&str, &str)]) -> QueryAnswer {
    let parameters: Vec<_> = RUN.into_iter().chain(more.iter().copied()).collect();
    control.call("RunInstances", &parameters).await.unwrap()
}

fn code(answer: &QueryAnswer) -> &str {
    answer.element("Code").unwrap_or_else(|| panic!("{}", answer.body))
}

async fn wait_for(control: &Control, id: &str, state: InstanceState) {
    let started = Instant::now();
    loop {
        let view = control.state().await.unwrap();
        if view.instances.iter().any(|i| i.id == id && i.state == state) {
            return;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "{view:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_token_launches_once_whatever_is_sent_again() {
    let (control, _simulator) = simulator().await;
    let first = run(&control, &[("ClientToken", "one")]).await;
    let id = first.element("instanceId").unwrap().to_owned();
    let again = run(&control, &[("ClientToken", "one")]).await;
    assert_eq!(again.element("instanceId"), Some(id.as_str()));
    let other = run(&control, &[("ClientToken", "one"), ("UserData", "eA==")]).await;
    assert_eq!(code(&other), "IdempotentParameterMismatch");

    control.call("TerminateInstances", &[("InstanceId.1", &id)]).await.unwrap();
    wait_for(&control, &id, InstanceState::Terminated).await;
    let again = run(&control, &[("ClientToken", "one")]).await;
    assert_eq!(again.element("instanceId"), Some(id.as_str()));
    assert!(again.body.contains("<name>terminated</name>"), "{}", again.body);
    assert_eq!(control.state().await.unwrap().launches, 1);
}

#[tokio::test]
async fn fifty_sendings_at_once_of_one_token_launch_one_instance() {
    let (control, _simulator) = simulator().await;
    let sendings: Vec<_> = (0..50)
        .map(|_| {
            let control = control.clone();
            tokio::spawn(async move { run(&control, &[("ClientToken", "one")]).await })
        })
        .collect();
    let mut ids = Vec::new();
    for sending in sendings {
        ids.push(sending.await.unwrap().element("instanceId").unwrap().to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 1);
    assert_eq!(control.state().await.unwrap().launches, 1);
}

#[tokio::test]
async fn an_instance_is_pending_then_running_and_can_be_stopped_and_started() {
    let (control, _simulator) = simulator().await;
    control.set(Settings { pending_ms: Some(100), ..Settings::default() }).await.unwrap();
    let launched = run(&control, &[]).await;
    assert!(launched.body.contains("<name>pending</name>"), "{}", launched.body);
    let id = launched.element("instanceId").unwrap();
    let this = [("InstanceId.1", id)];
    wait_for(&control, id, InstanceState::Running).await;
    control.call("StopInstances", &this).await.unwrap();
    wait_for(&control, id, InstanceState::Stopped).await;
    control.call("StartInstances", &this).await.unwrap();
    wait_for(&control, id, InstanceState::Running).await;
    control.fail_instance(id).await.unwrap();
    wait_for(&control, id, InstanceState::Terminated).await;
    let refused = control.call("StartInstances", &this).await.unwrap();
    assert_eq!(code(&refused), "IncorrectInstanceState");
}

#[tokio::test]
async fn instances_are_found_by_filters_a_page_at_a_time() {
    let (control, _simulator) = simulator().await;
    let tag = "TagSpecification.1.Tag.1";
    for n in 0..7 {
        let role = if n == 0 { "db" } else { "web" };
        let (key, value) = (format!("{tag}.Key"), format!("{tag}.Value"));
        let tags =
            [("TagSpecification.1.ResourceType", "instance"), (&key, "role"), (&value, role)];
        run(&control, &tags).await;
    }
    let filter = [("Filter.1.Name", "tag:role"), ("Filter.1.Value.1", "web"), ("MaxResults", "5")];
    let first = control.call("DescribeInstances", &filter).await.unwrap();
    assert_eq!(first.body.matches("<instanceId>").count(), 5);
    let token = first.element("nextToken").unwrap();
    let rest: Vec<_> = filter.into_iter().chain([("NextToken", token)]).collect();
    let second = control.call("DescribeInstances", &rest).await.unwrap();
    assert_eq!(second.body.matches("<instanceId>").count(), 1);
    assert_eq!(second.element("nextToken"), None);
}

#[tokio::test]
async fn a_template_gives_what_the_request_leaves_out() {
    let (control, _simulator) = simulator().await;
    let template = [
        ("LaunchTemplateName", "parent"),
        ("LaunchTemplateData.ImageId", "ami-7"),
        ("LaunchTemplateData.IamInstanceProfile.Name", "role"),
    ];
    control.call("CreateLaunchTemplate", &template).await.unwrap();
    let again = control.call("CreateLaunchTemplate", &template).await.unwrap();
    assert_eq!(code(&again), "InvalidLaunchTemplateName.AlreadyExistsException");

    let versions = [("LaunchTemplateName", "parent"), ("LaunchTemplateVersion.1", "$Default")];
    let versions = control.call("DescribeLaunchTemplateVersions", &versions).await.unwrap();
    assert_eq!(versions.element("versionNumber"), Some("1"));

    let launch = [
        ("LaunchTemplate.LaunchTemplateName", "parent"),
        ("LaunchTemplate.Version", "1"),
        ("InstanceType", "m5.xlarge"),
        ("MinCount", "1"),
        ("MaxCount", "1"),
    ];
    let launched = control.call("RunInstances", &launch).await.unwrap();
    assert_eq!(launched.element("imageId"), Some("ami-7"));
    assert_eq!(launched.element("arn"), Some("arn:aws:iam::123456789012:instance-profile/role"));
    let unknown = launch.map(|(key, value)| match key {
        "LaunchTemplate.Version" => (key, "2"),
        _ => (key, value),
    });
    let refused = control.call("RunInstances", &unknown).await.unwrap();
    assert_eq!(code(&refused), "InvalidLaunchTemplateId.VersionNotFound");
}

#[tokio::test]
async fn an_answer_can_be_lost_before_or_after_the_effect() {
    let (control, _simulator) = simulator().await;
    let token = [RUN.as_slice(), &[("ClientToken", "one")]].concat();
    control.inject("RunInstances", 1, FaultKind::DropBefore).await.unwrap();
    control.call("RunInstances", &token).await.unwrap_err();
    assert_eq!(control.state().await.unwrap().launches, 0);
    control.inject("RunInstances", 1, FaultKind::DropAfter).await.unwrap();
    control.call("RunInstances", &token).await.unwrap_err();
    assert_eq!(control.state().await.unwrap().launches, 1);
    run(&control, &[("ClientToken", "one")]).await.element("instanceId").unwrap();
    assert_eq!(control.state().await.unwrap().launches, 1);
}

#[tokio::test]
async fn a_call_can_be_refused_or_held_on_demand() {
    let (control, _simulator) = simulator().await;
    let kind = FaultKind::error("InsufficientInstanceCapacity");
    control.inject("RunInstances", 1, kind).await.unwrap();
    assert_eq!(code(&run(&control, &[]).await), "InsufficientInstanceCapacity");

    control.inject("RunInstances", 1, FaultKind::HoldBefore).await.unwrap();
    let held = {
        let control = control.clone();
        tokio::spawn(async move { run(&control, &[]).await })
    };
    while control.state().await.unwrap().held == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(control.state().await.unwrap().launches, 0);
    control.release().await.unwrap();
    assert!(held.await.unwrap().status.is_success());
    assert_eq!(control.state().await.unwrap().launches, 1);
}

#[tokio::test]
async fn what_is_described_lags_behind_when_it_is_told_to() {
    let (control, _simulator) = simulator().await;
    control.set(Settings { describe_lag_ms: Some(600_000), ..Settings::default() }).await.unwrap();
    let launched = run(&control, &[]).await;
    let id = launched.element("instanceId").unwrap();
    let one = control.call("DescribeInstances", &[("InstanceId.1", id)]).await.unwrap();
    assert_eq!(code(&one), "InvalidInstanceID.NotFound");
    let all = control.call("DescribeInstances", &[]).await.unwrap();
    assert_eq!(all.element("instanceId"), None);
}

#[tokio::test]
async fn calls_that_make_no_sense_are_refused_with_ec2s_codes() {
    let (control, _simulator) = simulator().await;
    for (action, parameters, wanted) in [
        ("Fly", vec![], "InvalidAction"),
        ("TerminateInstances", vec![], "MissingParameter"),
        ("TerminateInstances", vec![("InstanceId.1", "i-zz")], "InvalidInstanceID.Malformed"),
        ("DescribeInstances", vec![("MaxResults", "1")], "InvalidParameterValue"),
        ("DescribeInstances", vec![("Filter.1.Name", "colour")], "InvalidParameterValue"),
    ] {
        let answer = control.call(action, &parameters).await.unwrap();
        assert_eq!(code(&answer), wanted, "{action}");
    }
}

#[tokio::test]
async fn an_unsigned_request_is_refused() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let (control, _simulator) = simulator().await;
    let address = control.url().strip_prefix("http://").unwrap();
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = "GET /?Action=DescribeInstances&Version=2016-11-15 HTTP/1.1\r\nHost: x\r\n\
                   Connection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    assert!(answer.contains("MissingAuthenticationToken"), "{answer}");
}
