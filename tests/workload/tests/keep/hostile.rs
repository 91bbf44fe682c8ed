//! Peers and workloads that mean no good.

use super::enclave::{Answers, DOCUMENTS, Enclave, workload};
use bailey_enclave_image::workload::{AtEnd, RestartPolicy};
use bailey_vsock::{
    DocumentRequest, frame,
    workload::{
        MAX_WORKLOAD_REQUEST_LEN, MAX_WORKLOAD_RESPONSE_LEN, WorkloadRefusalCode, WorkloadRequest,
        WorkloadResponse,
    },
};
use nix::unistd::Pid;
use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
};

/// Those of the parent, and that of the workload.
const PORTS: [&str; 3] = ["attest", "workload", DOCUMENTS];

fn still_serves(enclave: &Enclave) -> bool {
    let health = enclave.ask(WorkloadRequest::Health).next();
    let key = DocumentRequest::new(*b"key").unwrap();
    enclave.attests()
        && enclave.documents().document(&key).is_ok()
        && matches!(health, Some(WorkloadResponse::Health(_)))
}

#[test]
fn a_thousand_half_open_peers_on_each_port_keep_nobody_away() {
    let enclave = Enclave::start(Some(&workload(&["wait"])));
    let mut open = Vec::new();
    for port in PORTS {
        for count in 0..1_000 {
            let mut stream = enclave.connect(port);
            // Nothing, or half of a frame; some have been sent away by then.
            let _ = stream.write_all(&[0, 0, 1, 0, b'{'][..count % 6]);
            open.push(stream);
        }
    }
    assert!(still_serves(&enclave));
    drop(open);
    assert!(still_serves(&enclave));
}

#[test]
fn a_flood_of_log_readers_blocks_no_attestation() {
    let enclave = Enclave::start(Some(&workload(&["lines", "1000", "wait"])));
    // They ask for everything and never read.
    let request = WorkloadRequest::Output { after: None }.to_json().unwrap();
    let ask = |_| {
        let mut stream = enclave.connect("workload");
        // Those that are turned away at once cannot be written to.
        let _ = frame::write(&mut stream, &request, MAX_WORKLOAD_REQUEST_LEN);
        Answers { stream }
    };
    let readers: Vec<_> = (0..500).map(ask).collect();
    assert!(enclave.attests());
    let refused =
        readers.into_iter().filter_map(|mut reader| reader.next()).find_map(
            |answer| match answer {
                WorkloadResponse::Refused(refusal) => Some(refusal.code),
                _ => None,
            },
        );
    assert_eq!(refused, Some(WorkloadRefusalCode::Busy));
    assert!(still_serves(&enclave));
}

#[test]
fn a_follower_that_speaks_is_sent_away() {
    let enclave = Enclave::start(Some(&workload(&["wait"])));
    let mut stream = enclave.output().stream;
    stream.write_all(b"x").unwrap();
    // Up to the end of the stream, which would not come otherwise; unread bytes may make it a reset.
    let _ = stream.read_to_end(&mut Vec::new());
    assert!(still_serves(&enclave));
}

#[test]
fn malformed_requests_are_refused_with_a_reason() {
    let enclave = Enclave::start(None);
    for (bytes, reason) in [
        (frame::encode(b"{}", 9).unwrap(), "the request is not the expected JSON"),
        (vec![0, 0, 4, 1], "a frame of 1025 bytes exceeds the limit of 1024"),
        (
            frame::encode(br#"{"version":9,"request":"health"}"#, 99).unwrap(),
            "version 9 of the workload protocol is not supported, 1 is",
        ),
    ] {
        let mut stream = enclave.connect("workload");
        stream.write_all(&bytes).unwrap();
        let body = frame::read(&mut stream, MAX_WORKLOAD_RESPONSE_LEN).unwrap().unwrap();
        let WorkloadResponse::Refused(refusal) = WorkloadResponse::parse(&body).unwrap() else {
            panic!("{body:?}")
        };
        assert_eq!(refusal.code, WorkloadRefusalCode::InvalidRequest);
        assert!(refusal.message.starts_with(reason), "{}", refusal.message);
        assert!(frame::read(&mut stream, 9).unwrap().is_none());
    }
}

/// Seeded, so that a failure can be repeated: whole frames with damaged bodies, wrong lengths, cuts.
#[test]
fn a_fuzzer_on_every_port_changes_nothing() {
    let enclave = Enclave::start(Some(&workload(&["lines", "10", "wait"])));
    let seeds = [
        br#"{"version":1,"enclave_id":"enc_1","generation":1,"nonce":"bm9uY2U="}"#.to_vec(),
        br#"{"version":1,"request":"output","after":1}"#.to_vec(),
        br#"{"version":1,"request":"health"}"#.to_vec(),
        br#"{"version":1,"public_key":"a2V5","nonce":"bm9uY2U=","user_data":"ZGF0YQ=="}"#.to_vec(),
        "[".repeat(900).into_bytes(),
    ];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = |below: usize| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random % u64::try_from(below).unwrap()).unwrap()
    };
    for round in 0..3_000 {
        let mut stream = enclave.connect(PORTS[round % PORTS.len()]);
        let mut body = seeds[next(seeds.len())].clone();
        for _ in 0..next(4) {
            let place = next(body.len());
            body[place] = u8::try_from(next(256)).unwrap();
        }
        let mut bytes = frame::encode(&body, 2_048).unwrap();
        match next(4) {
            0 => bytes.truncate(next(bytes.len())),
            1 => bytes[next(4)] = u8::try_from(next(256)).unwrap(),
            _ => {}
        }
        let _ = stream.write_all(&bytes);
        leave(stream, next(3));
    }
    assert!(still_serves(&enclave));
}

fn leave(mut stream: UnixStream, how: usize) {
    match how {
        0 => drop(stream),
        1 => drop(stream.shutdown(std::net::Shutdown::Write)),
        _ => {
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read(&mut [0; 64]);
        }
    }
}

#[test]
fn a_workload_that_forks_a_thousand_children_leaves_none_of_them() {
    let mut forking = workload(&["fork", "1000", "say", "forked", "exit", "1"]);
    forking.restart.policy = RestartPolicy::OnFailure;
    forking.restart.max_in_a_row = 1;
    forking.at_end = AtEnd::Stay;
    let enclave = Enclave::start(Some(&forking));
    let told = enclave.output().entries();
    let mut told = told.filter_map(|entry| super::enclave::tell(&entry.event));
    assert!(told.any(|line| line == "exited 2 exit code 1 again=false"));
    assert!(still_serves(&enclave));
    // They are collected as they end, which the kernel announces to nobody but their collector.
    while has_children(enclave.pid()) {
        std::thread::yield_now();
    }
}

fn has_children(parent: Pid) -> bool {
    let processes = fs::read_dir("/proc").unwrap();
    processes.filter_map(|entry| fs::read_to_string(entry.unwrap().path().join("stat")).ok()).any(
        |stat| {
            // The name in brackets may hold anything; behind it come state and parent.
            let rest = stat.rsplit(") ").next().unwrap_or_default();
            rest.split(' ').nth(1) == Some(&parent.to_string())
        },
    )
}
