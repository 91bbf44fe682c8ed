//! The process of one enclave: all of it that is not the responder itself.
//!
//! ```text
//! run-enclave ── Launch ──▶ reserve ─▶ unpack ─▶ responder ─▶ heartbeat ─▶ serve ─▶ end
//!                              │          │          │            │          │
//!                              └──────────┴──────────┴────────────┴─ failed ─┴─▶ release
//! ```
//!
//! In its second form nothing is unpacked, and in the responder's place is a virtual machine that boots
//! the whole image. This process leads a process group, in which either is too; its last act is to kill
//! that group. Both also end when this process is killed.

mod events;
mod machine;
mod responder;
mod tied;
mod virtual_machine;
mod vsock;

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::{getpgrp, getpid};

use crate::allocation::{check_cpus, check_memory};
use crate::commands::logs;
use crate::enclaves::{Enclave, Enclaves, State, alive_file};
use crate::failure::Failure;
use crate::host::{Host, POOL};
use crate::image::{Image, with_sources};
use crate::launch::{Launch, Reply, Status, receive, send};
use crate::output::{ImageInfo, measurements, pretty};
use events::{Event, Events};
use machine::Machine;

pub(crate) use tied::become_program;

/// Runs one enclave, from the request on standard input to its end.
pub(crate) fn main(host: &Host) -> ExitCode {
    // Before anything starts a thread: every thread has to leave the signals to the one that waits.
    let prepared = events::block_signals().and_then(|()| Caller::from_stdin());
    let launched = prepared.and_then(|mut caller| Ok((caller.launch()?, caller)));
    match launched {
        Ok((launch, caller)) => live(host, &launch, caller),
        Err(err) => eprintln!("the enclave's process cannot start: {err}"),
    }
    end_group();
    ExitCode::SUCCESS
}

/// From reservation to release.
fn live(host: &Host, launch: &Launch, mut caller: Caller) {
    let id = launch.slot.enclave_id(&host.facts().instance_id);
    let started = hold_alive(host, launch).and_then(|alive| {
        let events = Events::watch(host);
        start(host, launch, &events, &mut caller).map(|enclave| (alive, events, enclave))
    });
    match started {
        Ok((_alive, events, enclave)) => {
            caller.tell(&Reply::StdOut(pretty(&enclave.run_info())));
            caller.tell(&Reply::Status(Status::Running));
            drop(caller);
            let end = events.next_end();
            eprintln!("the enclave ends: {end}");
            // Whoever removes the host must not find new files in it.
            if !matches!(end, Event::HostGone) {
                release(host, &id);
            }
        }
        Err(failure) => {
            // First, so that the caller finds everything free again when it learns of the failure.
            release(host, &id);
            caller.tell(&Reply::StdErr(failure.block("Run Enclave", &logs(host))));
            caller.tell(&Reply::Status(Status::Failed));
        }
    }
}

/// Takes the lock that says that this process lives.
fn hold_alive(host: &Host, launch: &Launch) -> Result<File, Failure> {
    let path = alive_file(host, &launch.slot.to_string());
    let failed = |err: io::Error| Failure::file(&path, "Lock", &err);
    let file = File::create(&path).map_err(failed)?;
    file.lock().map_err(failed)?;
    Ok(file)
}

fn start(
    host: &Host,
    launch: &Launch,
    events: &Events,
    caller: &mut Caller,
) -> Result<Enclave, Failure> {
    let image = Image::open(&launch.request.eif_path)?;
    let enclave = reserve(host, launch, &image, caller)?;
    let measured = image.boot()?;
    Machine { host, launch, cid: enclave.cid, measured }.boot(events)?;
    let running = Enclave {
        state: State::Running,
        measurements: measurements(measured),
        image: measured.metadata.as_ref().and_then(ImageInfo::from_metadata),
        ..enclave
    };
    Enclaves::lock(host)?.put(&running)?;
    Ok(running)
}

/// nitro-cli's checks and the driver's, in their order; takes what the enclave is to have.
fn reserve(
    host: &Host,
    launch: &Launch,
    image: &Image,
    caller: &mut Caller,
) -> Result<Enclave, Failure> {
    let request = &launch.request;
    let mut enclaves = Enclaves::lock(host)?;
    let parent = enclaves.parent().map_err(|err| Failure::file(&host.root(POOL), "Open", &err))?;
    check_cpus(&parent.pool, &request.cpus)?;
    check_memory(request.memory_mib, image.size_bytes)?;
    let device = host.root("dev/nitro_enclaves");
    File::open(&device).map_err(|err| Failure::file(&device, "Open", &err))?;
    parent.check_vacancy()?;
    image.check_signature_walk()?;
    caller.tell(&Reply::StdErr("Start allocating memory...".to_owned()));
    let allocation = parent.allocate(&request.cpus, request.memory_mib, request.cid)?;
    let enclave = Enclave {
        name: enclaves.unique_name(&request.name),
        id: launch.slot.enclave_id(&host.facts().instance_id),
        process_id: std::process::id(),
        cid: allocation.cid,
        memory_mib: allocation.memory_mib(),
        cpu_ids: allocation.cpu_ids,
        state: State::Empty,
        debug_mode: request.debug_mode,
        measurements: std::collections::BTreeMap::new(),
        image: None,
    };
    enclaves.put(&enclave)?;
    caller.tell(&Reply::StdErr(format!(
        "Started enclave with enclave-cid: {}, memory: {} MiB, cpu-ids: {:?}",
        enclave.cid, enclave.memory_mib, enclave.cpu_ids
    )));
    Ok(enclave)
}

fn release(host: &Host, id: &str) {
    let released = Enclaves::lock(host).and_then(|mut enclaves| enclaves.remove(id));
    if let Err(failure) = released {
        eprintln!("cannot release what the enclave had: {}: {}", failure, failure.cause);
    }
}

/// Ends everything that this process started, and this process.
fn end_group() {
    // Started by hand it leads no group, and then the group is none of its business.
    if getpgrp() == getpid() {
        let _ = killpg(getpgrp(), Signal::SIGKILL);
    }
}

/// Whoever started this process, for as long as the start lasts.
struct Caller {
    stream: UnixStream,
}

impl Caller {
    /// Standard input is a stream in both directions.
    fn from_stdin() -> io::Result<Self> {
        let stream = io::stdin().as_fd().try_clone_to_owned()?;
        Ok(Self { stream: UnixStream::from(stream) })
    }

    fn launch(&mut self) -> io::Result<Launch> {
        receive(&mut self.stream)?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    /// A caller that is gone changes nothing: the enclave is there for whoever looks for it.
    fn tell(&mut self, reply: &Reply) {
        if let Err(err) = send(&mut self.stream, reply) {
            eprintln!("the caller is gone: {}", with_sources(&err));
        }
    }
}
