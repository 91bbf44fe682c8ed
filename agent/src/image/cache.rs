//! Images on the local disk, by content.
//!
//! A file `<hash>.eif` is a whole image; the hash is over what S3 says identifies the object's
//! content. A file `<hash>.part` is an image on its way, or what is left of an interrupted fetch: a
//! later one for the same content goes on with it, and it is the first to be evicted.

use super::{error::CacheError, object::Object, part::Part};
use crate::files;
use nix::sys::statvfs::statvfs;
use std::{
    fs::{self, File, FileTimes, Metadata},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::SystemTime,
};

/// What is left free on the disk, in bytes, for logs and state files.
const RESERVE_BYTES: u64 = 64 * 1_024 * 1_024;

/// A directory of images, with a limit to what it holds.
#[derive(Debug)]
pub struct Cache {
    directory: PathBuf,
    limit_bytes: u64,
}

impl Cache {
    /// Opens the cache in `directory`, which is made when absent.
    pub fn open(directory: PathBuf, limit_bytes: u64) -> Result<Self, CacheError> {
        let unusable = |source| CacheError::Directory { path: directory.clone(), source };
        fs::create_dir_all(&directory).map_err(unusable)?;
        // Whether it can be used is known now and not when an image arrives.
        fs::read_dir(&directory).map_err(unusable)?;
        Ok(Self { directory, limit_bytes })
    }

    /// Where the object's image is or would be.
    pub(super) fn path(&self, object: &Object) -> PathBuf {
        self.directory.join(format!("{}.eif", object.content_key()))
    }

    /// Where the object's image is while it is on its way.
    fn part_path(&self, object: &Object) -> PathBuf {
        self.directory.join(format!("{}.part", object.content_key()))
    }

    /// Evicts what other fetches left, then the least recently used images, but none that is in
    /// use, until the object's image fits below the limit and onto the disk.
    fn make_room(&self, object: &Object, in_use: &[PathBuf]) -> Result<(), CacheError> {
        let unusable = |source| CacheError::Directory { path: self.directory.clone(), source };
        let (own, others): (Vec<_>, Vec<_>) = self
            .files()
            .map_err(unusable)?
            .into_iter()
            .partition(|file| file.path == self.part_path(object));
        let reserved: u64 = own.iter().map(|file| file.size_bytes).sum();
        let needed_bytes = object.size_bytes.saturating_sub(reserved).saturating_add(RESERVE_BYTES);
        let mut held: u64 = others.iter().map(|file| file.size_bytes).sum();
        for file in others.iter().filter(|file| !in_use.contains(&file.path)) {
            let wanted = held.saturating_add(object.size_bytes);
            if wanted <= self.limit_bytes && self.free_bytes()? >= needed_bytes {
                break;
            }
            fs::remove_file(&file.path).map_err(unusable)?;
            held = held.saturating_sub(file.size_bytes);
            log::info!(path = file.path.display().to_string().as_str(); "image evicted");
        }
        if held.saturating_add(object.size_bytes) > self.limit_bytes {
            let (size_bytes, limit_bytes) = (object.size_bytes, self.limit_bytes);
            return Err(CacheError::Limit { size_bytes, held_bytes: held, limit_bytes });
        }
        let free_bytes = self.free_bytes()?;
        if free_bytes < needed_bytes {
            let path = self.directory.clone();
            return Err(CacheError::DiskFull { path, needed_bytes, free_bytes });
        }
        Ok(())
    }

    /// Room for the object's image, and what an interrupted fetch left of it.
    pub(super) fn part(&self, object: &Object, in_use: &[PathBuf]) -> Result<Part, CacheError> {
        self.make_room(object, in_use)?;
        Part::open(self.part_path(object), object.size_bytes)
    }

    /// Gives a finished file its place in the cache.
    pub(super) fn keep(&self, part: Part, object: &Object) -> Result<(), CacheError> {
        let path = self.path(object);
        let unkept = |source| CacheError::Create { path: path.clone(), source };
        part.keep(&path).map_err(unkept)?;
        files::sync_directory(&path).map_err(unkept)
    }

