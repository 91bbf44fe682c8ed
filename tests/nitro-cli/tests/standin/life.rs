//! The life of enclaves.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::thread;

use crate::parent::{Parent, measure, run_arguments};
use bailey_model::Generation;
use bailey_vsock::connect::HandshakeError;
use bailey_vsock::{
    ATTESTATION_PORT, AttestRequest, AttestResponse, MAX_REQUEST_LEN, MAX_RESPONSE_LEN, frame,
};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Asks the enclave with this CID for a document.
fn document(parent: &Parent, cid: &Value) -> Vec<u8> {
    let mut stream = parent.connect(cid, ATTESTATION_PORT).unwrap();
    let request = request();
    frame::write(&mut stream, &request.to_json().unwrap(), MAX_REQUEST_LEN).unwrap();
    let body = frame::read(&mut stream, MAX_RESPONSE_LEN).unwrap().unwrap();
    AttestResponse::parse(&body).unwrap().into_document().unwrap()
}

fn request() -> AttestRequest {
    AttestRequest::new("enc_1".parse().unwrap(), Generation(3), b"a nonce".to_vec()).unwrap()
}

/// Waits until the other side of a connection is gone.
fn await_close(mut stream: UnixStream) {
    match stream.read(&mut [0]) {
        Ok(0) => {}
        // It was never accepted.
        Err(err) if err.kind() == io::ErrorKind::ConnectionReset => {}
        other => panic!("still there: {other:?}"),
    }
}

fn holds(document: &[u8], bytes: &[u8]) -> bool {
    document.windows(bytes.len()).any(|window| window == bytes)
}

#[test]
fn an_enclave_runs_answers_and_is_terminated() {
    let parent = Parent::new();
    let image = parent.rogue("honest");
    let said = parent.run(&image);
    let run = said.json();
    let expected = json!({
        "EnclaveName": "honest", "EnclaveID": run["EnclaveID"], "ProcessID": run["ProcessID"],
        "EnclaveCID": 16, "NumberOfCPUs": 2, "CPUIDs": [1, 5], "MemoryMiB": 512,
    });
    assert_eq!(run, expected);
    assert_eq!(
        said.stderr,
        "Start allocating memory...\n\
         Started enclave with enclave-cid: 16, memory: 512 MiB, cpu-ids: [1, 5]\n"
    );
    assert_eq!(parent.free_pages(), "1792");

    let described = parent.describe();
    let measured = measure(&image);
    assert_eq!(described[0]["State"], "RUNNING");
    assert_eq!(described[0]["Flags"], "NONE");
    assert_eq!(described[0]["Measurements"]["PCR0"], measured.pcr0.to_string());
    assert_eq!(described[0]["EnclaveID"], run["EnclaveID"]);
    assert_eq!(described[0].get("ImageName"), None);
    let described = parent.nitro_cli(&["describe-enclaves", "--metadata"]).json();
    assert_eq!(described[0]["ImageName"], "test");

    let document = document(&parent, &run["EnclaveCID"]);
    assert!(holds(&document, &request().user_data()));
    assert!(holds(&document, &measured.pcr0.0));
    // The names of one enclave differ: the document's has the slot's leading zero.
    let module_id = run["EnclaveID"].as_str().unwrap().replace("-enc", "-enc0");
    assert!(holds(&document, module_id.as_bytes()));

    let id = run["EnclaveID"].as_str().unwrap();
    let ended = parent.nitro_cli(&["terminate-enclave", "--enclave-id", id]);
    let expected = json!({"EnclaveName": "honest", "EnclaveID": id, "Terminated": true});
    assert_eq!(ended.json(), expected);
    assert_eq!(ended.stderr, format!("Successfully terminated enclave {id}.\n"));
    assert_eq!(parent.describe(), json!([]));
    assert_eq!(parent.free_pages(), "2048");
    assert!(!parent.host.vsock_socket(16).exists());
}

#[test]
fn in_debug_mode_the_document_does_not_show_the_image() {
    let parent = Parent::new();
    let image = parent.rogue("honest");
    let run = parent.nitro_cli(&[&run_arguments(&image)[..], &["--debug-mode"]].concat()).json();
    assert_eq!(parent.describe()[0]["Flags"], "DEBUG_MODE");
    let document = document(&parent, &run["EnclaveCID"]);
    assert!(!holds(&document, &measure(&image).pcr0.0));
}

