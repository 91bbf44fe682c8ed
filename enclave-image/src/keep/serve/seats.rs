//! The connections that may be open at once, and who has to leave for a newcomer.

use super::super::connection::Connection;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a newcomer waits for a seat: for one whose holder was sent away, which takes a moment,
/// unless its request came in that very moment; or until what others have said is read.
const CHANGE: Duration = Duration::from_secs(1);

/// How long it waits before it looks again: nothing announces that a connection has fallen silent.
const MOMENT: Duration = Duration::from_millis(5);

/// All seats.
#[derive(Clone)]
pub(super) struct Seats {
    limit: usize,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    given_back: Condvar,
}

#[derive(Default)]
struct State {
    taken: usize,
    /// Counts up, so that the smallest ticket is that of the longest wait.
    next_ticket: u64,
    waiting: BTreeMap<u64, Arc<dyn Connection>>,
}

impl Seats {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, shared: Arc::default() }
    }

    /// A seat for a newcomer, if need be that of whoever has been silent longest; `None` when nobody
    /// is silent. The newcomer counts as silent until its first request has come.
    pub(super) fn take(&self, newcomer: &Arc<dyn Connection>) -> Option<(Seat, Waiting)> {
        let mut state = self.lock();
        let deadline = Instant::now() + CHANGE;
        let mut has_left = false;
        while state.taken >= self.limit {
            let silent = state.waiting.iter().filter(|(_, one)| !has_spoken(one.as_ref()));
            let longest = silent.map(|(ticket, _)| *ticket).next().filter(|_| !has_left);
            if let Some(silent) = longest.and_then(|ticket| state.waiting.remove(&ticket)) {
                log::warn!(limit = self.limit; "connection ended, it was silent longest");
                // It fails when the peer has left by itself.
                let _ = silent.hang_up();
                has_left = true;
            }
            let nobody = state.waiting.is_empty() && !has_left;
            if nobody || Instant::now() > deadline {
                return None;
            }
            let waited = self.shared.given_back.wait_timeout(state, MOMENT);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.taken += 1;
        drop(state);
        let seat = Seat { seats: self.clone() };
        let waiting = seat.wait(newcomer);
        Some((seat, waiting))
    }

    /// A panic elsewhere left the counts as they were.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether something of the peer's waits to be read. Its leaving does not count: then the seat is free
/// at once.
fn has_spoken(connection: &dyn Connection) -> bool {
    let mut polled = [PollFd::new(connection.as_fd(), PollFlags::POLLIN)];
    match poll(&mut polled, PollTimeout::ZERO) {
        Ok(_) => polled.iter().all(|one| one.revents() == Some(PollFlags::POLLIN)),
        Err(_) => false,
    }
}

impl fmt::Debug for Seats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seats").field("limit", &self.limit).finish_non_exhaustive()
    }
}

/// One of the connections that may be open; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
}

impl Seat {
    /// The connection waits for its peer until the result is dropped.
    pub(super) fn wait(&self, connection: &Arc<dyn Connection>) -> Waiting {
        let mut state = self.seats.lock();
        let ticket = state.next_ticket;
        state.next_ticket += 1;
        state.waiting.insert(ticket, Arc::clone(connection));
        Waiting { seats: self.seats.clone(), ticket }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().taken -= 1;
        self.seats.shared.given_back.notify_one();
    }
}

/// A connection that waits for its peer, and can be ended for a newcomer.
#[derive(Debug)]
pub(super) struct Waiting {
    seats: Seats,
    ticket: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.seats.lock().waiting.remove(&self.ticket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        io::{Read as _, Write as _},
        os::unix::net::UnixStream,
        thread,
    };

    fn pair() -> (Arc<dyn Connection>, UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        (Arc::new(ours), theirs)
    }

    #[test]
    fn a_seat_is_given_back() {
        let seats = Seats::new(1);
        let ((first, _first_peer), (second, _second_peer)) = (pair(), pair());
        let (seat, waiting) = seats.take(&first).unwrap();
        drop(waiting);
        assert!(seats.take(&second).is_none());
        drop(seat);
        assert!(seats.take(&second).is_some());
    }

    #[test]
    fn a_newcomer_takes_the_seat_of_the_longest_silence() {
        let seats = Seats::new(2);
        let ((longest, longest_peer), (shorter, shorter_peer), (new, _peer)) =
            (pair(), pair(), pair());
        let (first, waiting) = seats.take(&longest).unwrap();
        let _second = seats.take(&shorter).unwrap();
        // As a connection's thread does: it ends when its peer seems to have left.
        let served = thread::spawn(move || {
            assert_eq!((&longest_peer).read(&mut [0]).unwrap(), 0);
            drop((first, waiting));
        });
        assert!(seats.take(&new).is_some());
        served.join().unwrap();
        shorter_peer.set_nonblocking(true).unwrap();
        let open = (&shorter_peer).read(&mut [0]).unwrap_err();
        assert_eq!(open.kind(), std::io::ErrorKind::WouldBlock);
    }

    #[test]
    fn whoever_has_spoken_keeps_the_seat() {
        let seats = Seats::new(1);
        let ((first, mut first_peer), (second, _second_peer)) = (pair(), pair());
        let _first = seats.take(&first).unwrap();
        first_peer.write_all(b"x").unwrap();
        assert!(seats.take(&second).is_none());
    }

    #[test]
    fn whoever_is_being_answered_keeps_the_seat() {
        let seats = Seats::new(1);
        let ((first, _first_peer), (second, _second_peer)) = (pair(), pair());
        let (_seat, waiting) = seats.take(&first).unwrap();
        drop(waiting);
        assert!(seats.take(&second).is_none());
    }
}