    /// Removes what was left of an object's image.
    pub(super) fn forget(&self, object: &Object) {
        discard(&self.part_path(object));
    }

    /// What is in the cache, in the order in which it would be evicted.
    fn files(&self) -> io::Result<Vec<Held>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let path = entry?.path();
            let kind = path.extension().and_then(|extension| match extension.to_str()? {
                "part" => Some(Kind::Part),
                "eif" => Some(Kind::Image),
                _ => None,
            });
            if let Some(kind) = kind {
                let metadata = fs::symlink_metadata(&path)?;
                let used_at = metadata.modified()?;
                files.push(Held { kind, used_at, size_bytes: occupied_bytes(&metadata), path });
            }
        }
        files.sort();
        Ok(files)
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
        log::warn!(path = path.as_str(), error = err.to_string().as_str(); "image not removed");
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

/// A file in the cache; those that are to be evicted first are the least.
#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Held {
    kind: Kind,
    used_at: SystemTime,
    size_bytes: u64,
    path: PathBuf,
}

#[derive(Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Kind {
    Part,
    Image,
}

/// What a file takes: blocks may be reserved beyond its end.
fn occupied_bytes(metadata: &Metadata) -> u64 {
    metadata.len().max(metadata.blocks().saturating_mul(512))
}

fn modified_now() -> SystemTime {
    SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(bailey_runtime::now().0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two blocks, so that what a file takes is what it holds.
    const SIZE_BYTES: u64 = 8_192;

    fn object(etag: &str) -> Object {
        Object {
            location: "s3://images/test.eif".parse().unwrap(),
            version_id: None,
            etag: etag.to_owned(),
            size_bytes: SIZE_BYTES,
            checksum: None,
        }
    }

    fn cache(directory: &tempfile::TempDir, limit_bytes: u64) -> Cache {
        Cache::open(directory.path().to_owned(), limit_bytes).unwrap()
    }

    fn kept(cache: &Cache, etag: &str) -> PathBuf {
        let mut part = cache.part(&object(etag), &[]).unwrap();
        part.append(&[0; 8_192]).unwrap();
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
        let cache = cache(&directory, 3 * SIZE_BYTES);
        let [oldest, middle, newest] = ["1", "22", "333"].map(|etag| kept(&cache, etag));
        cache.part(&object("4444"), std::slice::from_ref(&oldest)).unwrap();
        assert_eq!([&oldest, &middle, &newest].map(|path| path.exists()), [true, false, true]);
    }

    #[test]
    fn what_another_fetch_left_goes_before_any_image() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(&directory, 2 * SIZE_BYTES);
        cache.part(&object("left"), &[]).unwrap().leave();
        let image = kept(&cache, "1");
        assert!(cache.part_path(&object("left")).exists());
        cache.part(&object("22"), &[]).unwrap();
        assert!(image.exists() && !cache.part_path(&object("left")).exists());
    }

    #[test]
    fn what_was_left_of_an_image_takes_no_room_from_it() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(&directory, SIZE_BYTES);
        let mut part = cache.part(&object("1"), &[]).unwrap();
        part.append(b"abc").unwrap();
        part.leave();
        let cache = Cache::open(directory.path().to_owned(), SIZE_BYTES).unwrap();
        assert_eq!(cache.part(&object("1"), &[]).unwrap().landed_bytes(), 3);
    }

    #[test]
    fn an_image_above_the_limit_is_refused_with_the_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let cache = cache(&directory, 2 * SIZE_BYTES - 1);
        let path = kept(&cache, "1");
        let err = cache.part(&object("2"), &[path]).unwrap_err();
        assert_eq!(
            err.to_string(),
            "the image of 8192 bytes does not fit beside 8192 bytes in use, the cache may hold 16383"
        );
    }

    #[test]
    fn a_disk_that_is_too_small_is_told_from_a_cache_that_is() {
        let directory = tempfile::tempdir().unwrap();
        let huge = Object { size_bytes: u64::MAX / 2, ..object("1") };
        let err = cache(&directory, u64::MAX).part(&huge, &[]).unwrap_err();
        assert!(matches!(err, CacheError::DiskFull { .. }), "{err:?}");
    }
}
