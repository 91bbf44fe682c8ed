//! Which configuration and layers an archive holds.

use super::{
    ContainerError,
    archive::{Archive, blob_name},
};
use crate::build::tree::Contents;
use serde::Deserialize;

/// One image of an archive.
#[derive(Debug)]
pub(super) struct Selected {
    /// The configuration's JSON.
    pub(super) config: Vec<u8>,
    /// The layers, lowest first, packed or not.
    pub(super) layers: Vec<Contents>,
}

/// An index may name indexes, but not for ever.
const MAX_INDEX_DEPTH: usize = 4;

/// The archive's one image for linux/amd64.
pub(super) fn select(archive: &Archive) -> Result<Selected, ContainerError> {
    // `docker save` writes both since version 25; the OCI layout has digests of everything.
    if archive.get("index.json").is_some() {
        let index = archive.json("index.json")?;
        return from_index(archive, &index, MAX_INDEX_DEPTH);
    }
    if archive.get("manifest.json").is_some() {
        return from_docker(archive);
    }
    Err(ContainerError::NotAnImage)
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

impl Descriptor {
    /// A descriptor without a platform may be for any; attestations of builds say `unknown`.
    fn fits(&self) -> bool {
        self.platform.as_ref().is_none_or(|platform| {
            (platform.os.as_str(), platform.architecture.as_str()) == ("linux", "amd64")
        })
    }
}

fn from_index(archive: &Archive, index: &[u8], depth: usize) -> Result<Selected, ContainerError> {
    let failed = |source| ContainerError::Json { part: "index", source };
    let index: Index = serde_json::from_slice(index).map_err(failed)?;
    let fitting: Vec<&Descriptor> = index.manifests.iter().filter(|one| one.fits()).collect();
    let [one] = fitting.as_slice() else {
        return Err(ContainerError::Choice { found: fitting.len() });
    };
    let body = archive.blob_json(&one.digest)?;
    let is_index =
        one.media_type.contains("image.index") || one.media_type.contains("manifest.list");
    match depth.checked_sub(1) {
        Some(depth) if is_index => from_index(archive, &body, depth),
        _ => from_manifest(archive, &body),
    }
}

#[derive(Deserialize)]
struct OciManifest {
    config: Descriptor,
    layers: Vec<Descriptor>,
}

fn from_manifest(archive: &Archive, manifest: &[u8]) -> Result<Selected, ContainerError> {
    let failed = |source| ContainerError::Json { part: "manifest", source };
    let manifest: OciManifest = serde_json::from_slice(manifest).map_err(failed)?;
    let layers = manifest.layers.iter().map(|layer| {
        if layer.media_type.ends_with("zstd") {
            return Err(ContainerError::Compression { media_type: layer.media_type.clone() });
        }
        archive.part(&blob_name(&layer.digest)?)
    });
    let layers = layers.collect::<Result<_, _>>()?;
    Ok(Selected { config: archive.blob_json(&manifest.config.digest)?, layers })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct DockerImage {
    config: String,
    layers: Vec<String>,
}

fn from_docker(archive: &Archive) -> Result<Selected, ContainerError> {
    let failed = |source| ContainerError::Json { part: "manifest.json", source };
    let images: Vec<DockerImage> =
        serde_json::from_slice(&archive.json("manifest.json")?).map_err(failed)?;
    let [image] = images.as_slice() else {
        return Err(ContainerError::Choice { found: images.len() });
    };
    let layers = image.layers.iter().map(|name| archive.part(name)).collect::<Result<_, _>>()?;
    Ok(Selected { config: archive.json(&image.config)?, layers })
}
