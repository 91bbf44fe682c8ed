//! The newest entries of the output, and waking those who follow them.

use super::super::clock;
use bailey_vsock::workload::{OutputEntry, OutputEvent};
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::eventfd::{EfdFlags, EventFd},
};
use std::{
    collections::VecDeque,
    io,
    os::fd::AsFd as _,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak},
    time::Duration,
};

/// Holds the newest entries, up to a number of bytes.
///
/// Whoever adds one never waits: the oldest are dropped, and each reader learns how many it missed.
#[derive(Debug)]
pub(in super::super) struct Ring {
    state: Mutex<State>,
    reader_left: Condvar,
}

#[derive(Debug)]
struct State {
    entries: VecDeque<OutputEntry>,
    /// What they take, by [`cost`], and may take.
    bytes: usize,
    limit: usize,
    /// The sequence of the next entry.
    next: u64,
    /// No entry comes any more.
    closed: bool,
    /// Somebody outside of the enclave has had the last entry.
    delivered: bool,
    readers: Vec<Weak<EventFd>>,
}

/// What a reader gets.
#[derive(Debug, Eq, PartialEq)]
pub(in super::super) enum Next {
    /// No entry comes any more.
    Closed,
    /// The next entry.
    Entry(OutputEntry),
    /// It has everything for now.
    Wait,
}

impl Ring {
    /// A ring that holds entries of `limit` bytes at most, but always the newest one.
    pub(in super::super) fn new(limit: usize) -> Arc<Self> {
        let state = State {
            entries: VecDeque::new(),
            bytes: 0,
            limit,
            next: 1,
            closed: false,
            delivered: false,
            readers: Vec::new(),
        };
        Arc::new(Self { state: Mutex::new(state), reader_left: Condvar::new() })
    }

    /// Adds an entry and wakes everybody who waits for one.
    pub(in super::super) fn push(&self, event: OutputEvent) {
        let at_ms = clock::now_ms();
        let mut state = self.lock();
        let entry = OutputEntry { sequence: state.next, at_ms, dropped: 0, event };
        state.next += 1;
        state.bytes += cost(&entry);
        state.entries.push_back(entry);
        state.trim();
        state.wake();
    }

    /// Says that no entry comes any more.
    pub(in super::super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.wake();
    }

    /// Waits until somebody has had the last entry and nobody reads any more, but not longer than
    /// this.
    pub(in super::super) fn wait_for_readers(&self, longest: Duration) {
        let reading = |state: &mut State| {
            !state.delivered || state.readers.iter().any(|one| one.strong_count() > 0)
        };
        // Whether all have left or not, there is no more time for them.
        let _ = self.reader_left.wait_timeout_while(self.lock(), longest, reading);
    }

    /// A reader that has what came up to `after`; one that claims to have what never was has nothing.
    pub(in super::super) fn reader(self: &Arc<Self>, after: Option<u64>) -> io::Result<Reader> {
        let flags = EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK;
        let wake = Arc::new(EventFd::from_value_and_flags(0, flags)?);
        let mut state = self.lock();
        state.readers.retain(|reader| reader.strong_count() > 0);
        state.readers.push(Arc::downgrade(&wake));
        let position = after.filter(|after| *after < state.next).unwrap_or(0);
        Ok(Reader { ring: Arc::clone(self), wake: Some(wake), position })
    }

    /// A panic elsewhere left the entries as they were.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn trim(&mut self) {
        while self.bytes > self.limit && self.entries.len() > 1 {
            let dropped = self.entries.pop_front();
            self.bytes -= dropped.as_ref().map_or(0, cost);
        }
    }

    fn wake(&mut self) {
        self.readers.retain(|reader| match reader.upgrade() {
            Some(wake) => {
                // It fails when the counter is full, and then the reader was woken already.
                let _ = wake.write(1);
                true
            }
            None => false,
        });
    }
}

/// What an entry takes in memory, nearly.
fn cost(entry: &OutputEntry) -> usize {
    let text = match &entry.event {
        OutputEvent::Line { bytes, .. } => bytes.as_slice().len(),
        OutputEvent::NotStarted { reason, .. } => reason.len(),
        OutputEvent::Exited { .. } | OutputEvent::Started { .. } => 0,
    };
    text + size_of::<OutputEntry>() + ALLOCATION_BYTES
}

/// What the allocator adds to a line.
const ALLOCATION_BYTES: usize = 16;

/// Somebody who follows the output.
#[derive(Debug)]
pub(in super::super) struct Reader {
    ring: Arc<Ring>,
    /// Always there until the reader is dropped.
    wake: Option<Arc<EventFd>>,
    /// The sequence of the last entry that it has; 0 for none.
    position: u64,
}

impl Reader {
    /// The entry after the last one, if there is one yet.
    pub(in super::super) fn next(&mut self) -> Next {
        let state = self.ring.lock();
        let oldest = state.next - u64::try_from(state.entries.len()).unwrap_or_default();
        let wanted = oldest.max(self.position + 1);
        let index = usize::try_from(wanted - oldest).unwrap_or(usize::MAX);
        match state.entries.get(index) {
            Some(entry) => {
                let dropped = wanted - self.position - 1;
                self.position = wanted;
                Next::Entry(OutputEntry { dropped, ..entry.clone() })
            }
            None if state.closed => Next::Closed,
            None => Next::Wait,
        }
    }

    /// Readable when there may be more; to be cleared before [`Reader::next`] is asked.
    pub(in super::super) fn wake(&self) -> Option<&EventFd> {
        self.wake.as_deref()
    }

