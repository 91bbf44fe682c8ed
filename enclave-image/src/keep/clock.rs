//! The enclave's clock.
//!
//! The kernel takes the time from the hypervisor (kvm-clock) when it boots, and counts on from
//! there. Where it also offers the hypervisor's clock as a device (`/dev/ptp0`, driver `ptp_kvm`),
//! `keep` sets the system's clock from it once, before the workload starts, so that no program sees
//! it jump. It takes the time from nobody else: a parent has no way to set an enclave's clock, for
//! nothing in this program takes a time from a peer. A workload that runs for months and needs more
//! than that can follow the device itself.

use nix::{
    sys::time::{TimeSpec, TimeValLike as _},
    time::{ClockId, clock_gettime, clock_settime},
};
use std::{
    fs::File,
    io,
    os::fd::{AsRawFd as _, RawFd},
};

/// The hypervisor's clock.
const DEVICE: &str = "/dev/ptp0";

/// A difference up to this is left alone, in milliseconds.
const TOLERATED_MS: i64 = 50;

/// Milliseconds since 1970 by the system's clock; 0 before.
pub(super) fn now_ms() -> u64 {
    clock_gettime(ClockId::CLOCK_REALTIME)
        .ok()
        .and_then(|now| u64::try_from(now.num_milliseconds()).ok())
        .unwrap_or_default()
}

/// Sets the clock from the hypervisor's, where there is one. A failure leaves the kernel's time.
pub(super) fn set_from_hypervisor() {
    match File::open(DEVICE) {
        Ok(device) => adjust(&device),
        Err(err) if err.kind() == io::ErrorKind::NotFound => {
            log::info!("no {DEVICE}, the clock is the one that the kernel booted with");
        }
        Err(err) => log::warn!(error = err.to_string().as_str(); "cannot open {DEVICE}"),
    }
}

fn adjust(device: &File) {
    let reference = clock_gettime(ClockId::from_raw(clock_of(device.as_raw_fd())));
    let outcome = reference.and_then(|reference| {
        let system = clock_gettime(ClockId::CLOCK_REALTIME)?;
        let Some(off_by_ms) = correction(system, reference) else { return Ok(()) };
        clock_settime(ClockId::CLOCK_REALTIME, reference)?;
        log::info!(off_by_ms = off_by_ms; "clock set to the hypervisor's");
        Ok(())
    });
    if let Err(errno) = outcome {
        log::warn!(error = errno.desc(); "cannot set the clock from {DEVICE}");
    }
}

/// By how many milliseconds the system's clock is to be moved, if at all.
fn correction(system: TimeSpec, reference: TimeSpec) -> Option<i64> {
    let off_by_ms = reference.num_milliseconds().saturating_sub(system.num_milliseconds());
    (off_by_ms.saturating_abs() > TOLERATED_MS).then_some(off_by_ms)
}

/// The clock behind a descriptor: `FD_TO_CLOCKID` of the kernel's
/// `tools/testing/selftests/ptp/testptp.c`.
fn clock_of(descriptor: RawFd) -> i32 {
    (!descriptor << 3) | 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_differences_are_left_alone() {
        let at = TimeSpec::milliseconds;
        assert_eq!(correction(at(1_000), at(1_050)), None);
        assert_eq!(correction(at(1_000), at(1_051)), Some(51));
        assert_eq!(correction(at(1_000), at(0)), Some(-1_000));
    }

    #[test]
    fn a_descriptors_clock_is_the_one_that_the_kernel_derives() {
        assert_eq!(clock_of(3), -29);
        assert_eq!(clock_of(0), -5);
    }
}
