//! The Nitro Secure Module as a device, for the driver that Linux has: virtio id 33, one queue.
//!
//! The device only carries messages: each request goes to a module behind a Unix socket, in a frame,
//! and its response comes back in one. Who signs, and under which root, is decided there.
//!
//! The driver (`drivers/misc/nsm.c`) adds the request and the room for the response as two descriptor
//! chains and notifies once; at the first interrupt it takes both back.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bailey_vsock::frame;
use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackendMut, VhostUserDaemon, VringMutex, VringT as _};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_queue::QueueT as _;
use vm_memory::{GuestAddressSpace as _, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use crate::device::{DeviceError, Memory, QUEUE_SIZE, serve};

/// The driver's own bounds of a request and a response, in bytes (`NSM_REQUEST_MAX_SIZE`,
/// `NSM_RESPONSE_MAX_SIZE`).
const MAX_REQUEST: usize = 0x1000;
const MAX_RESPONSE: usize = 0x3000;

/// How long the module may take for a transfer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// CBOR of `{"Error": "InternalError"}`: what the driver is told when the module cannot be asked.
const INTERNAL_ERROR: &[u8] = b"\xa1\x65Error\x6dInternalError";

/// Serves the device at `socket`, in threads of its own, to the first who connects; `module` is the
/// socket of the module.
pub fn start(socket: &Path, module: PathBuf) -> Result<(), DeviceError> {
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let device = Nsm { module, memory: memory.clone(), asked: None };
    let daemon = VhostUserDaemon::new("nsm".to_owned(), Arc::new(Mutex::new(device)), memory)
        .map_err(DeviceError::vhost(socket))?;
    serve(socket, daemon)
}

struct Nsm {
    module: PathBuf,
    memory: Memory,
    /// A request whose room for the response is still to come: the head of its chain, and its bytes.
    asked: Option<(u16, Vec<u8>)>,
}

impl Nsm {
    fn answer_all(&mut self, vring: &VringMutex) -> io::Result<()> {
        let memory = self.memory.memory();
        let mut used = false;
        loop {
            // A statement of its own, so that the ring's lock is free while the module is asked.
            let chain = vring.get_mut().get_queue_mut().pop_descriptor_chain(memory.clone());
            let Some(chain) = chain else { break };
            let head = chain.head_index();
            let mut request = Vec::new();
            let reader = chain.clone().reader(&memory).map_err(io::Error::other)?;
            let limit = u64::try_from(MAX_REQUEST).unwrap_or(u64::MAX);
            reader.take(limit).read_to_end(&mut request)?;
            let mut writer = chain.writer(&memory).map_err(io::Error::other)?;
            if writer.available_bytes() == 0 {
                if let Some((unanswered, _)) = self.asked.replace((head, request)) {
                    vring.add_used(unanswered, 0).map_err(io::Error::other)?;
                    used = true;
                }
                continue;
            }
            if let Some((first, bytes)) = self.asked.take() {
                vring.add_used(first, 0).map_err(io::Error::other)?;
                request = bytes;
            }
            let response = self.ask(&request).unwrap_or_else(|err| {
                eprintln!("enclave-vm: the module does not answer: {err}");
                INTERNAL_ERROR.to_vec()
            });
            // What the guest has no room for is cut, and then is no CBOR.
            let fitting = response.get(..writer.available_bytes()).unwrap_or(&response);
            writer.write_all(fitting)?;
            let written = u32::try_from(fitting.len()).unwrap_or(u32::MAX);
            vring.add_used(head, written).map_err(io::Error::other)?;
            used = true;
        }
        if used { vring.signal_used_queue() } else { Ok(()) }
    }

    fn ask(&self, request: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = UnixStream::connect(&self.module)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        frame::write(&mut stream, request, MAX_REQUEST).map_err(io::Error::other)?;
        let response = frame::read(&mut stream, MAX_RESPONSE).map_err(io::Error::other)?;
        response.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl VhostUserBackendMut for Nsm {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        1
    }

    fn max_queue_size(&self) -> usize {
        QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        (1 << VIRTIO_F_VERSION_1) | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&mut self, _enabled: bool) {}

    fn update_memory(&mut self, memory: Memory) -> io::Result<()> {
        self.memory = memory;
        Ok(())
    }

    /// Comes for every notification, and once when the queue is enabled: the driver's first request, for
    /// entropy, is made before the driver is ready, and QEMU passes no notification on until it is.
    fn handle_event(
        &mut self,
        _event: u16,
        _set: EventSet,
        vrings: &[VringMutex],
        _thread: usize,
    ) -> io::Result<()> {
        let outcome = vrings.first().map_or(Ok(()), |vring| self.answer_all(vring));
        if let Err(err) = outcome {
            eprintln!("enclave-vm: NSM: {err}");
        }
        Ok(())
    }
}