    /// Says that whoever this reader is for, outside of the enclave, has had the last entry.
    pub(in super::super) fn delivered(&self) {
        self.ring.lock().delivered = true;
    }

    /// Waits until there may be more.
    pub(in super::super) fn wait(&self) -> io::Result<()> {
        let Some(wake) = self.wake() else { return Ok(()) };
        let mut polled = [PollFd::new(wake.as_fd(), PollFlags::POLLIN)];
        match poll(&mut polled, PollTimeout::NONE) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    /// Takes note of having been woken.
    pub(in super::super) fn clear(&self) {
        // It fails when nobody woke the reader, which is just as well.
        let _ = self.wake().map(EventFd::read);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // First, so that whoever is told finds it gone.
        self.wake = None;
        let _state = self.ring.lock();
        self.ring.reader_left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_vsock::workload::OutputStream;
    use proptest::prelude::*;

    fn line(text: &str) -> OutputEvent {
        let bytes = text.as_bytes().to_vec().into();
        OutputEvent::Line { stream: OutputStream::Stdout, bytes, complete: true }
    }

    /// `(sequence, dropped)` of everything that there is for this reader.
    fn rest(reader: &mut Reader) -> Vec<(u64, u64)> {
        let mut found = Vec::new();
        while let Next::Entry(entry) = reader.next() {
            found.push((entry.sequence, entry.dropped));
        }
        found
    }

    #[test]
    fn a_reader_gets_what_came_after_its_position() {
        let ring = Ring::new(1 << 20);
        for text in ["a", "b", "c"] {
            ring.push(line(text));
        }
        assert_eq!(rest(&mut ring.reader(None).unwrap()), [(1, 0), (2, 0), (3, 0)]);
        assert_eq!(rest(&mut ring.reader(Some(2)).unwrap()), [(3, 0)]);
        let mut up_to_date = ring.reader(Some(3)).unwrap();
        assert_eq!(up_to_date.next(), Next::Wait);
        ring.push(line("d"));
        assert_eq!(rest(&mut up_to_date), [(4, 0)]);
    }

    #[test]
    fn a_position_of_another_enclave_means_everything() {
        let ring = Ring::new(1 << 20);
        ring.push(line("a"));
        assert_eq!(rest(&mut ring.reader(Some(500)).unwrap()), [(1, 0)]);
    }

    #[test]
    fn the_oldest_are_dropped_and_counted_for_each_reader() {
        let ring = Ring::new(
            3 * cost(&OutputEntry { sequence: 0, at_ms: 0, dropped: 0, event: line("x") }),
        );
        let mut slow = ring.reader(None).unwrap();
        ring.push(line("1"));
        assert_eq!(rest(&mut slow), [(1, 0)]);
        for text in ["2", "3", "4", "5", "6"] {
            ring.push(line(text));
        }
        assert_eq!(rest(&mut slow), [(4, 2), (5, 0), (6, 0)]);
        assert_eq!(rest(&mut ring.reader(None).unwrap()), [(4, 3), (5, 0), (6, 0)]);
    }

    #[test]
    fn a_closed_ring_hands_out_the_rest_first() {
        let ring = Ring::new(1 << 20);
        let mut reader = ring.reader(None).unwrap();
        ring.push(line("a"));
        ring.close();
        assert_eq!(rest(&mut reader), [(1, 0)]);
        assert_eq!(reader.next(), Next::Closed);
    }

    #[test]
    fn readers_that_are_gone_are_forgotten() {
        let ring = Ring::new(1 << 20);
        let kept = ring.reader(None).unwrap();
        for _ in 0..100 {
            drop(ring.reader(None).unwrap());
        }
        ring.push(line("a"));
        assert_eq!(ring.lock().readers.len(), 1);
        assert!(kept.wake().unwrap().read().is_ok());
    }

    #[test]
    fn whoever_waits_for_readers_waits_until_the_last_has_left() {
        let ring = Ring::new(1 << 20);
        // Nobody has had anything yet.
        ring.wait_for_readers(Duration::from_millis(1));
        let reader = ring.reader(None).unwrap();
        let leaving = std::thread::spawn(move || {
            reader.delivered();
            drop(reader);
        });
        ring.wait_for_readers(Duration::MAX);
        leaving.join().unwrap();
        assert!(ring.lock().readers.iter().all(|reader| reader.strong_count() == 0));
    }

    proptest! {
        #[test]
        fn what_a_reader_gets_and_what_it_misses_is_everything(
            steps in prop::collection::vec(prop_oneof![Just(None), (0_usize..300).prop_map(Some)], 0..60),
            limit in 0_usize..2_000,
        ) {
            let ring = Ring::new(limit);
            let mut reader = ring.reader(None).unwrap();
            let (mut pushed, mut seen) = (0, 0);
            let mut take = |reader: &mut Reader| -> Result<(), TestCaseError> {
                while let Next::Entry(entry) = reader.next() {
                    seen += entry.dropped + 1;
                    prop_assert_eq!(entry.sequence, seen);
                }
                Ok(())
            };
            for step in steps {
                match step {
                    Some(length) => {
                        ring.push(line(&"x".repeat(length)));
                        pushed += 1;
                    }
                    None => take(&mut reader)?,
                }
                let state = ring.lock();
                prop_assert!(state.bytes <= limit || state.entries.len() <= 1);
                prop_assert_eq!(state.bytes, state.entries.iter().map(cost).sum::<usize>());
            }
            take(&mut reader)?;
            prop_assert_eq!(seen, pushed);
        }
    }
}
