//! Listening to enclaves that are Unix sockets and a few lines of this file.

use super::*;
use crate::{nitro_cli::NitroCli, vsock::Vsock};
use bailey_model::Generation;
use bailey_vsock::{
    frame::{self, HEADER_LEN},
    workload::{
        Health, HealthStatus, MAX_WORKLOAD_REQUEST_LEN, MAX_WORKLOAD_RESPONSE_LEN, OutputEntry,
        OutputEvent, OutputStream, WorkloadExit, WorkloadRequest, WorkloadResponse,
    },
};
use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{UnixListener, UnixStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

const LIMIT: Duration = Duration::from_secs(20);
const OFTEN: Duration = Duration::from_millis(10);

/// An enclave: each question is told to the test, which answers on the connection as it likes.
struct Enclave {
    asked: mpsc::UnboundedReceiver<(WorkloadRequest, UnixStream)>,
    _serving: JoinHandle<()>,
}

impl Enclave {
    fn at(directory: &Path, cid: u32) -> Self {
        let listener = UnixListener::bind(directory.join(format!("{cid}.sock"))).unwrap();
        let (asks, asked) = mpsc::unbounded_channel();
        let serving = tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut line = [0; "CONNECT 5006\n".len()];
                stream.read_exact(&mut line).await.unwrap();
                assert_eq!(&line, b"CONNECT 5006\n");
                stream.write_all(b"OK 5006\n").await.unwrap();
                let mut header = [0; HEADER_LEN];
                stream.read_exact(&mut header).await.unwrap();
                let mut body =
                    vec![0; frame::body_length(header, MAX_WORKLOAD_REQUEST_LEN).unwrap()];
                stream.read_exact(&mut body).await.unwrap();
                asks.send((WorkloadRequest::parse(&body).unwrap(), stream)).unwrap();
            }
        });
        Self { asked, _serving: serving }
    }

    /// The next question about output, with its position; questions about health are not answered.
    async fn asked_for_output(&mut self) -> (Option<u64>, UnixStream) {
        loop {
            let asked = timeout(LIMIT, self.asked.recv()).await.unwrap().unwrap();
            if let (WorkloadRequest::Output { after }, stream) = asked {
                return (after, stream);
            }
        }
    }

    async fn asked_for_health(&mut self) -> UnixStream {
        loop {
            let asked = timeout(LIMIT, self.asked.recv()).await.unwrap().unwrap();
            if let (WorkloadRequest::Health, stream) = asked {
                return stream;
            }
        }
    }
}

async fn answer(stream: &mut UnixStream, response: &WorkloadResponse) {
    let body = response.to_json().unwrap();
    let frame = frame::encode(&body, MAX_WORKLOAD_RESPONSE_LEN).unwrap();
    stream.write_all(&frame).await.unwrap();
}

async fn say(stream: &mut UnixStream, sequence: u64, event: OutputEvent) {
    let entry = OutputEntry { sequence, at_ms: 0, dropped: 0, event };
    answer(stream, &WorkloadResponse::Entry(entry)).await;
}

fn line(text: &str) -> OutputEvent {
    let bytes = text.as_bytes().to_vec().into();
    OutputEvent::Line { stream: OutputStream::Stdout, bytes, complete: true }
}

fn running(cid: u32) -> Running {
    Running {
        enclave_id: "enc_1".parse().unwrap(),
        generation: Generation(1),
        enclave: RunningEnclave { nitro_id: format!("i-1-enc{cid}"), cid },
        egress: vec![],
        ingress: vec![],
        debug: false,
    }
}

/// Everything around the listening, below a directory of the test's own.
struct Listening {
    workloads: Workloads,
    lines: mpsc::UnboundedReceiver<(&'static str, String)>,
    task: JoinHandle<()>,
}

impl Listening {
    fn below(directory: &Path) -> Self {
        let (workloads, to_watch, found) = Workloads::channel();
        let (shipper, lines) = Shipper::caught();
        let directory = directory.to_owned();
        let task = tokio::spawn(async move {
            let vsock = Vsock::Unix(directory.clone());
            let nitro_cli = NitroCli::plain(directory.join("nitro-cli"), LIMIT);
            listen(vsock, nitro_cli, &directory, OFTEN, Some(shipper), to_watch, found).await;
        });
        Self { workloads, lines, task }
    }

    fn runs(&self, running: Vec<Running>) {
        self.workloads.running.send_replace(running);
    }

    async fn next_line(&mut self) -> (&'static str, String) {
        timeout(LIMIT, self.lines.recv()).await.unwrap().unwrap()
    }

    async fn finds(&mut self, wanted: impl FnMut(&Findings) -> bool) -> Findings {
        timeout(LIMIT, self.workloads.findings.wait_for(wanted)).await.unwrap().unwrap().clone()
    }
}

#[tokio::test]
async fn output_is_read_on_from_where_it_was_read_by_a_later_agent_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut enclave = Enclave::at(dir.path(), 16);
    let mut listening = Listening::below(dir.path());
    listening.runs(vec![running(16)]);

    let (after, mut stream) = enclave.asked_for_output().await;
    assert_eq!(after, None);
    say(&mut stream, 1, OutputEvent::Started { pid: 7, attempt: 1 }).await;
    say(&mut stream, 2, line("hello")).await;
    let started = ("system", "workload started: process 7, start 1".to_owned());
    assert_eq!(listening.next_line().await, started);
    assert_eq!(listening.next_line().await, ("application", "hello".to_owned()));

