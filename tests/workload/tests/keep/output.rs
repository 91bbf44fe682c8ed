//! What the workload prints comes out, and what becomes of it.

use super::enclave::{DOCUMENTS, Enclave, tell, workload};
use bailey_enclave_image::workload::{Health, Probe};
use bailey_vsock::workload::{
    HealthStatus, MAX_LINE_BYTES, OutputEvent, WorkloadRequest, WorkloadResponse,
};
use std::{fs, net::TcpListener};

#[test]
fn lines_of_both_streams_come_out_between_start_and_end() {
    let enclave =
        Enclave::start(Some(&workload(&["say", "hello", "complain", "ouch", "exit", "3"])));
    let mut told = enclave.output().told();
    // The order between two pipes is nobody's to know.
    told[1..3].sort();
    assert_eq!(
        told,
        ["started 1", "stderr: ouch", "stdout: hello", "exited 1 exit code 3 again=false"]
    );
    let (code, last) = enclave.end();
    assert_eq!(code, Some(0));
    assert_eq!(
        last,
        "keep: the workload ended for good (exit code 3) after 1 start(s); the enclave ends"
    );
}

#[test]
fn a_reader_that_comes_again_goes_on_after_what_it_has() {
    let enclave = Enclave::start(Some(&workload(&["lines", "5", "wait"])));
    let mut entries = enclave.output().entries();
    let first = entries.find(|entry| tell(&entry.event).as_deref() == Some("stdout: line 2"));
    let after = Some(first.unwrap().sequence);
    drop(entries);
    let mut entries = enclave.ask(WorkloadRequest::Output { after }).entries();
    let next = entries.find_map(|entry| tell(&entry.event));
    assert_eq!(next.as_deref(), Some("stdout: line 3"));
}

#[test]
fn a_workload_is_never_held_up_and_what_a_slow_reader_misses_is_counted() {
    let mut much = workload(&["lines", "50000", "exit", "0"]);
    much.log.ring_kib = 16;
    let enclave = Enclave::start(Some(&much));
    // It reads nothing until the workload has ended.
    let slow = enclave.output();
    let end = |event: &OutputEvent| matches!(event, OutputEvent::Exited { .. });
    let ended = enclave.output().entries().any(|entry| end(&entry.event));
    assert!(ended);
    let (mut seen, mut lost) = (0, 0);
    for entry in slow.entries() {
        seen += 1;
        lost += entry.dropped;
        assert_eq!(entry.sequence, seen + lost);
    }
    assert!(lost > 0 && seen + lost > 50_000, "{seen} seen, {lost} lost");
}

#[test]
fn a_long_line_comes_in_pieces() {
    let length = (MAX_LINE_BYTES + 1).to_string();
    let enclave = Enclave::start(Some(&workload(&["long", &length])));
    let told = enclave.output().told();
    let whole = "x".repeat(MAX_LINE_BYTES);
    assert_eq!(told[1..3], [format!("stdout: {whole}…"), "stdout: x".to_owned()]);
}

#[test]
fn the_environment_and_the_directory_are_those_of_the_image_and_no_others() {
    let mut wanted = workload(&["where"]);
    wanted.argv[0] = "workload".into();
    wanted.env.insert("PATH".into(), "/bin:/app".into());
    wanted.env.insert("A".into(), "1".into());
    wanted.working_directory = "/data".into();
    let enclave =
        Enclave::prepare(Some(&wanted), |root| fs::create_dir(root.join("data")).unwrap());
    let data = fs::canonicalize(enclave.dir.path().join("root/data")).unwrap();
    let told = enclave.output().told();
    assert!(told[1].starts_with(&format!("stdout: directory={} ", data.display())), "{told:?}");
    let documents = enclave.dir.path().canonicalize().unwrap().join(DOCUMENTS);
    let variables = format!(" A=1 KEEP_DOCUMENTS={} PATH=/bin:/app", documents.display());
    assert!(told[1].ends_with(&variables), "{told:?}");
}

#[test]
fn health_is_what_the_probe_finds() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut probed = workload(&["wait"]);
    probed.health = Some(Health { probe: Probe::Tcp { port }, timeout_ms: 20_000 });
    let health = |enclave: &Enclave| match enclave.ask(WorkloadRequest::Health).next() {
        Some(WorkloadResponse::Health(health)) => health.status,
        other => panic!("{other:?}"),
    };
    assert_eq!(health(&Enclave::start(Some(&probed))), HealthStatus::Healthy);
    drop(listener);
    assert_eq!(health(&Enclave::start(Some(&probed))), HealthStatus::Unhealthy);
    assert_eq!(health(&Enclave::start(None)), HealthStatus::NotConfigured);
}
