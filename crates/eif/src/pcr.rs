//! The registers, made from the bytes that they measure.

use crate::{scan::Mark, sha384::Sha384};
use bailey_model::Pcr;

/// `SHA-384(48 zero bytes ‖ SHA-384(data))`: a register that starts as zeros, extended once with
/// the digest of `data`, of which `hash` has seen everything.
pub(crate) fn extend_from_zero(hash: Sha384) -> Pcr {
    let mut register = Sha384::new();
    register.update(&[0; 48]);
    register.update(&hash.finish().0);
    register.finish()
}

/// A hash of the marked bytes of an image, which may lie on a thread of its own.
pub(crate) trait Hashing: Default + Send + 'static {
    /// Takes what one mark of `bytes` says.
    fn mark(&mut self, mark: &Mark, bytes: &[u8]);
}

/// PCR0 and PCR1: kernel, command line and ramdisks.
#[derive(Clone, Debug, Default)]
pub(crate) struct Boot {
    hash: Sha384,
    /// The state after the first ramdisk: PCR1 costs no pass of its own.
    after_first_ramdisk: Option<Sha384>,
}

impl Boot {
    /// PCR0 and PCR1. Without a ramdisk, an image that is refused elsewhere, they are equal.
    pub(crate) fn finish(self) -> (Pcr, Pcr) {
        let bootstrap = self.after_first_ramdisk.unwrap_or_else(|| self.hash.clone());
        (extend_from_zero(self.hash), extend_from_zero(bootstrap))
    }
}

impl Hashing for Boot {
    fn mark(&mut self, mark: &Mark, bytes: &[u8]) {
        match mark {
            Mark::Application(range) | Mark::Boot(range) => {
                self.hash.update(bytes.get(range.clone()).unwrap_or_default());
            }
            Mark::FirstRamdiskEnds => self.after_first_ramdisk = Some(self.hash.clone()),
        }
    }
}

/// PCR2: the ramdisks after the first.
#[derive(Clone, Debug, Default)]
pub(crate) struct Application(Sha384);

impl Application {
    /// PCR2.
    pub(crate) fn finish(self) -> Pcr {
        extend_from_zero(self.0)
    }
}

impl Hashing for Application {
    fn mark(&mut self, mark: &Mark, bytes: &[u8]) {
        if let Mark::Application(range) = mark {
            self.0.update(bytes.get(range.clone()).unwrap_or_default());
        }
    }
}
