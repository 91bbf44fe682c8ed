//! Measuring an image while its bytes pass by, on the caller's thread.

use crate::{
    error::{EifError, ReadError},
    measurement::Measurement,
    pcr::{Application, Boot, Hashing as _},
    scan::Scanner,
};
use std::io::{ErrorKind, Read};

/// Measures everything that `source` yields.
pub fn measure(mut source: impl Read) -> Result<Measurement, ReadError> {
    let mut measurer = Measurer::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        match source.read(&mut buffer) {
            Ok(0) => return measurer.finish().map_err(ReadError::Eif),
            Ok(count) => {
                measurer.push(buffer.get(..count).unwrap_or(&buffer)).map_err(ReadError::Eif)?;
            }
            Err(err) if err.kind() == ErrorKind::Interrupted => {}
            Err(err) => return Err(ReadError::Io(err)),
        }
    }
}

/// Measures an image that is pushed through it in pieces of any size.
///
/// Memory is bounded whatever the image claims: two hash states, a section header, and the bodies
/// of the metadata and signature sections up to their limits. The first error is final.
#[derive(Clone, Debug)]
pub struct Measurer {
    scanner: Scanner,
    boot: Boot,
    application: Application,
}

impl Default for Measurer {
    fn default() -> Self {
        Self::new()
    }
}

impl Measurer {
    /// A measurer that has seen nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { scanner: Scanner::new(), boot: Boot::default(), application: Application::default() }
    }

    /// Takes the image's next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), EifError> {
        let Self { scanner, boot, application } = self;
        scanner.push(bytes, |mark| {
            boot.mark(&mark, bytes);
            application.mark(&mark, bytes);
        })
    }

    /// How long the image is by its header, in bytes, once the header was seen.
    #[must_use]
    pub fn stated_size(&self) -> Option<u64> {
        self.scanner.stated_size()
    }

    /// Says that the image ends here.
    pub fn finish(self) -> Result<Measurement, EifError> {
        let scanned = self.scanner.finish()?;
        Ok(Measurement::new(scanned, self.boot, self.application))
    }
}
