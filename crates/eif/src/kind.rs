//! Kinds of sections.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a section holds. The numbers are the format's.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SectionKind {
    /// The kernel command line, without a terminating zero (type 2).
    Cmdline,
    /// The kernel image (type 1).
    Kernel,
    /// JSON about the build; not measured (type 5).
    Metadata,
    /// An initramfs; the kernel sees all of them concatenated (type 3).
    Ramdisk,
    /// CBOR: signing certificate and signed PCR0; measured through PCR8 (type 4).
    Signature,
}

impl SectionKind {
    /// The format's number.
    pub(crate) fn number(self) -> u16 {
        match self {
            Self::Kernel => 1,
            Self::Cmdline => 2,
            Self::Ramdisk => 3,
            Self::Signature => 4,
            Self::Metadata => 5,
        }
    }

    /// The kind that the format gives this number.
    pub(crate) fn from_number(number: u16) -> Option<Self> {
        [Self::Kernel, Self::Cmdline, Self::Ramdisk, Self::Signature, Self::Metadata]
            .into_iter()
            .find(|kind| kind.number() == number)
    }
}

impl fmt::Display for SectionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cmdline => "command line",
            Self::Kernel => "kernel",
            Self::Metadata => "metadata section",
            Self::Ramdisk => "ramdisk",
            Self::Signature => "signature section",
        })
    }
}
