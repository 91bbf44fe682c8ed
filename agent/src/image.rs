//! Images: from S3 to the local disk, measured on their way.
//!
//! # Expected flow
//! `HeadObject` pins version and `ETag`; ranges are read four at a time and land in order, where one
//! thread writes them and hands them to those that measure; the file is synced and only then gets
//! its name in the cache. What an interrupted fetch left is read from the disk first, while the
//! rest is already on its way.
//!
//! # Guarantees
//! - A file in the cache is complete; it is measured again whenever it is used, so that a damaged
//!   disk is noticed before anything is launched.
//! - Bytes of two versions of an object are never mixed.
//! - Memory stays within a few ranges, whatever the image's size.
//!
//! # Errors
//! Bytes that are no good image are blamed on the image when S3's checksum says that they are the
//! object's, or when they are the same the second time: the first may have been the disk or the
//! network.

mod cache;
mod checksum;
mod error;
mod landing;
mod object;
mod part;
mod progress;
#[cfg(test)]
mod tests;

pub use cache::Cache;
pub use checksum::Mismatch;
pub use error::{CacheError, FetchError};
pub use landing::{LandError, Proof};
pub use object::ObjectError;
pub use progress::{ProgressBoard, Progressing};

use crate::ports::{FetchOrder, Image, Images};
use bailey_eif::{FileSha384, MeasuredFile};
use futures_util::{StreamExt, stream};
use landing::Inspection;
use object::{Manner, Object};
use part::Part;
use std::{path::PathBuf, sync::Arc};
use tokio::{
    sync::{Mutex, mpsc},
    task::JoinHandle,
};

/// Images in S3, cached on the local disk.
#[derive(Debug)]
pub struct S3Images {
    client: aws_sdk_s3::Client,
    cache: Cache,
    progress: ProgressBoard,
    manner: Manner,
    /// One fetch at a time: two assignments with one image read it once, and the network is
    /// filled by one fetch as well as by two.
    turn: Mutex<Turn>,
}

/// What the fetch before left running: one that was given up may still be closing its file.
type Turn = Option<JoinHandle<Landed>>;
type Landed = Result<(Part, MeasuredFile), LandError>;

impl S3Images {
    /// Images that are read with `client` and kept in `cache`.
    #[must_use]
    pub fn new(client: aws_sdk_s3::Client, cache: Cache, progress: ProgressBoard) -> Self {
        let turn = Mutex::default();
        Self { client, cache, progress, manner: Manner::default(), turn }
    }

    /// Brings the object to the disk unless it is there already.
    async fn bring(
        &self,
        order: &FetchOrder,
        progress: &Arc<Progressing>,
        turn: &mut Turn,
    ) -> Result<Image, FetchError> {
        let object = Object::find(&self.client, &order.source, self.manner).await;
        let object = object.map_err(FetchError::Object)?;
        let path = self.cache.path(&object);
        progress.expect(object.size_bytes);
        let measured = if path.exists() {
            let measured = measure(path.clone(), inspection(&object, order), progress).await;
            measured.inspect_err(|_| cache::discard(&path))?
        } else {
            self.download(&object, order, progress, turn).await?
        };
        check_sha384(order, &measured)?;
        cache::touch(&path);
        let measurements = measured.measurement.pcrs();
        Ok(Image { path, size_bytes: object.size_bytes, measurements })
    }

    /// Reads an object into the cache; returns what it measured to on its way.
    async fn download(
        &self,
        object: &Object,
        order: &FetchOrder,
        progress: &Arc<Progressing>,
        turn: &mut Turn,
    ) -> Result<MeasuredFile, FetchError> {
        let mut part = self.cache.part(object, &order.in_use).map_err(FetchError::Cache)?;
        let landed_bytes = part.landed_bytes();
        if landed_bytes > 0 {
            log::info!(landed_bytes; "going on with an image that was left half read");
        }
        let (sender, receiver) = mpsc::channel(1);
        let (inspection, progress) = (inspection(object, order), Arc::clone(progress));
        let landing = turn.insert(tokio::task::spawn_blocking(move || {
            match landing::land(&mut part, inspection, receiver, &progress) {
                Ok(measured) => Ok((part, measured)),
                Err(err) => {
                    if matches!(err, LandError::Cut { .. }) {
                        part.leave();
                    }
                    Err(err)
                }
            }
        }));
        let read = self.read(object, landed_bytes, sender).await;
        let landed = landing.await;
        *turn = None;
        // Bytes that stop coming are explained by whoever read them, everything else by what
        // became of the bytes.
        let (part, measured) = match (landed.map_err(|_| FetchError::Interrupted)?, read) {
            (Err(LandError::Cut { .. }), Err(source)) => {
                if matches!(source, ObjectError::Changed { .. }) {
                    // Nobody will ever ask for what was left of these contents.
                    self.cache.forget(object);
                }
                return Err(FetchError::Object(source));
            }
            (landed, _) => landed.map_err(FetchError::Land)?,
        };
        check_sha384(order, &measured)?;
        self.cache.keep(part, object).map_err(FetchError::Cache)?;
        Ok(measured)
    }

    /// Sends the object's bytes from `first` on, in order, until nobody takes them any more.
    async fn read(
        &self,
        object: &Object,
        first: u64,
        into: mpsc::Sender<Vec<u8>>,
    ) -> Result<(), ObjectError> {
        let ranges = stream::iter(object.ranges(first, self.manner.range_bytes));
        let mut bytes = ranges
            .map(|range| object.read(&self.client, range, self.manner))
            .buffered(self.manner.in_flight);
        while let Some(bytes) = bytes.next().await {
            if into.send(bytes?).await.is_err() {
                break;
            }
        }
        Ok(())
    }
}

impl Images for S3Images {
    type Error = FetchError;

    async fn fetch(&self, order: FetchOrder) -> Result<Image, FetchError> {
        let progress = self.progress.begin(order.enclave_id.clone(), order.generation);
        let progress = Arc::new(progress);
        let mut turn = self.turn.lock().await;
        if let Some(before) = turn.as_mut() {
            // Nobody sends to it any more, so it ends.
            let _ = before.await;
            *turn = None;
        }
        match self.bring(&order, &progress, &mut turn).await {
            Err(err) if err.may_be_damage() => {
                let reason = bailey_runtime::chain(&err);
                log::warn!(error = reason.as_str(); "image is read once more from its start");
                progress.restart();
                self.bring(&order, &progress, &mut turn).await
            }
            outcome => outcome,
        }
    }
}

async fn measure(
    path: PathBuf,
    inspection: Inspection,
    progress: &Arc<Progressing>,
) -> Result<MeasuredFile, FetchError> {
    let progress = Arc::clone(progress);
    let measuring =
        tokio::task::spawn_blocking(move || landing::measure(&path, inspection, &progress));
    measuring.await.map_err(|_| FetchError::Interrupted)?.map_err(FetchError::Land)
}

/// The hash of the whole file is a pass of its own, computed for those records only that name one.
fn inspection(object: &Object, order: &FetchOrder) -> Inspection {
    let sha384 = match order.source.sha384 {
        Some(_) => FileSha384::Compute,
        None => FileSha384::Skip,
    };
    Inspection { size_bytes: object.size_bytes, checksum: object.checksum.clone(), sha384 }
}

fn check_sha384(order: &FetchOrder, measured: &MeasuredFile) -> Result<(), FetchError> {
    match (order.source.sha384, measured.sha384) {
        (Some(wanted), Some(found)) if wanted != found => Err(FetchError::Sha384 { wanted, found }),
        _ => Ok(()),
    }
}
