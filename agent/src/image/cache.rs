//! Images on the local disk, by content.
//!
//! A file `<hash>.eif` is a whole image; the hash is over what S3 says identifies the object's
//! content. A file `*.part` is an image on its way, and is removed when its fetch ends without it.

use super::{error::CacheError, object::Object};
use crate::files;
use nix::sys::statvfs::statvfs;
use std::{
    fs::{self, File, FileTimes},
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::SystemTime,
};

/// What is left free on the disk, in bytes, for logs and state files.
const RESERVE_BYTES: u64 = 64 * 1_024 * 1_024;

/// A directory of images, with a limit to what it holds.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    limit_bytes: u64,
    parts: AtomicU64,
}

/// A file that is being written; removed when it is dropped before it was kept.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) file: File,
    path: Option<PathBuf>,
}

impl Cache {
    /// Opens the cache in `directory`, which is made when absent; removes what was left half done.
    pub fn open(directory: PathBuf, limit_bytes: u64) -> Result<Self, CacheError> {
        let unusable = |source| CacheError::Directory { path: directory.clone(), source };
        fs::create_dir_all(&directory).map_err(unusable)?;
        for entry in fs::read_dir(&directory).map_err(unusable)? {
            let path = entry.map_err(unusable)?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                fs::remove_file(&path).map_err(unusable)?;
            }
        }
        Ok(Self { directory, limit_bytes, parts: AtomicU64::new(0) })
    }

    /// Where the object's image is or would be.
    pub(super) fn path(&self, object: &Object) -> PathBuf {
        self.directory.join(format!("{}.eif", object.content_key()))
    }

    /// Evicts the least recently used images, but none that is in use, until `size_bytes` more
    /// fit below the limit; then checks that the disk has room.
    pub(super) fn make_room(&self, size_bytes: u64, in_use: &[PathBuf]) -> Result<(), CacheError> {
        let unusable = |source| CacheError::Directory { path: self.directory.clone(), source };
        let mut images = self.images().map_err(unusable)?;
        images.sort_by_key(|image| image.used_at);
        let mut held: u64 = images.iter().map(|image| image.size_bytes).sum();
        for image in images.iter().filter(|image| !in_use.contains(&image.path)) {
            let wanted = held.saturating_add(size_bytes);
            if wanted <= self.limit_bytes && self.free_bytes()? >= needed(size_bytes) {
                break;
            }
            fs::remove_file(&image.path).map_err(unusable)?;
            held = held.saturating_sub(image.size_bytes);
            log::info!(path = image.path.display().to_string().as_str(); "image evicted");
        }
        if held.saturating_add(size_bytes) > self.limit_bytes {
            let limit_bytes = self.limit_bytes;
            return Err(CacheError::Limit { size_bytes, held_bytes: held, limit_bytes });
        }
        let free_bytes = self.free_bytes()?;
        if free_bytes < needed(size_bytes) {
            let path = self.directory.clone();
            return Err(CacheError::DiskFull {
                path,
                needed_bytes: needed(size_bytes),
                free_bytes,
            });
        }
        Ok(())
    }

    /// A new file for an image on its way.
    pub(super) fn part(&self, object: &Object) -> Result<Part, CacheError> {
        // A number of its own: a fetch that was given up may still be closing its file.
        let number = self.parts.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{}.{number}.part", object.content_key()));
        match File::create(&path) {
            Ok(file) => Ok(Part { file, path: Some(path) }),
            Err(source) => Err(CacheError::Create { path, source }),
        }
    }

    /// Gives a finished file its place in the cache.
    pub(super) fn keep(&self, mut part: Part, object: &Object) -> Result<(), CacheError> {
        let path = self.path(object);
        let unkept = |source| CacheError::Create { path: path.clone(), source };
        part.file.sync_all().map_err(unkept)?;
        fs::rename(part.path(), &path).map_err(unkept)?;
        part.path = None;
        files::sync_directory(&path).map_err(unkept)
    }

    fn images(&self) -> io::Result<Vec<Held>> {
        let mut images = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let path = entry.path();
            if path.extension().is_some_and(|extension| extension == "eif") {
                let metadata = entry.metadata()?;
                let used_at = metadata.modified()?;
                images.push(Held { path, size_bytes: metadata.len(), used_at });
            }
        }
        Ok(images)
    }

    fn free_bytes(&self) -> Result<u64, CacheError> {
        let stat = statvfs(&self.directory).map_err(|errno| CacheError::Directory {
            path: self.directory.clone(),
            source: errno.into(),
        })?;
        Ok(stat.blocks_available().saturating_mul(stat.fragment_size()))
    }
}

