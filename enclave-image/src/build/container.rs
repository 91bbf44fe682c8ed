//! A container's image as a workload: no daemon, only its archive.
//!
//! Two forms are read, as a tar file or as a directory: the OCI image layout (`index.json`,
//! specification image-spec 1.1) and what `docker save` writes (`manifest.json`). Both name a
//! configuration and layers; each layer has to be what the configuration says (`diff_ids`), so that an
//! image which was damaged or mixed up is refused.

mod archive;
mod config;
mod layer;
mod select;

pub(super) use config::ContainerConfig;

use super::tree::Tree;
use archive::Archive;
use std::{
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A container's files and what it starts.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) tree: Tree,
    pub(super) config: ContainerConfig,
}

/// Reads a container's image. Layers are unpacked into files without a name in `scratch`.
pub(super) fn read(path: &Path, scratch: &Path) -> Result<Container, ContainerError> {
    let archive = Archive::open(path, scratch)?;
    let selected = select::select(&archive)?;
    let config = ContainerConfig::parse(&selected.config)?;
    if config.diff_ids.len() != selected.layers.len() {
        let (stated, found) = (config.diff_ids.len(), selected.layers.len());
        return Err(ContainerError::LayerCount { stated, found });
    }
    let mut tree = Tree::default();
    for (contents, diff_id) in selected.layers.into_iter().zip(&config.diff_ids) {
        let (layer, found) = archive::unpacked(&contents, scratch)?;
        if found != *diff_id {
            return Err(ContainerError::Digest { wanted: diff_id.clone(), found });
        }
        layer::apply(&mut tree, &Arc::new(layer))?;
    }
    Ok(Container { tree, config })
}

/// Why a container's image cannot become a workload.
#[derive(Debug, thiserror::Error)]
pub enum ContainerError {
    /// The image is for another machine.
    #[error("it is for {os}/{architecture}, an enclave here runs linux/amd64")]
    Architecture {
        /// The operating system found.
        os: String,
        /// The architecture found.
        architecture: String,
    },
    /// The image's parts cannot be told from each other.
    #[error("it holds {found} images, exactly one for linux/amd64 is wanted")]
    Choice {
        /// How many there are.
        found: usize,
    },
    /// A layer is compressed in a way that is not read here.
    #[error("a layer of the type `{media_type}` cannot be read, only tar and gzip can")]
    Compression {
        /// Its media type.
        media_type: String,
    },
    /// A part is not what the image says.
    #[error("a part is {found} and should be {wanted}")]
    Digest {
        /// What the image says, `sha256:` and hex.
        wanted: String,
        /// What the part is.
        found: String,
    },
    /// A part of the description is not what it should be.
    #[error("`{part}` is not the expected JSON")]
    Json {
        /// Which part.
        part: &'static str,
        /// The parser's reason.
        source: serde_json::Error,
    },
    /// A layer cannot be read.
    #[error("a layer cannot be read")]
    Layer(#[source] io::Error),
    /// The configuration names more or fewer layers than there are.
    #[error("its configuration names {stated} layers, and there are {found}")]
    LayerCount {
        /// How many it names.
        stated: usize,
        /// How many there are.
        found: usize,
    },
    /// A hard link leads to nothing.
    #[error("`{path}` is a hard link to `{target}`, which is not there")]
    Link {
        /// The link.
        path: String,
        /// What it is to be.
        target: String,
    },
    /// A part is missing.
    #[error("there is no `{name}` in it")]
    Missing {
        /// The part's name in the archive.
        name: String,
    },
    /// The file is neither form.
    #[error("it is neither an OCI image layout nor what `docker save` writes")]
    NotAnImage,
    /// A path leads out of the image, or through too many links.
    #[error("`{path}` leads out of the image, or in a circle")]
    Path {
        /// The path.
        path: String,
    },
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A file of the image would be where the enclave needs its own.
    #[error("`/{path}` of the container is where the enclave has a file of its own")]
    Reserved {
        /// The path.
        path: String,
    },
    /// A temporary file cannot be used.
    #[error("cannot use a temporary file")]
    Scratch(#[source] io::Error),
    /// A part is far larger than such a part is.
    #[error("`{name}` is too large to be what it is called")]
    TooLarge {
        /// Which part.
        name: String,
        /// Its size.
        source: io::Error,
    },
}

/// A file without a name.
fn scratch_file(directory: &Path) -> Result<File, ContainerError> {
    tempfile::tempfile_in(directory).map_err(ContainerError::Scratch)
}

#[cfg(test)]
mod tests;
