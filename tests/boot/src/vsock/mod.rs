//! The virtio socket device of a virtual machine (Virtual I/O Device 1.3, section 5.10).
//!
//! A guest reaches its parent as CID 3, as an enclave does, and everybody on the host is its parent.

mod connection;
mod packet;
mod switch;

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use vhost::vhost_user::message::{VhostUserProtocolFeatures, VhostUserVirtioFeatures};
use vhost_user_backend::{VhostUserBackendMut, VhostUserDaemon, VringMutex, VringT as _};
use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_queue::QueueT as _;
use vm_memory::{GuestAddressSpace as _, GuestMemoryAtomic, GuestMemoryMmap};
use vmm_sys_util::epoll::EventSet;

use crate::device::{DeviceError, Memory, serve};
use packet::{HEADER_LEN, Header, Packet};
use switch::Switch;

/// The queues: to the guest, from the guest, and events, of which there are none.
const QUEUES: usize = 3;

/// The event of the second queue.
const FROM_GUEST: u16 = 1;

/// The event of the host's sides; that before it is the library's own.
const HOST: u16 = 4;

/// What a guest's vsock is connected with.
#[derive(Clone, Debug)]
pub struct VsockOptions {
    /// The guest's CID.
    pub cid: u32,
    /// The Unix socket at which the host reaches the guest's ports, by the `CONNECT` handshake.
    pub listen: PathBuf,
    /// At which Unix socket the guest finds each port of its parent.
    pub parent_ports: BTreeMap<u32, PathBuf>,
}

/// Serves the device at `socket`, in threads of its own, to the first who connects.
pub fn start(socket: &Path, options: VsockOptions) -> Result<(), DeviceError> {
    let failed = |source| DeviceError::Listen { path: options.listen.clone(), source };
    let listener = UnixListener::bind(&options.listen).map_err(failed)?;
    let switch = Switch::new(options.cid, listener, options.parent_ports).map_err(failed)?;
    let memory = GuestMemoryAtomic::new(GuestMemoryMmap::new());
    let readiness = switch.readiness().0.as_raw_fd();
    let device = Vsock { switch, cid: options.cid, memory: memory.clone() };
    let daemon = VhostUserDaemon::new("vsock".to_owned(), Arc::new(Mutex::new(device)), memory)
        .map_err(DeviceError::vhost(socket))?;
    for handler in daemon.get_epoll_handlers() {
        handler
            .register_listener(readiness, EventSet::IN, HOST.into())
            .map_err(|source| DeviceError::Listen { path: socket.to_owned(), source })?;
    }
    serve(socket, daemon)
}

struct Vsock {
    switch: Switch,
    cid: u32,
    memory: Memory,
}

impl Vsock {
    /// Takes every packet that the guest has put into its queue.
    fn take_packets(&mut self, vring: &VringMutex) -> io::Result<()> {
        let memory = self.memory.memory();
        let mut used = false;
        loop {
            // A statement of its own, so that the ring's lock is free again below.
            let chain = vring.get_mut().get_queue_mut().pop_descriptor_chain(memory.clone());
            let Some(chain) = chain else { break };
            let head = chain.head_index();
            let mut reader = chain.reader(&memory).map_err(io::Error::other)?;
            let mut header = [0; HEADER_LEN];
            if reader.read_exact(&mut header).is_ok() {
                let header = Header::parse(&header);
                let mut data = Vec::new();
                reader.take(header.length.into()).read_to_end(&mut data)?;
                self.switch.take_packet(&Packet { header, data });
            }
            vring.add_used(head, 0).map_err(io::Error::other)?;
            used = true;
        }
        if used { vring.signal_used_queue() } else { Ok(()) }
    }

    /// Puts packets into the buffers that the guest offers, as far as there are any.
    fn give_packets(&mut self, vring: &VringMutex) -> io::Result<()> {
        let memory = self.memory.memory();
        let mut used = false;
        while self.switch.has_packet() {
            let chain = vring.get_mut().get_queue_mut().pop_descriptor_chain(memory.clone());
            let Some(chain) = chain else { break };
            let head = chain.head_index();
            let mut writer = chain.writer(&memory).map_err(io::Error::other)?;
            let room = writer.available_bytes().saturating_sub(HEADER_LEN);
            if let Some(packet) = self.switch.next_packet(room) {
                writer.write_all(&packet.header.to_bytes())?;
                writer.write_all(&packet.data)?;
            }
            let written = u32::try_from(writer.bytes_written()).unwrap_or(u32::MAX);
            vring.add_used(head, written).map_err(io::Error::other)?;
            used = true;
        }
        if used { vring.signal_used_queue() } else { Ok(()) }
    }

    fn serve(&mut self, event: u16, vrings: &[VringMutex]) -> io::Result<()> {
        let [to_guest, from_guest, ..] = vrings else { return Ok(()) };
        match event {
            FROM_GUEST => self.take_packets(from_guest)?,
            HOST => self.switch.serve_host()?,
            _ => {}
        }
        self.give_packets(to_guest)
    }
}

impl VhostUserBackendMut for Vsock {
    type Bitmap = ();
    type Vring = VringMutex;

    fn num_queues(&self) -> usize {
        QUEUES
    }

    fn max_queue_size(&self) -> usize {
        crate::device::QUEUE_SIZE
    }

    fn features(&self) -> u64 {
        (1 << VIRTIO_F_VERSION_1) | VhostUserVirtioFeatures::PROTOCOL_FEATURES.bits()
    }

    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::MQ
            | VhostUserProtocolFeatures::CONFIG
            | VhostUserProtocolFeatures::REPLY_ACK
    }

    fn set_event_idx(&mut self, _enabled: bool) {}

    /// The configuration is the guest's CID, in 8 bytes.
    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let config = u64::from(self.cid).to_le_bytes();
        let skipped = config.into_iter().skip(usize::try_from(offset).unwrap_or(usize::MAX));
        skipped.take(usize::try_from(size).unwrap_or(0)).collect()
    }

    fn update_memory(&mut self, memory: Memory) -> io::Result<()> {
        self.memory = memory;
        Ok(())
    }

    /// What goes wrong with one packet must not end the device's thread.
    fn handle_event(
        &mut self,
        event: u16,
        _set: EventSet,
        vrings: &[VringMutex],
        _thread: usize,
    ) -> io::Result<()> {
        if let Err(err) = self.serve(event, vrings) {
            eprintln!("enclave-vm: vsock: {err}");
        }
        Ok(())
    }
}