/// Removes a file that is not what it should be.
pub(super) fn discard(path: &Path) {
    if let Err(err) = fs::remove_file(path) {
        let path = path.display().to_string();
        log::warn!(path = path.as_str(), error = err.to_string().as_str(); "cached image not removed");
    }
}

/// Notes that an image is used now.
pub(super) fn touch(path: &Path) {
    let times = FileTimes::new().set_modified(modified_now());
    // Only the order of evictions depends on it.
    let touched = File::options().append(true).open(path).and_then(|f| f.set_times(times));
    if let Err(err) = touched {
        let path = path.display().to_string();
        log::debug!(path = path.as_str(), error = err.to_string().as_str(); "cached image not touched");
    }
}

struct Held {
    path: PathBuf,
    size_bytes: u64,
    used_at: SystemTime,
}

fn needed(size_bytes: u64) -> u64 {
    size_bytes.saturating_add(RESERVE_BYTES)
}

fn modified_now() -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(bailey_runtime::now().0)
}

impl Part {
    /// Where the file is.
    pub(super) fn path(&self) -> &Path {
        self.path.as_deref().unwrap_or_else(|| Path::new(""))
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(err) = fs::remove_file(&path)
        {
            let path = path.display().to_string();
            log::warn!(path = path.as_str(), error = err.to_string().as_str(); "unfinished image not removed");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(etag: &str) -> Object {
        Object {
            location: "s3://images/test.eif".parse().unwrap(),
            version_id: None,
            etag: etag.to_owned(),
            size_bytes: 10,
        }
    }

    fn kept(cache: &Cache, etag: &str) -> PathBuf {
        let mut part = cache.part(&object(etag)).unwrap();
        io::Write::write_all(&mut part.file, &[0; 10]).unwrap();
        cache.keep(part, &object(etag)).unwrap();
        let path = cache.path(&object(etag));
        let age = std::time::Duration::from_secs(etag.len().try_into().unwrap());
        let times = FileTimes::new().set_modified(SystemTime::UNIX_EPOCH + age);
        File::options().append(true).open(&path).unwrap().set_times(times).unwrap();
        path
    }

    #[test]
    fn the_least_recently_used_image_goes_first_and_one_in_use_never() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path().to_owned(), 30).unwrap();
        let [oldest, middle, newest] = ["1", "22", "333"].map(|etag| kept(&cache, etag));
        cache.make_room(10, std::slice::from_ref(&oldest)).unwrap();
        assert_eq!([&oldest, &middle, &newest].map(|path| path.exists()), [true, false, true]);
    }

    #[test]
    fn an_image_above_the_limit_is_refused_with_the_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path().to_owned(), 30).unwrap();
        let path = kept(&cache, "1");
        let err = cache.make_room(21, &[path]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "the image of 21 bytes does not fit beside 10 bytes in use, the cache may hold 30"
        );
    }

    #[test]
    fn a_disk_that_is_too_small_is_told_from_a_cache_that_is() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path().to_owned(), u64::MAX).unwrap();
        let err = cache.make_room(u64::MAX / 2, &[]).unwrap_err();
        assert!(matches!(err, CacheError::DiskFull { .. }), "{err:?}");
    }

    #[test]
    fn what_was_not_kept_is_removed_now_and_at_the_next_start() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path().to_owned(), 30).unwrap();
        drop(cache.part(&object("1")).unwrap());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        fs::write(directory.path().join("x.7.part"), "half").unwrap();
        Cache::open(directory.path().to_owned(), 30).unwrap();
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
