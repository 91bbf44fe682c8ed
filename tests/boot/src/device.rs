//! What the devices of ours have in common: each is a vhost-user back-end in threads of this process.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use vhost::vhost_user::Listener;
use vhost_user_backend::bitmap::BitmapReplace;
use vhost_user_backend::{VhostUserBackend, VhostUserDaemon};
use vm_memory::mmap::NewBitmap;
use vm_memory::{GuestMemoryAtomic, GuestMemoryMmap};

/// The guest's memory.
pub(crate) type Memory = GuestMemoryAtomic<GuestMemoryMmap>;

/// The longest queue. QEMU offers the guest this one over virtio-mmio, whatever it was told.
pub(crate) const QUEUE_SIZE: usize = 1_024;

/// Serves a device to the first who connects to `socket`, in threads of its own.
pub(crate) fn serve<T>(socket: &Path, mut daemon: VhostUserDaemon<T>) -> Result<(), DeviceError>
where
    T: VhostUserBackend + Clone + 'static,
    T::Bitmap: BitmapReplace + NewBitmap + Clone + Send + Sync,
    T::Vring: Clone + Send + Sync,
{
    let failed = |source: vhost::vhost_user::Error| DeviceError::Vhost {
        path: socket.to_owned(),
        reason: source.to_string(),
    };
    // Made here, so that whoever is told that the device is there can connect to it.
    let mut listener = Listener::new(socket, true).map_err(failed)?;
    let name = socket.display().to_string();
    let serve = move || {
        if let Err(err) = daemon.start(&mut listener).and_then(|()| daemon.wait()) {
            eprintln!("enclave-vm: the device at {name} ends: {err}");
        }
    };
    thread::Builder::new()
        .spawn(serve)
        .map(drop)
        .map_err(|source| DeviceError::Listen { path: socket.to_owned(), source })
}

/// Why a device cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// A Unix socket cannot be made.
    #[error("cannot listen on {}", path.display())]
    Listen {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The back-end cannot be set up.
    #[error("cannot serve a device on {}: {reason}", path.display())]
    Vhost {
        /// Its socket.
        path: PathBuf,
        /// The library's reason.
        reason: String,
    },
}

impl DeviceError {
    pub(crate) fn vhost(path: &Path) -> impl Fn(vhost_user_backend::Error) -> Self {
        move |err| Self::Vhost { path: path.to_owned(), reason: err.to_string() }
    }
}
