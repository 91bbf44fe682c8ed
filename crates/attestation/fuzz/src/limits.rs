//! What one input may cost.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use peak_alloc::PeakAlloc;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

/// How much more memory may be in use during a call than before it, in bytes.
///
/// libFuzzer's own limit, `-malloc_limit_mb`, is on each single allocation.
const MEMORY_LIMIT: usize = 16 << 20;

static LARGEST_GROWTH: AtomicUsize = AtomicUsize::new(0);
static SLOWEST_US: AtomicUsize = AtomicUsize::new(0);

/// Calls `action`, and fails when the memory in use grows beyond the limit meanwhile.
pub(crate) fn bounded<T>(action: impl FnOnce() -> T) -> T {
    let before = ALLOCATOR.current_usage();
    ALLOCATOR.reset_peak_usage();
    let value = action();
    let growth = ALLOCATOR.peak_usage().saturating_sub(before);
    assert!(growth <= MEMORY_LIMIT, "oversized: memory grew by {growth} bytes");
    if growth > LARGEST_GROWTH.fetch_max(growth, Ordering::Relaxed) {
        eprintln!("largest growth: {growth} bytes");
    }
    value
}

/// Does what a target does with `input`, and prints how long it took when it is the longest yet.
///
/// A hang is libFuzzer's to tell, by `-timeout`; here the processor's time counts, which does not
/// depend on what else the machine does.
pub fn timed(input: &[u8], action: impl FnOnce(&[u8])) {
    let started = processor_time();
    action(input);
    let took = processor_time().saturating_sub(started);
    let took_us = usize::try_from(took.as_micros()).unwrap_or(usize::MAX);
    if took_us > SLOWEST_US.fetch_max(took_us, Ordering::Relaxed) {
        eprintln!("slowest input: {took_us}us/{}bytes", input.len());
    }
}

fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).expect("Linux has this clock").into()
}
