//! The image that the builder makes, booted by a machine that nobody here wrote.
//!
//! These tests need tools of their own and a quiet minute, so `make test-boot` runs them.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a machine in which something is missing has failed its test"
)]

mod image;
mod machine;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use bailey_agent::attest::{AttestError, VsockResponders};
use bailey_agent::ports::{AttestOrder, Responders as _};
use bailey_agent::vsock::Vsock;
use bailey_attestation::{ChainCache, TrustedRoots};
use bailey_model::{Generation, PcrSet};
use bailey_simulated_nsm::extended_from_zero;
use ciborium::Value;
use machine::{CID, LIMIT, Machine, runs};

const INSTANCE: &str = "i-0123456789abcdef0";
const MODULE: &str = "i-0123456789abcdef0-enc0123456789abcdef";
const ROLE: &str = "arn:aws:iam::123456789012:role/bailey-parent";
/// QEMU's own machine for this enclave, in words for the program.
const IDENTITY: [&str; 7] =
    ["nitro-enclave", "--module-id", MODULE, "--role-arn", ROLE, "--instance-id", INSTANCE];

#[tokio::test(flavor = "multi_thread")]
#[ignore = "boots a machine: `make test-boot`"]
async fn a_real_kernel_boots_the_image_and_qemu_measures_it_as_we_do() {
    let directory = tempfile::Builder::new().prefix("bailey-").tempdir().unwrap();
    let (image, measured) = image::build(directory.path());
    let machine = Machine::boot(directory.path(), &image, &IDENTITY);
    let heartbeat = machine.await_heartbeat();

    // The agent's own code reaches the responder, and its judgement of what this machine signs with
    // nothing: the document's header names no signature algorithm that anybody knows.
    let order = AttestOrder {
        enclave_id: "booted".parse().unwrap(),
        generation: Generation(1),
        cid: CID,
        nonce: vec![7; 32],
        sequence: 1,
        debug: false,
        measurements: measured.pcrs(),
    };
    let enclave = order.enclave_id.clone();
    let agent = VsockResponders {
        vsock: Vsock::Unix(directory.path().to_owned()),
        roots: TrustedRoots::aws(),
        chains: Arc::new(ChainCache::new(8)),
        instance_id: INSTANCE.to_owned(),
        timeout: LIMIT,
    };
    let judged = agent.attest(order).await;
    let attested = machine.age();
    match judged {
        Err(AttestError::Rejected { code: "algorithm", .. }) => {}
        other => panic!("{other:?}\n{}", machine.logs()),
    }

    let document = Document::read(&machine.ask(&enclave, b"another nonce"));
    let mut expected = measured.pcrs();
    assert_eq!(expected.keys().copied().collect::<Vec<_>>(), [0, 1, 2, 8]);
    expected.insert(3, bailey_model::Pcr(extended_from_zero(ROLE.as_bytes())));
    expected.insert(4, bailey_model::Pcr(extended_from_zero(INSTANCE.as_bytes())));
    let found: PcrSet =
        document.pcrs.into_iter().filter(|(index, _)| expected.contains_key(index)).collect();
    assert_eq!(found, expected);
    assert_eq!(document.module_id, MODULE);
    assert_eq!(document.nonce, b"another nonce");
    println!("boot: heartbeat_ms={} attested_ms={}", heartbeat.as_millis(), attested.as_millis());
}

#[test]
#[ignore = "boots a machine: `make test-boot`"]
fn a_real_kernel_runs_no_longer_than_the_program_that_booted_it() {
    let directory = tempfile::Builder::new().prefix("bailey-").tempdir().unwrap();
    let (image, _) = image::build(directory.path());
    let machine = Machine::boot(directory.path(), &image, &IDENTITY);
    machine.await_heartbeat();
    let qemu = machine.kill_program();
    let killed = Instant::now();
    // The kernel offers no event for the end of a process that is not a child.
    while runs(qemu) {
        assert!(killed.elapsed() < LIMIT, "QEMU outlives the program that started it");
        thread::sleep(Duration::from_millis(5));
    }
}

/// What a document says, read without any judgement: ours refuse this one.
struct Document {
    module_id: String,
    nonce: Vec<u8>,
    pcrs: BTreeMap<u8, bailey_model::Pcr>,
}

impl Document {
    fn read(bytes: &[u8]) -> Self {
        let signed: Value = ciborium::from_reader(bytes).unwrap();
        let payload = signed.as_array().unwrap()[2].as_bytes().unwrap();
        let payload: Value = ciborium::from_reader(payload.as_slice()).unwrap();
        let fields: BTreeMap<String, Value> = payload
            .into_map()
            .unwrap()
            .into_iter()
            .map(|(key, value)| (key.into_text().unwrap(), value))
            .collect();
        let pcrs = fields["pcrs"].as_map().unwrap().iter().map(|(index, value)| {
            let index = u8::try_from(index.as_integer().unwrap()).unwrap();
            let value = value.as_bytes().unwrap().as_slice().try_into().unwrap();
            (index, bailey_model::Pcr(value))
        });
        Self {
            module_id: fields["module_id"].as_text().unwrap().to_owned(),
            nonce: fields["nonce"].as_bytes().unwrap().clone(),
            pcrs: pcrs.collect(),
        }
    }
}
