//! The boot of one enclave.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use bailey_eif::Measurement;
use bailey_simulated_nsm::{Authority, AuthorityPem, Enclave, Mode, SimulatedNsm};
use bailey_vsock::HEARTBEAT_BYTE;
use time::OffsetDateTime;

use super::events::{Event, Events};
use super::responder::{HEARTBEAT_SOCKET, NSM_SOCKET, spawn};
use super::virtual_machine;
use super::vsock;
use crate::failure::{Failure, Reason};
use crate::host::Host;
use crate::image::with_sources;
use crate::launch::Launch;
use crate::ramdisk::extract;

/// How long an enclave has for its sign of life.
///
/// nitro-cli waits 3 minutes for a small image: 90 s for each started 6 GiB of it and for each
/// started 100 GiB of memory. A process starts faster than a machine boots.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(30);

/// The environment variable that replaces it, in milliseconds.
const HEARTBEAT_TIMEOUT_VARIABLE: &str = "BAILEY_SIM_HEARTBEAT_TIMEOUT_MS";

/// The directory, in the enclave's own, that the ramdisks are unpacked to.
const ROOT: &str = "root";

/// An enclave that has its resources.
pub(super) struct Machine<'a> {
    /// The parent.
    pub(super) host: &'a Host,
    /// What was asked for.
    pub(super) launch: &'a Launch,
    /// The CID that it has.
    pub(super) cid: u32,
    /// What its image measures to.
    pub(super) measured: &'a Measurement,
}

impl Machine<'_> {
    /// Starts what the enclave runs as and waits for its sign of life; then its vsock is open.
    pub(super) fn boot(&self, events: &Events) -> Result<(), Failure> {
        self.serve_nsm()?;
        let heartbeat = UnixListener::bind(HEARTBEAT_SOCKET)
            .map_err(|err| failed("listen for the heartbeat", &err))?;
        let sender = events.sender();
        thread::spawn(move || await_heartbeat(&heartbeat, &sender));
        match virtual_machine::program() {
            Some(program) => self.boot_machine(&program, events),
            None => self.boot_process(events),
        }
    }

    fn boot_process(&self, events: &Events) -> Result<(), Failure> {
        fs::create_dir(ROOT).map_err(|err| failed("make the root directory", &err))?;
        extract(&self.launch.request.eif_path, Path::new(ROOT))
            .map_err(|err| failed("unpack the ramdisks", &err))?;
        spawn(&Path::new(ROOT).join("keep"), self.cid, &events.sender())
            .map_err(|err| failed("start the responder `/keep`", &err))?;
        await_boot(events, HEARTBEAT_TIMEOUT)?;
        vsock::listen(self.host, self.cid).map_err(|err| failed("listen on the vsock", &err))
    }

    fn boot_machine(&self, program: &Path, events: &Events) -> Result<(), Failure> {
        virtual_machine::spawn(program, self.host, self.launch, self.cid, &events.sender())
            .map_err(|err| failed("start the virtual machine", &err))?;
        await_boot(events, virtual_machine::HEARTBEAT_TIMEOUT)
    }

    fn serve_nsm(&self) -> Result<(), Failure> {
        let nsm = Arc::new(self.nsm()?);
        let listener =
            UnixListener::bind(NSM_SOCKET).map_err(|err| failed("listen as the NSM", &err))?;
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let nsm = Arc::clone(&nsm);
                thread::spawn(move || {
                    if let Err(err) = nsm.serve_connection(stream, now_ms) {
                        eprintln!("the NSM ends a connection: {}", with_sources(&err));
                    }
                });
            }
        });
        Ok(())
    }

    fn nsm(&self) -> Result<SimulatedNsm, Failure> {
        let facts = self.host.facts();
        let parent = read_authority(&facts.authority)?
            .instance(&facts.instance_id, &facts.role_arn, now_ms())
            .map_err(|err| failed("issue the instance's certificates", &err))?;
        let pcrs = self.measured.pcrs();
        let enclave = Enclave {
            module_id: self.launch.slot.module_id(&facts.instance_id),
            measurements: pcrs
                .iter()
                .map(|(index, pcr)| (*index, pcr.0))
                .collect::<BTreeMap<_, _>>(),
            mode: if self.launch.request.debug_mode { Mode::Debug } else { Mode::Production },
        };
        Ok(SimulatedNsm::new(parent, enclave))
    }
}

/// The local root: a certificate and its key, one after the other in one PEM file.
fn read_authority(path: &Path) -> Result<Authority, Failure> {
    let text = fs::read_to_string(path).map_err(|err| Failure::file(path, "Read", &err))?;
    Authority::from_pem(&split_pem(&text)).map_err(|err| failed("read the local authority", &err))
}

fn split_pem(text: &str) -> AuthorityPem {
    let marker = "-----BEGIN CERTIFICATE-----";
    let end = "-----END CERTIFICATE-----";
    let start = text.find(marker).unwrap_or_default();
    let stop = text.find(end).map_or(text.len(), |at| at + end.len());
    let certificate = text.get(start..stop).unwrap_or_default().to_owned();
    let key = text.replacen(&certificate, "", 1);
    AuthorityPem { certificate, key }
}

fn await_boot(events: &Events, limit: Duration) -> Result<(), Failure> {
    let timeout = env::var(HEARTBEAT_TIMEOUT_VARIABLE)
        .ok()
        .and_then(|text| text.parse().ok())
        .map_or(limit, Duration::from_millis);
    let cause = match events.next_within(timeout) {
        Some(Event::Heartbeat) => return Ok(()),
        Some(event) => event.to_string(),
        None => format!("no heartbeat within {} ms", timeout.as_millis()),
    };
    Err(Reason::Boot.because(format!("Waiting on enclave to boot failed with error: {cause}")))
}

/// Accepts connections until one says the byte of life, and says it back, as nitro-cli does.
fn await_heartbeat(listener: &UnixListener, events: &Sender<Event>) {
    if listener.incoming().flatten().any(|stream| beats(stream).unwrap_or(false)) {
        let _ = events.send(Event::Heartbeat);
    }
}

fn beats(mut stream: UnixStream) -> std::io::Result<bool> {
    let mut byte = [0; 1];
    stream.read_exact(&mut byte)?;
    if byte != [HEARTBEAT_BYTE] {
        return Ok(false);
    }
    stream.write_all(&byte)?;
    Ok(true)
}

fn now_ms() -> u64 {
    let millis = OffsetDateTime::now_utc().unix_timestamp_nanos() / 1_000_000;
    u64::try_from(millis).unwrap_or_default()
}

fn failed(action: &str, err: &dyn std::error::Error) -> Failure {
    Reason::Boot.because(format!("cannot {action}: {}", with_sources(err)))
}
