//! The kernel's random numbers.
//!
//! An enclave has no devices whose timing would be worth anything. What makes its numbers good is,
//! on a kernel of nitro-cli's, `random.trust_cpu=on` (the CPU's own generator is counted), and the
//! nsm driver, which is a source of the kernel's too (`hwrng`) since 6.8. `keep` adds 256 bytes of
//! NSM's before anything else runs. They are mixed in and not counted: counting them takes an ioctl
//! (`RNDADDENTROPY`), which cannot be called without `unsafe`, and nothing waits for the count.

use super::{
    chain,
    nsm::{NsmDevice, random},
};
use std::{fs::OpenOptions, io::Write as _};

/// Writing to it mixes the bytes into the kernel's pool; random(4).
const POOL: &str = "/dev/random";

/// Mixes NSM's random bytes into the kernel's. Without them the numbers are the kernel's own.
pub(super) fn seed(nsm: &dyn NsmDevice) {
    let bytes = match random(nsm) {
        Ok(bytes) => bytes,
        Err(err) => {
            log::error!(error = chain(&err).as_str(); "NSM gives no random bytes");
            return;
        }
    };
    match OpenOptions::new().write(true).open(POOL).and_then(|mut pool| pool.write_all(&bytes)) {
        Ok(()) => log::info!(bytes = bytes.len(); "NSM's random bytes mixed in"),
        Err(err) => log::error!(error = err.to_string().as_str(); "cannot write {POOL}"),
    }
}
