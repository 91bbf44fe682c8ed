//! How a workload's life ends, and what follows.

use super::enclave::{Enclave, tell, workload};
use bailey_enclave_image::workload::{AtEnd, RestartPolicy};
use bailey_simulated_nsm::extended_from_zero;
use bailey_vsock::workload::OutputEvent;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

#[test]
fn a_workload_that_dies_at_once_is_started_again_up_to_the_bound() {
    let mut dying = workload(&["exit", "1"]);
    dying.restart.policy = RestartPolicy::OnFailure;
    dying.restart.max_in_a_row = 3;
    let enclave = Enclave::start(Some(&dying));
    let ends: Vec<_> =
        enclave.output().told().into_iter().filter(|line| line.starts_with("exited")).collect();
    assert_eq!(
        ends,
        [
            "exited 1 exit code 1 again=true",
            "exited 2 exit code 1 again=true",
            "exited 3 exit code 1 again=true",
            "exited 4 exit code 1 again=false",
        ]
    );
    assert_eq!(enclave.end().0, Some(0));
}

#[test]
fn a_workload_that_cannot_be_started_says_why() {
    let mut absent = workload(&[]);
    absent.argv[0] = "/absent".into();
    let enclave = Enclave::start(Some(&absent));
    let told = enclave.output().told();
    assert_eq!(told, ["not started 1 there is no executable `/absent` in the image again=false"]);
    assert_eq!(enclave.end().0, Some(0));
}

#[test]
fn an_enclave_without_its_workload_can_stay_and_attest() {
    let mut short = workload(&["exit", "0"]);
    short.at_end = AtEnd::Stay;
    let enclave = Enclave::start(Some(&short));
    let mut entries = enclave.output().entries();
    assert!(entries.any(|entry| matches!(entry.event, OutputEvent::Exited { .. })));
    assert!(enclave.attests());
    enclave.signal(Signal::SIGTERM);
    assert_eq!(enclave.end(), (Some(0), "keep: SIGTERM came; the enclave ends".into()));
}

#[test]
fn signals_are_passed_on_and_end_the_enclave_with_its_workload() {
    for (signal, number) in [(Signal::SIGTERM, 15), (Signal::SIGINT, 2)] {
        let mut waiting = workload(&["wait"]);
        waiting.restart.policy = RestartPolicy::Always;
        let enclave = Enclave::start(Some(&waiting));
        let mut entries = enclave.output().entries().filter_map(|entry| tell(&entry.event));
        assert_eq!(entries.next().as_deref(), Some("started 1"));
        enclave.signal(signal);
        let expected = format!("exited 1 signal {number} again=false");
        assert_eq!(entries.next(), Some(expected));
        assert_eq!(enclave.end().0, Some(0));
    }
}

#[test]
fn what_a_workload_leaves_behind_ends_with_it() {
    let enclave = Enclave::start(Some(&workload(&["leave", "say", "left", "exit", "0"])));
    // The process that was left holds the output open, so its end can be seen here.
    assert_eq!(
        enclave.output().told(),
        ["started 1", "stdout: left", "exited 1 exit code 0 again=false"]
    );
    assert_eq!(enclave.end().0, Some(0));
}

#[test]
fn a_workload_ends_with_its_keep() {
    let enclave = Enclave::start(Some(&workload(&["wait"])));
    let started = enclave.output().entries().find_map(|entry| match entry.event {
        OutputEvent::Started { pid, .. } => Some(pid),
        _ => None,
    });
    let workload = Pid::from_raw(started.unwrap().try_into().unwrap());
    enclave.signal(Signal::SIGKILL);
    drop(enclave);
    // Somebody else collects it; until then it can still be sent signals.
    while kill(workload, None).is_ok() && !is_zombie(workload) {
        std::thread::yield_now();
    }
}

fn is_zombie(pid: Pid) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit(") ").next().is_none_or(|rest| rest.starts_with('Z'))
}

#[test]
fn registers_are_extended_and_locked_before_the_workload_starts() {
    let mut measured = workload(&["wait"]);
    measured.registers.extend.insert(16, "a text".into());
    measured.registers.lock = vec![16, 17];
    let enclave = Enclave::start(Some(&measured));
    let pcrs = enclave.registers();
    assert_eq!(pcrs[&16], extended_from_zero(b"a text"));
    assert_eq!((pcrs[&17], pcrs.contains_key(&18)), ([0; 48], false));
}
