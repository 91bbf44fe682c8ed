//! Byte streams to and from peers, over vsock or Unix sockets.

use super::settings::{ListenAddress, PeerAddress};
use std::{
    fmt, fs, io,
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    os::{
        fd::AsFd,
        unix::{
            fs::FileTypeExt as _,
            net::{UnixListener, UnixStream},
        },
    },
    path::Path,
    time::{Duration, Instant},
};
use vsock::{VMADDR_CID_ANY, VsockListener, VsockStream};

/// A stream on which neither reading nor writing can block for ever.
pub trait Connection: AsFd + fmt::Debug + Read + Send + Sync + Write {
    /// Another handle of the same stream.
    fn duplicate(&self) -> io::Result<Box<dyn Connection>>;

    /// Tells the peer that nothing more comes; what it sends can still be read.
    fn end_writing(&self) -> io::Result<()>;

    /// Ends the stream in both directions, whoever is reading or writing.
    fn hang_up(&self) -> io::Result<()>;

    /// Makes a read fail that takes longer than this.
    fn set_read_timeout(&self, timeout: Duration) -> io::Result<()>;

    /// Makes a write fail that takes longer than this.
    fn set_write_timeout(&self, timeout: Duration) -> io::Result<()>;
}

macro_rules! connection {
    ($stream:ty) => {
        impl Connection for $stream {
            fn duplicate(&self) -> io::Result<Box<dyn Connection>> {
                Ok(Box::new(self.try_clone()?))
            }

            fn end_writing(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Write)
            }

            fn hang_up(&self) -> io::Result<()> {
                self.shutdown(Shutdown::Both)
            }

            fn set_read_timeout(&self, timeout: Duration) -> io::Result<()> {
                Self::set_read_timeout(self, Some(timeout))
            }

            fn set_write_timeout(&self, timeout: Duration) -> io::Result<()> {
                Self::set_write_timeout(self, Some(timeout))
            }
        }
    };
}

// The three have these functions in common, and no trait.
connection!(TcpStream);
connection!(UnixStream);
connection!(VsockStream);

/// Connects to `peer`. Over vsock the kernel gives up after 2 seconds by itself.
pub(super) fn connect(peer: &PeerAddress) -> io::Result<Box<dyn Connection>> {
    Ok(match peer {
        PeerAddress::Unix(path) => Box::new(UnixStream::connect(path)?),
        PeerAddress::Vsock { cid, port } => {
            Box::new(VsockStream::connect_with_cid_port(*cid, *port)?)
        }
    })
}

/// Where peers connect.
#[derive(Debug)]
pub enum Listener {
    /// On a Unix socket.
    Unix(UnixListener),
    /// On a vsock port.
    Vsock(VsockListener),
}

impl Listener {
    /// Binds. A socket that an earlier process left at a Unix path is replaced.
    pub fn bind(address: &ListenAddress) -> io::Result<Self> {
        match address {
            ListenAddress::Unix(path) => {
                remove_socket(path)?;
                UnixListener::bind(path).map(Self::Unix)
            }
            ListenAddress::Vsock { port } => {
                VsockListener::bind_with_cid_port(VMADDR_CID_ANY, *port).map(Self::Vsock)
            }
        }
    }

    pub(super) fn accept(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self {
            Self::Unix(listener) => Box::new(listener.accept()?.0),
            Self::Vsock(listener) => Box::new(listener.accept()?.0),
        })
    }
}

/// Removes a socket and nothing else.
pub(super) fn remove_socket(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => fs::remove_file(path),
        Ok(_) => Ok(()),
        Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(err) => Err(err),
    }
}

/// A stream of which everything has to be done by one instant: a peer that sends one byte now and
/// then does not get more time than one that sends nothing.
#[derive(Debug)]
pub(super) struct Timed<'a> {
    connection: &'a mut dyn Connection,
    deadline: Instant,
}

impl<'a> Timed<'a> {
    pub(super) fn new(connection: &'a mut dyn Connection, allowed: Duration) -> Self {
        Self { connection, deadline: Instant::now() + allowed }
    }

    fn remaining(&self) -> io::Result<Duration> {
        match self.deadline.saturating_duration_since(Instant::now()) {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            remaining => Ok(remaining),
        }
    }
}

impl Read for Timed<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.connection.set_read_timeout(self.remaining()?)?;
        self.connection.read(buffer)
    }
}

impl Write for Timed<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.connection.set_write_timeout(self.remaining()?)?;
        self.connection.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.connection.flush()
    }
}