#[test]
fn the_console_is_read_in_debug_mode_alone_and_ends_with_its_enclave() {
    let parent = Parent::new();
    let image = parent.rogue("honest");
    let run = parent.run(&image).json();
    let id = run["EnclaveID"].as_str().unwrap();
    assert_eq!(parent.nitro_cli(&["console", "--enclave-id", id]).codes(), ["E44"]);

    let run = parent.nitro_cli(&[&run_arguments(&image)[..], &["--debug-mode"]].concat()).json();
    let id = run["EnclaveID"].as_str().unwrap();
    let mut console = parent.command(&["console", "--enclave-id", id]);
    let mut reading = console.stdout(Stdio::piped()).spawn().unwrap();
    let mut output = BufReader::new(reading.stdout.take().unwrap());
    let mut line = String::new();
    output.read_line(&mut line).unwrap();
    assert_eq!(line, format!("Connecting to the console for enclave {}...\n", run["EnclaveCID"]));
    let mut said = String::new();
    parent.nitro_cli(&["terminate-enclave", "--enclave-id", id]);
    output.read_to_string(&mut said).unwrap();
    assert!(said.starts_with("Successfully connected to the console.\n"), "{said}");
    assert!(reading.wait().unwrap().success());
}

#[test]
fn enclaves_started_at_once_share_nothing() {
    let parent = Parent::new();
    let image = parent.rogue("honest");
    let start = || parent.run(&image).json();
    let (a, b) = thread::scope(|scope| {
        let other = scope.spawn(start);
        (start(), other.join().unwrap())
    });
    assert_ne!(a["EnclaveCID"], b["EnclaveCID"]);
    assert_ne!(a["CPUIDs"], b["CPUIDs"]);
    let mut names = [&a, &b].map(|run| run["EnclaveName"].as_str().unwrap());
    names.sort_unstable();
    assert_eq!(names, ["honest", "honest_1"]);
    assert_eq!(parent.free_pages(), "1536");

    let ended = parent.nitro_cli(&["terminate-enclave", "--enclave-name", "honest_1"]).json();
    assert_eq!(ended["EnclaveName"], "honest_1");
    let ended = parent.nitro_cli(&["terminate-enclave", "--all"]).json();
    assert_eq!(ended.as_array().unwrap().len(), 1);
    assert_eq!(parent.nitro_cli(&["terminate-enclave", "--all"]).stdout, "[]\n");
}

#[test]
fn an_enclave_ends_with_its_responder() {
    let parent = Parent::new();
    let run = parent.run(&parent.rogue("dies")).json();
    document(&parent, &run["EnclaveCID"]);
    parent.await_end(&run["EnclaveID"]);
    assert_eq!(parent.describe(), json!([]));
    assert_eq!(parent.free_pages(), "2048");
}

#[test]
fn nothing_survives_the_death_of_an_enclaves_process() {
    let parent = Parent::new();
    let run = parent.run(&parent.rogue("silent")).json();
    let responder = parent.connect_to_responder(&run["EnclaveID"]);
    let pid = i32::try_from(run["ProcessID"].as_i64().unwrap()).unwrap();
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    await_close(responder);
    parent.await_end(&run["EnclaveID"]);
    assert_eq!(parent.describe(), json!([]));
    assert_eq!(parent.free_pages(), "2048");
}

#[test]
fn nothing_survives_the_removal_of_the_host() {
    let parent = Parent::new();
    let run = parent.run(&parent.rogue("silent")).json();
    let responder = parent.connect_to_responder(&run["EnclaveID"]);
    fs::remove_dir_all(parent.host.dir()).unwrap();
    await_close(responder);
}

#[test]
fn a_port_on_which_nobody_listens_is_closed_without_a_word() {
    let parent = Parent::new();
    let run = parent.run(&parent.rogue("mute")).json();
    for port in [ATTESTATION_PORT, 9_999] {
        let refused = parent.connect(&run["EnclaveCID"], port).unwrap_err();
        assert!(matches!(refused, HandshakeError::Closed), "{refused}");
    }
}

#[test]
fn the_pool_stays_as_it_is_while_an_enclave_runs() {
    let parent = Parent::new();
    let run = parent.run(&parent.rogue("mute")).json();
    let refused = parent.allocator();
    assert_eq!(refused.code, 1);
    assert_eq!(
        refused.stderr,
        "Error: Could not re-online CPUs because there is at least one enclave currently running. \
         Make sure you stop all enclaves prior to re-starting the nitro-enclaves-allocator.service.\n"
    );
    assert_eq!(parent.host.pool().unwrap().to_string(), "1-3,5-7");
    let id = run["EnclaveID"].as_str().unwrap();
    parent.nitro_cli(&["terminate-enclave", "--enclave-id", id]).json();
    let said = parent.allocator();
    assert_eq!(said.code, 0);
    assert!(
        said.stdout
            .ends_with("Successfully allocated Nitro Enclaves resources: 4096 MiB, 6 CPUs\n"),
        "{}",
        said.stdout
    );
}
