//! Measuring an image on several threads.
//!
//! # Expected flow
//! The caller's thread reads, parses and computes the CRC, which together cost a tenth of one
//! hash. PCR0 and PCR1 are two states of one hash, which gets a thread; PCR2 is a second hash and
//! gets another; so does the SHA-384 of the whole file, if it is asked for. A hash cannot be
//! divided, so one pass of SHA-384 is the least that this can take, and half the number of hashes
//! on two processors.
//!
//! # Guarantees
//! - The outcome is that of [`Measurer`](crate::Measurer), whatever the pieces, errors included:
//!   both read with one scanner, and hashes do not fail.
//! - Memory stays below 32 MiB, and usually below 16: a hash that falls behind holds the caller up.
//!
//! # Caveats
//! Where the system has no more threads, the caller's does the work.

use crate::{
    error::{EifError, ReadError},
    format::u64_from,
    measurement::Measurement,
    pcr::{Application, Boot, Hashing},
    scan::{Mark, Scanner},
    sha384::Sha384,
};
use bailey_model::Pcr;
use std::{
    io::Read,
    panic::resume_unwind,
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread::{Builder, JoinHandle},
};

/// Pieces of this size cost little to hand over, and stay in a processor's cache while they are
/// read, checked and hashed.
const CHUNK_BYTES: usize = 256 * 1024;

/// How many pieces a hash may be behind: at 300 MB/s some 30 ms, longer than the scheduler lets a
/// thread wait for a processor.
const CHUNKS_BEHIND: usize = 32;

/// Whether a [`ParallelMeasurer`] computes the SHA-384 of the whole file too. It is a hash more, which nobody should pay
/// for who does not compare it with anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileSha384 {
    /// Compute it.
    Compute,
    /// Leave it out.
    Skip,
}

/// What a [`ParallelMeasurer`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredFile {
    /// What the image measures to.
    pub measurement: Measurement,
    /// SHA-384 of the whole file, if it was asked for.
    pub sha384: Option<Pcr>,
}

/// Measures everything that `source` yields, as fast as two processors can.
pub fn measure_file(source: impl Read) -> Result<Measurement, ReadError> {
    let mut registers = Registers::new();
    registers.read(source, None)?;
    registers.finish().map_err(ReadError::Eif)
}

/// As [`measure_file`], with the SHA-384 of the whole file.
pub fn measure_file_with_sha384(source: impl Read) -> Result<(Measurement, Pcr), ReadError> {
    let mut registers = Registers::new();
    let mut whole = Lane::start(&registers.give_back);
    registers.read(source, Some(&mut whole))?;
    let measurement = registers.finish().map_err(ReadError::Eif)?;
    Ok((measurement, whole.finish().0.finish()))
}

/// [`Measurer`](crate::Measurer), with its hashes on threads of their own.
#[derive(Debug)]
pub struct ParallelMeasurer {
    registers: Registers,
    whole: Option<Lane<Whole>>,
}

impl ParallelMeasurer {
    /// A measurer that has seen nothing.
    #[must_use]
    pub fn new(file_sha384: FileSha384) -> Self {
        let registers = Registers::new();
        let whole = match file_sha384 {
            FileSha384::Compute => Some(Lane::start(&registers.give_back)),
            FileSha384::Skip => None,
        };
        Self { registers, whole }
    }

    /// Takes the image's next bytes.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), EifError> {
        for piece in bytes.chunks(CHUNK_BYTES) {
            let mut buffer = self.registers.spare();
            buffer.extend_from_slice(piece);
            self.registers.take(buffer, self.whole.as_mut())?;
        }
        Ok(())
    }

    /// How long the image is by its header, in bytes, once the header was seen.
    #[must_use]
    pub fn stated_size(&self) -> Option<u64> {
        self.registers.scanner.stated_size()
    }

    /// Says that the image ends here.
    pub fn finish(self) -> Result<MeasuredFile, EifError> {
        let measurement = self.registers.finish()?;
        let sha384 = self.whole.map(|whole| whole.finish().0.finish());
        Ok(MeasuredFile { measurement, sha384 })
    }
}

/// The scanner, the hashes of the registers, and the buffers that go round between them.
#[derive(Debug)]
struct Registers {
    scanner: Scanner,
    boot: Lane<Boot>,
    application: Lane<Application>,
    spent: Receiver<Vec<u8>>,
    give_back: Sender<Vec<u8>>,
}

