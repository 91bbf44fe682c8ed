//! One peer of a service.

use super::{
    super::connection::{Connection, Timed},
    ConverseError,
    seats::{Seat, Waiting},
};
use bailey_vsock::frame::{self, FrameError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    io,
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

/// A peer: whole frames in and out, each within its deadline.
#[derive(Debug)]
pub struct Peer {
    connection: Box<dyn Connection>,
    /// The same connection, for whoever has to end it from outside.
    handle: Arc<dyn Connection>,
    seat: Seat,
    /// From when it came until its first request is asked for.
    arrival: Option<Waiting>,
    per_frame: Duration,
}

impl Peer {
    pub(super) fn new(
        connection: Box<dyn Connection>,
        handle: Arc<dyn Connection>,
        (seat, waiting): (Seat, Waiting),
        per_frame: Duration,
    ) -> Self {
        Self { connection, handle, seat, arrival: Some(waiting), per_frame }
    }

    /// The next frame's body; `None` when the peer has left.
    pub fn read(&mut self, limit: usize) -> Result<Option<Vec<u8>>, FrameError> {
        let arrived = self.arrival.take();
        let _waiting = arrived.unwrap_or_else(|| self.seat.wait(&self.handle));
        frame::read(&mut Timed::new(self.connection.as_mut(), self.per_frame), limit)
    }

    /// Sends a frame.
    pub fn write(&mut self, body: &[u8], limit: usize) -> Result<(), ConverseError> {
        write(self.connection.as_mut(), body, limit, self.per_frame).map_err(ConverseError::Frame)
    }

    /// Waits until `wake` is readable; false when the peer has left or sent something before.
    pub(in super::super) fn wait_for(&self, wake: impl AsFd) -> io::Result<bool> {
        let both = [self.handle.as_fd(), wake.as_fd()];
        let [peer, _] = readable(both)?;
        Ok(!peer)
    }

    /// Says that nothing more will be sent, and waits until the peer has left, or the deadline of a
    /// frame has passed.
    pub(in super::super) fn finish(&mut self) {
        let left = self.connection.end_writing().and_then(|()| {
            io::copy(&mut Timed::new(self.connection.as_mut(), self.per_frame), &mut io::sink())
        });
        // Whether it left or was too slow, there is nothing more to be done for it.
        drop(left);
    }
}

pub(super) fn write(
    connection: &mut dyn Connection,
    body: &[u8],
    limit: usize,
    per_frame: Duration,
) -> Result<(), FrameError> {
    frame::write(&mut Timed::new(connection, per_frame), body, limit)
}

/// Waits until at least one is readable, or ended; which of them are.
fn readable<const N: usize>(descriptors: [BorrowedFd<'_>; N]) -> io::Result<[bool; N]> {
    let mut polled = descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN));
    loop {
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) => break,
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(polled.map(|entry| entry.any().unwrap_or(true)))
}
