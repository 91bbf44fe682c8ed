//! Images: from S3 to the local disk, measured on their way.
//!
//! # Expected flow
//! `HeadObject` pins version and `ETag`; ranges are read four at a time and land in order, where one
//! thread writes and measures them; the file is synced and only then gets its name in the cache.
//!
//! # Guarantees
//! - A file in the cache is complete; it is measured again whenever it is used, so that a damaged
//!   disk is noticed before anything is launched.
//! - Bytes of two versions of an object are never mixed.
//! - Memory stays within a few ranges, whatever the image's size.

mod cache;
mod error;
mod landing;
mod object;
mod progress;

pub use cache::Cache;
pub use error::{CacheError, FetchError};
pub use landing::LandError;
use landing::Measured;
pub use object::ObjectError;
pub use progress::{ProgressBoard, Progressing};

use crate::ports::{FetchOrder, Image, Images};
use futures_util::{StreamExt, stream};
use object::Object;
use std::{path::PathBuf, sync::Arc};
use tokio::sync::{Mutex, mpsc};

/// Ranges of this size keep S3's per-request cost small and a retry cheap.
const RANGE_BYTES: u64 = 8 * 1_024 * 1_024;
/// One S3 connection gives about 5 Gbit/s; four fill the network of the types that run enclaves.
const IN_FLIGHT: usize = 4;

/// Images in S3, cached on the local disk.
#[derive(Debug)]
pub struct S3Images {
    client: aws_sdk_s3::Client,
    cache: Cache,
    progress: ProgressBoard,
    /// One fetch at a time: two assignments with one image read it once, and the network is
    /// filled by one fetch as well as by two.
    turn: Mutex<()>,
}

impl S3Images {
    /// Images that are read with `client` and kept in `cache`.
    #[must_use]
    pub fn new(client: aws_sdk_s3::Client, cache: Cache, progress: ProgressBoard) -> Self {
        Self { client, cache, progress, turn: Mutex::new(()) }
    }

    /// Reads an object into the cache; returns what it measured to on its way.
    async fn download(
        &self,
        object: &Object,
        order: &FetchOrder,
        progress: &Arc<Progressing>,
    ) -> Result<Measured, FetchError> {
        self.cache.make_room(object.size_bytes, &order.in_use).map_err(FetchError::Cache)?;
        let mut part = self.cache.part(object).map_err(FetchError::Cache)?;
        let (sender, receiver) = mpsc::channel(IN_FLIGHT);
        let (size_bytes, progress) = (object.size_bytes, Arc::clone(progress));
        let landing = tokio::task::spawn_blocking(move || {
            let measured = landing::land(&mut part, size_bytes, receiver, &progress)?;
            Ok::<_, LandError>((part, measured))
        });
        let read = self.read(object, sender).await;
        let landed = landing.await.map_err(|_| FetchError::Interrupted)?;
        // Bytes that stop coming are explained by whoever read them, everything else by what
        // became of the bytes.
        let (part, measured) = match (landed, read) {
            (Err(LandError::Cut { .. }), Err(source)) => return Err(FetchError::Object(source)),
            (landed, _) => landed.map_err(FetchError::Land)?,
        };
        check_sha384(order, &measured)?;
        self.cache.keep(part, object).map_err(FetchError::Cache)?;
        Ok(measured)
    }

    /// Sends the object's bytes in order, until nobody takes them any more.
    async fn read(&self, object: &Object, into: mpsc::Sender<Vec<u8>>) -> Result<(), ObjectError> {
        let ranges = stream::iter(object.ranges(RANGE_BYTES));
        let mut bytes = ranges.map(|range| object.read(&self.client, range)).buffered(IN_FLIGHT);
        while let Some(bytes) = bytes.next().await {
            if into.send(bytes?).await.is_err() {
                break;
            }
        }
        Ok(())
    }

    async fn measure(
        path: PathBuf,
        order: &FetchOrder,
        progress: &Arc<Progressing>,
    ) -> Result<Measured, FetchError> {
        let progress = Arc::clone(progress);
        let measuring = tokio::task::spawn_blocking(move || landing::measure(&path, &progress));
        let measured = measuring.await.map_err(|_| FetchError::Interrupted)?;
        let measured = measured.map_err(FetchError::Land)?;
        check_sha384(order, &measured)?;
        Ok(measured)
    }
}

impl Images for S3Images {
    type Error = FetchError;

    async fn fetch(&self, order: FetchOrder) -> Result<Image, FetchError> {
        let progress = self.progress.begin(order.enclave_id.clone(), order.generation);
        let progress = Arc::new(progress);
        let _turn = self.turn.lock().await;
        let object = Object::find(&self.client, &order.source).await.map_err(FetchError::Object)?;
        let path = self.cache.path(&object);
        let cached = path.metadata().is_ok_and(|found| found.len() == object.size_bytes);
        progress.expect(object.size_bytes);
        let measured = if cached {
            let measured = Self::measure(path.clone(), &order, &progress).await;
            // A cached file that is no longer what it was is read again by the next fetch.
            measured.inspect_err(|_| cache::discard(&path))?
        } else {
            self.download(&object, &order, &progress).await?
        };
        cache::touch(&path);
        let measurements = measured.measurement.pcrs();
        Ok(Image { path, size_bytes: object.size_bytes, measurements })
    }
}

fn check_sha384(order: &FetchOrder, measured: &Measured) -> Result<(), FetchError> {
    match order.source.sha384 {
        Some(wanted) if wanted != measured.sha384 => {
            Err(FetchError::Sha384 { wanted, found: measured.sha384 })
        }
        _ => Ok(()),
    }
}
