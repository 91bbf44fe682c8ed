//! What is to be looked at, and when.
//!
//! A wake-up carries no data: whoever is woken reads everything again. Wake-ups of one id that
//! come before it is taken are one, and an id is never with two workers at a time.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};

/// Something to be looked at.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Work {
    /// One record and its enclave, by the record's id as it is written.
    Enclave(String),
    /// The slots for spare hosts: see [`crate::spares`].
    Spares,
    /// Everything: see [`crate::sweep`].
    Sweep,
}

/// The queue. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// The ids in the order in which they are due.
    due: BTreeSet<(Instant, Work)>,
    /// When each waiting id is due.
    at: HashMap<Work, Instant>,
    /// The ids that a worker has.
    taken: HashSet<Work>,
}

impl Queue {
    /// Makes `id` due after `delay`, unless it is due sooner.
    pub fn wake(&self, id: Work, delay: Duration) {
        let at = Instant::now() + delay;
        let mut waiting = self.lock();
        match waiting.at.get(&id).copied() {
            Some(due) if due <= at => return,
            Some(due) => {
                waiting.due.remove(&(due, id.clone()));
            }
            None => {}
        }
        waiting.at.insert(id.clone(), at);
        waiting.due.insert((at, id));
        drop(waiting);
        self.shared.changed.notify_waiters();
    }

    /// Waits for an id that is due and that no other worker has. Give it back with
    /// [`Queue::done`]. Cancel-safe: an id is taken only together with the return.
    pub async fn next(&self) -> Work {
        loop {
            let changed = self.shared.changed.notified();
            tokio::pin!(changed);
            // Enabled before looking, so that a wake-up in between is not missed.
            changed.as_mut().enable();
            match self.take(Instant::now()) {
                Ok(id) => return id,
                Err(Some(until)) => {
                    tokio::select! {
                        () = tokio::time::sleep_until(until) => {}
                        () = changed => {}
                    }
                }
                Err(None) => changed.await,
            }
        }
    }

    /// As [`Queue::next`], for work that is due within `patience`, and before `end`; none otherwise.
    pub async fn next_within(&self, patience: Duration, end: Instant) -> Option<Work> {
        let until = end.min(Instant::now() + patience);
        // Within that time nothing may come up at all; what others are at may wake somebody.
        if Instant::now() >= end || !self.is_due_by(until) {
            return None;
        }
        tokio::time::timeout_at(until, self.next()).await.ok()
    }

    /// The ids that are due and that nobody has taken.
    #[must_use]
    pub fn overdue(&self) -> Vec<String> {
        let now = Instant::now();
        let waiting = self.lock();
        let due = waiting.due.iter().take_while(|(at, _)| *at <= now);
        let id = |(_, work): &(Instant, Work)| match work {
            Work::Enclave(id) => Some(id.clone()),
            Work::Spares | Work::Sweep => None,
        };
        due.filter_map(id).collect()
    }

    fn is_due_by(&self, until: Instant) -> bool {
        let waiting = self.lock();
        waiting.due.first().is_some_and(|(at, _)| *at <= until)
    }

    /// Gives an id back; wake-ups that came meanwhile count from now on.
    pub fn done(&self, id: &Work) {
        self.lock().taken.remove(id);
        self.shared.changed.notify_waiters();
    }

    /// How many ids wait, those that are due later included.
    #[must_use]
    pub fn length(&self) -> usize {
        self.lock().at.len()
    }

    /// For how long the oldest work that is due has waited to be taken; zero when nothing is due.
    #[must_use]
    pub fn age(&self, now: Instant) -> Duration {
        let waiting = self.lock();
        let oldest = waiting.due.first().map(|(at, _)| *at);
        oldest.map(|at| now.saturating_duration_since(at)).unwrap_or_default()
    }

    /// Takes the first free id that is due, or tells when the next one will be.
    fn take(&self, now: Instant) -> Result<Work, Option<Instant>> {
        let mut waiting = self.lock();
        let free = waiting.due.iter().find(|(_, id)| !waiting.taken.contains(id)).cloned();
        match free {
            Some((at, id)) if at <= now => {
                waiting.due.remove(&(at, id.clone()));
                waiting.at.remove(&id);
                waiting.taken.insert(id.clone());
                Ok(id)
            }
            Some((at, _)) => Err(Some(at)),
            None => Err(None),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // Nothing panics while it holds the lock; if it did, the sets would still be usable.
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn a() -> Work {
        Work::Enclave("a".to_owned())
    }

    async fn nothing_is_due(queue: &Queue) -> bool {
        tokio::time::timeout(Duration::from_millis(10), queue.next()).await.is_err()
    }

    #[tokio::test(start_paused = true)]
    async fn wake_ups_of_one_id_are_one() {
        let queue = Queue::default();
        queue.wake(a(), Duration::ZERO);
        queue.wake(a(), Duration::ZERO);
        assert_eq!(queue.next().await, a());
        queue.done(&a());
        assert!(nothing_is_due(&queue).await);
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_is_never_with_two_workers() {
        let queue = Queue::default();
        queue.wake(a(), Duration::ZERO);
        assert_eq!(queue.next().await, a());
        queue.wake(a(), Duration::ZERO);
        assert!(nothing_is_due(&queue).await);
        queue.done(&a());
        assert_eq!(queue.next().await, a());
    }

    #[tokio::test(start_paused = true)]
    async fn the_soonest_of_two_wake_ups_counts() {
        let queue = Queue::default();
        let start = Instant::now();
        queue.wake(a(), Duration::from_mins(1));
        queue.wake(a(), Duration::from_secs(5));
        queue.wake(a(), Duration::from_secs(30));
        assert_eq!(queue.next().await, a());
        assert_eq!(start.elapsed().as_secs(), 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_due_within_a_moment_is_waited_for_and_nothing_else() {
        let queue = Queue::default();
        let (patience, end) = (Duration::from_secs(2), Instant::now() + Duration::from_secs(10));
        queue.wake(a(), Duration::from_secs(1));
        assert_eq!(queue.next_within(patience, end).await, Some(a()));
        queue.done(&a());
        queue.wake(a(), Duration::from_secs(3));
        assert_eq!(queue.next_within(patience, end).await, None);
        assert_eq!(queue.overdue(), Vec::<String>::new());
        tokio::time::sleep_until(end).await;
        assert_eq!(queue.next_within(patience, end).await, None);
        assert_eq!(queue.overdue(), ["a"]);
    }

    #[tokio::test(start_paused = true)]
    async fn age_counts_from_when_the_oldest_work_was_due() {
        let queue = Queue::default();
        queue.wake(a(), Duration::from_secs(5));
        queue.wake(Work::Sweep, Duration::from_secs(7));
        assert_eq!((queue.length(), queue.age(Instant::now())), (2, Duration::ZERO));
        let later = Instant::now() + Duration::from_secs(15);
        assert_eq!(queue.age(later), Duration::from_secs(10));
        assert_eq!(queue.next().await, a());
        assert_eq!((queue.length(), queue.age(later)), (1, Duration::from_secs(8)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiting_worker_is_woken() {
        let queue = Queue::default();
        let worker = tokio::spawn({
            let queue = queue.clone();
            async move { queue.next().await }
        });
        tokio::task::yield_now().await;
        queue.wake(a(), Duration::ZERO);
        assert_eq!(worker.await.unwrap(), a());
    }
}