impl Registers {
    fn new() -> Self {
        let (give_back, spent) = channel();
        let (boot, application) = (Lane::start(&give_back), Lane::start(&give_back));
        Self { scanner: Scanner::new(), boot, application, spent, give_back }
    }

    fn read(
        &mut self,
        mut source: impl Read,
        mut whole: Option<&mut Lane<Whole>>,
    ) -> Result<(), ReadError> {
        loop {
            let mut bytes = self.spare();
            // Unlike `read` into a slice, this needs no zeroed memory.
            let read = source.by_ref().take(u64_from(CHUNK_BYTES)).read_to_end(&mut bytes);
            if read.map_err(ReadError::Io)? == 0 {
                return Ok(());
            }
            self.take(bytes, whole.as_deref_mut()).map_err(ReadError::Eif)?;
        }
    }

    /// An empty buffer, one that was used before if there is any.
    fn spare(&self) -> Vec<u8> {
        let spent = self.spent.try_recv();
        spent.unwrap_or_else(|_| Vec::with_capacity(CHUNK_BYTES))
    }

    /// Scans a piece and hands it to the hashes that it concerns.
    fn take(&mut self, bytes: Vec<u8>, whole: Option<&mut Lane<Whole>>) -> Result<(), EifError> {
        let mut marks = Vec::new();
        self.scanner.push(&bytes, |mark| marks.push(mark))?;
        let is_application = marks.iter().any(|mark| matches!(mark, Mark::Application(_)));
        let chunk = Arc::new(Chunk { bytes, marks });
        self.boot.take(&chunk);
        if is_application {
            self.application.take(&chunk);
        }
        if let Some(whole) = whole {
            whole.take(&chunk);
        }
        recycle(chunk, &self.give_back);
        Ok(())
    }

    fn finish(self) -> Result<Measurement, EifError> {
        let scanned = self.scanner.finish()?;
        Ok(Measurement::new(scanned, self.boot.finish(), self.application.finish()))
    }
}

/// A piece of the image, shared by the hashes.
#[derive(Debug)]
struct Chunk {
    bytes: Vec<u8>,
    marks: Vec<Mark>,
}

/// Gives the buffer back for another piece, if nobody else needs it any more.
fn recycle(chunk: Arc<Chunk>, give_back: &Sender<Vec<u8>>) {
    if let Some(Chunk { mut bytes, .. }) = Arc::into_inner(chunk) {
        bytes.clear();
        // When the measurer is gone, so is the need for buffers.
        let _ = give_back.send(bytes);
    }
}

/// The hash of everything, marked or not.
#[derive(Debug, Default)]
struct Whole(Sha384);

/// A hash of chunks.
trait ChunkHash: Default + Send + 'static {
    fn take(&mut self, chunk: &Chunk);
}

impl<T: Hashing> ChunkHash for T {
    fn take(&mut self, chunk: &Chunk) {
        for mark in &chunk.marks {
            self.mark(mark, &chunk.bytes);
        }
    }
}

impl ChunkHash for Whole {
    fn take(&mut self, chunk: &Chunk) {
        self.0.update(&chunk.bytes);
    }
}

/// Where a hash is computed.
#[derive(Debug)]
enum Lane<T> {
    /// On the caller's thread.
    Here(T),
    /// On a thread of its own, which ends when `chunks` does.
    There { chunks: SyncSender<Arc<Chunk>>, thread: JoinHandle<T> },
}

impl<T: ChunkHash> Lane<T> {
    fn start(give_back: &Sender<Vec<u8>>) -> Self {
        let (chunks, received) = sync_channel::<Arc<Chunk>>(CHUNKS_BEHIND);
        let give_back = give_back.clone();
        let thread = Builder::new().name("measure".to_owned()).spawn(move || {
            let mut hash = T::default();
            for chunk in received {
                hash.take(&chunk);
                recycle(chunk, &give_back);
            }
            hash
        });
        thread.map_or_else(|_| Self::Here(T::default()), |thread| Self::There { chunks, thread })
    }

    fn take(&mut self, chunk: &Arc<Chunk>) {
        match self {
            Self::Here(hash) => hash.take(chunk),
            // A thread takes chunks until there are none; if it panicked, `finish` says so.
            Self::There { chunks, .. } => drop(chunks.send(Arc::clone(chunk))),
        }
    }

    fn finish(self) -> T {
        match self {
            Self::Here(hash) => hash,
            Self::There { chunks, thread } => {
                drop(chunks);
                thread.join().unwrap_or_else(|panic| resume_unwind(panic))
            }
        }
    }
}