    // A connection that breaks.
    drop(stream);
    let (after, mut stream) = enclave.asked_for_output().await;
    assert_eq!(after, Some(2));
    say(&mut stream, 3, line("again")).await;
    assert_eq!(listening.next_line().await, ("application", "again".to_owned()));

    // An agent that ends, after a moment of silence in which the position was written down.
    let file = dir.path().join("output/i-1-enc16");
    let written = async {
        while std::fs::read_to_string(&file).unwrap_or_default() != "3" {
            tokio::time::sleep(OFTEN).await;
        }
    };
    timeout(LIMIT, written).await.unwrap();
    listening.task.abort();
    let listening = Listening::below(dir.path());
    // It listens before its supervisor knows what runs.
    tokio::time::sleep(OFTEN).await;
    listening.runs(vec![running(16)]);
    let (after, _stream) = enclave.asked_for_output().await;
    assert_eq!(after, Some(3));
}

#[tokio::test]
async fn how_a_workload_ended_is_known_until_its_enclave_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let mut enclave = Enclave::at(dir.path(), 16);
    let mut listening = Listening::below(dir.path());
    listening.runs(vec![running(16)]);
    let (_, mut stream) = enclave.asked_for_output().await;
    let exit = WorkloadExit::Code(3);
    say(&mut stream, 1, OutputEvent::Exited { attempt: 1, exit, will_restart: true }).await;
    say(&mut stream, 2, OutputEvent::Exited { attempt: 2, exit, will_restart: false }).await;
    let findings = listening.finds(|findings| !findings.is_empty()).await;
    let end = End { how: "its workload ended with exit code 3".to_owned(), succeeded: false };
    assert_eq!(findings["i-1-enc16"], Finding { end: Some(end), ..Finding::default() });
    listening.runs(vec![]);
    listening.finds(Findings::is_empty).await;
}

#[tokio::test]
async fn a_change_of_health_is_found_and_a_repetition_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut enclave = Enclave::at(dir.path(), 16);
    let mut listening = Listening::below(dir.path());
    listening.runs(vec![running(16)]);
    let health = |status, detail: &str| {
        WorkloadResponse::Health(Health { status, detail: detail.to_owned(), at_ms: 0 })
    };
    for detail in ["up", "still up"] {
        let mut stream = enclave.asked_for_health().await;
        answer(&mut stream, &health(HealthStatus::Healthy, detail)).await;
    }
    let mut stream = enclave.asked_for_health().await;
    let findings = listening.finds(|findings| !findings.is_empty()).await;
    let found = findings["i-1-enc16"].health.clone().unwrap();
    assert_eq!((found.healthy, found.detail.as_str()), (true, "up"));
    answer(&mut stream, &health(HealthStatus::Unhealthy, "HTTP status 500")).await;
    listening.finds(|findings| !findings["i-1-enc16"].health.as_ref().unwrap().healthy).await;
}

#[tokio::test]
async fn an_image_without_a_probe_is_asked_once() {
    let dir = tempfile::tempdir().unwrap();
    let mut enclave = Enclave::at(dir.path(), 16);
    let listening = Listening::below(dir.path());
    listening.runs(vec![running(16)]);
    let (_, output) = enclave.asked_for_output().await;
    let mut second = Enclave::at(dir.path(), 17);
    listening.runs(vec![running(16), running(17)]);
    let mut stream = second.asked_for_health().await;
    let detail = "no probe".to_owned();
    let none = Health { status: HealthStatus::NotConfigured, detail, at_ms: 0 };
    answer(&mut stream, &WorkloadResponse::Health(none)).await;
    // It reads to the end of what the enclave says, and asks no more: the next question comes from nobody
    // but an agent that starts anew.
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    drop(output);
    let (after, _output) = enclave.asked_for_output().await;
    assert_eq!(after, None);
    while let Ok((request, _)) = second.asked.try_recv() {
        assert!(matches!(request, WorkloadRequest::Output { .. }), "{request:?}");
    }
}

/// A nitro-cli that prints a console, once, and nothing the second time.
fn console_of(directory: &Path, said: &str) {
    let script = format!(
        "#!/bin/sh\nset -eu\n[ \"$1 $2 $3\" = 'console --enclave-id i-1-enc16' ]\n\
         mkdir \"$0.read\"\nprintf '{said}'\n"
    );
    let path = directory.join("nitro-cli");
    std::fs::write(&path, script).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[tokio::test]
async fn the_console_of_an_enclave_in_debug_mode_is_told_and_its_last_lines_are_found() {
    let dir = tempfile::tempdir().unwrap();
    let said = "Successfully connected to the console.\\n1\\n2\\n3\\n4\\n5\\nKernel panic";
    console_of(dir.path(), said);
    let mut listening = Listening::below(dir.path());
    listening.runs(vec![Running { debug: true, ..running(16) }]);
    let findings = listening.finds(|findings| !findings.is_empty()).await;
    assert_eq!(findings["i-1-enc16"].console, ["2", "3", "4", "5", "Kernel panic"]);
    for line in ["1", "2", "3", "4", "5", "Kernel panic"] {
        assert_eq!(listening.next_line().await, ("system", line.to_owned()));
    }
}

#[tokio::test]
async fn the_console_of_an_enclave_without_debug_mode_is_not_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    console_of(dir.path(), "secret");
    let mut enclave = Enclave::at(dir.path(), 16);
    let mut listening = Listening::below(dir.path());
    listening.runs(vec![running(16)]);
    let (_, mut stream) = enclave.asked_for_output().await;
    say(&mut stream, 1, line("hello")).await;
    assert_eq!(listening.next_line().await, ("application", "hello".to_owned()));
    assert!(!dir.path().join("nitro-cli.read").exists());
}
