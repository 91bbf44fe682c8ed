//! Images of both forms, and what layers do to each other.

use super::{archive::blob_name, *};
use crate::build::tree::{Node, Owner};
use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use std::{fs, io::Write as _};
use tar::EntryType;
use tempfile::TempDir;

/// `(path, kind, text or target)`, with mode 0640 and owner 7:8.
type Part<'a> = (&'a str, EntryType, &'a str);

const FILE: EntryType = EntryType::Regular;
const DIR: EntryType = EntryType::Directory;
const SYMLINK: EntryType = EntryType::Symlink;
const LINK: EntryType = EntryType::Link;

fn layer(parts: &[Part<'_>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, kind, text) in parts {
        let mut header = tar::Header::new_ustar();
        header.set_entry_type(*kind);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        // Directly, for the library refuses what an attacker would write.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        let is_link = matches!(*kind, EntryType::Symlink | EntryType::Link);
        if is_link {
            header.as_old_mut().linkname[..text.len()].copy_from_slice(text.as_bytes());
        }
        let body = if is_link { "" } else { text };
        header.set_size(body.len().try_into().unwrap());
        header.set_cksum();
        archive.append(&header, body.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(bytes)))
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest(layer)).collect();
    serde_json::json!({
        "architecture": "amd64", "os": "linux", "rootfs": { "diff_ids": diff_ids },
        "config": { "Cmd": ["/app"] },
    })
    .to_string()
    .into_bytes()
}

/// An OCI layout in a directory, its layers compressed or not.
fn oci(layers: &[Vec<u8>], compressed: bool) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("blobs/sha256")).unwrap();
    let blob = |bytes: &[u8]| {
        let digest = digest(bytes);
        fs::write(dir.path().join(blob_name(&digest).unwrap()), bytes).unwrap();
        serde_json::json!({ "digest": digest, "mediaType": "x", "size": bytes.len() })
    };
    let config = blob(&config(layers));
    let layers: Vec<_> = layers
        .iter()
        .map(|layer| blob(&if compressed { gzip(layer) } else { layer.clone() }))
        .collect();
    let manifest = serde_json::json!({ "config": config, "layers": layers });
    let manifest = blob(manifest.to_string().as_bytes());
    let index = serde_json::json!({ "manifests": [manifest] });
    fs::write(dir.path().join("index.json"), index.to_string()).unwrap();
    dir
}

/// What `docker save` wrote before it knew the OCI layout.
fn docker(layers: &[Vec<u8>]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut add = |name: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len().try_into().unwrap());
        header.set_mode(0o644);
        archive.append_data(&mut header, name, bytes).unwrap();
    };
    let names: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    for (name, layer) in names.iter().zip(layers) {
        add(name, layer);
    }
    add("config.json", &config(layers));
    let manifest = serde_json::json!([{ "Config": "config.json", "Layers": names }]);
    add("manifest.json", manifest.to_string().as_bytes());
    archive.into_inner().unwrap()
}

fn show(container: &Container) -> Vec<String> {
    let show = |(path, node): (&str, &Node)| match node {
        Node::Directory { .. } => format!("{path}/"),
        Node::File { contents, .. } => {
            format!("{path}={}", String::from_utf8(contents.read(99).unwrap()).unwrap())
        }
        Node::Symlink { target, .. } => format!("{path}->{target}"),
        Node::Console => path.to_owned(),
    };
    container.tree.nodes().map(show).collect()
}

fn from_layers(layers: &[Vec<u8>]) -> Result<Container, ContainerError> {
    let dir = oci(layers, true);
    read(dir.path(), dir.path())
}

fn shown(layers: &[&[Part<'_>]]) -> Vec<String> {
    let layers: Vec<Vec<u8>> = layers.iter().map(|parts| layer(parts)).collect();
    show(&from_layers(&layers).unwrap())
}

#[test]
fn both_forms_packed_or_not_give_the_same_files() {
    let layers = [
        layer(&[("app", FILE, "old"), ("etc/", DIR, ""), ("etc/conf", FILE, "c")]),
        layer(&[("./app", FILE, "new")]),
    ];
    let expected = ["app=new", "etc/", "etc/conf=c"];
    for compressed in [false, true] {
        let dir = oci(&layers, compressed);
        assert_eq!(show(&read(dir.path(), dir.path()).unwrap()), expected);
    }
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("app.tar");
    for bytes in [docker(&layers), gzip(&docker(&layers))] {
        fs::write(&file, bytes).unwrap();
        let container = read(&file, dir.path()).unwrap();
        assert_eq!(show(&container), expected);
        assert_eq!(container.config.argv, ["/app"]);
    }
    // The same layout, as a tar file.
    let layout = oci(&layers, true);
    let mut archive = tar::Builder::new(File::create(&file).unwrap());
    archive.append_dir_all(".", layout.path()).unwrap();
    archive.finish().unwrap();
    assert_eq!(show(&read(&file, dir.path()).unwrap()), expected);
}

#[test]
fn modes_and_owners_are_kept() {
    let container = from_layers(&[layer(&[("app", FILE, "x")])]).unwrap();
    let Some(Node::File { mode, owner, .. }) = container.tree.get("app") else { panic!() };
    assert_eq!((*mode, *owner), (0o640, Owner { uid: 7, gid: 8 }));
}

#[test]
fn whiteouts_hide_what_is_below_and_nothing_of_their_own_layer() {
    let below: &[Part<'_>] =
        &[("a/x", FILE, "1"), ("a/y", FILE, "1"), ("b/x", FILE, "1"), ("b/d/y", FILE, "1")];
    assert_eq!(
        shown(&[
            below,
            &[("a/.wh.x", FILE, ""), ("b/new", FILE, "2"), ("b/.wh..wh..opq", FILE, "")]
        ]),
        ["a/", "a/y=1", "b/", "b/new=2"]
    );
    assert_eq!(shown(&[below, &[(".wh.a", FILE, ""), (".wh.b", FILE, "")]]), [""; 0]);
    assert_eq!(shown(&[&[("x", FILE, "1")], &[("x", FILE, "2"), (".wh.x", FILE, "")]]), ["x=2"]);
}

#[test]
fn a_directory_over_a_file_and_a_file_over_a_directory_replace_it() {
    assert_eq!(
        shown(&[&[("x", FILE, "1")], &[("x", DIR, ""), ("x/y", FILE, "2")]]),
        ["x/", "x/y=2"]
    );
    assert_eq!(shown(&[&[("x/y", FILE, "1")], &[("x", FILE, "2")]]), ["x=2"]);
    assert_eq!(shown(&[&[("x/y", FILE, "1")], &[("x", DIR, "")]]), ["x/", "x/y=1"]);
}

#[test]
fn links_are_followed_inside_of_the_image_and_hard_links_become_copies() {
    let below: &[Part<'_>] = &[("usr/bin/sh", FILE, "1"), ("bin", SYMLINK, "usr/bin")];
    assert_eq!(
        shown(&[below, &[("bin/ls", FILE, "2"), ("hard", LINK, "bin/sh")]]),
        ["bin->usr/bin", "hard=1", "usr/", "usr/bin/", "usr/bin/ls=2", "usr/bin/sh=1"]
    );
    // Above the root is the root.
    let up: &[Part<'_>] = &[("up", SYMLINK, "../../../out"), ("up/file", FILE, "1")];
    assert_eq!(shown(&[up]), ["out/", "out/file=1", "up->../../../out"]);
}

#[test]
fn paths_that_lead_out_or_in_a_circle_or_to_nothing_are_refused() {
    let problem = |parts: &[Part<'_>]| from_layers(&[layer(parts)]).unwrap_err();
    for path in ["../x", "a/../../x", "/.."] {
        assert!(matches!(problem(&[(path, FILE, "")]), ContainerError::Path { .. }), "{path}");
    }
    let circle = problem(&[("a", SYMLINK, "b"), ("b", SYMLINK, "a"), ("a/x", FILE, "")]);
    assert!(matches!(circle, ContainerError::Path { .. }));
    assert!(matches!(problem(&[("x", LINK, "absent")]), ContainerError::Link { .. }));
    assert!(matches!(problem(&[("x", LINK, "../etc/passwd")]), ContainerError::Path { .. }));
}

#[test]
fn what_the_enclave_has_itself_is_left_out_or_refused() {
    assert_eq!(
        shown(&[&[("dev/null", EntryType::Char, ""), ("proc/x", FILE, ""), ("a", FILE, "1")]]),
        ["a=1"]
    );
    for path in ["init", "keep", "etc/bailey/workload.json"] {
        let err = from_layers(&[layer(&[(path, FILE, "")])]).unwrap_err();
        assert!(matches!(err, ContainerError::Reserved { .. }), "{path}");
    }
    let link = from_layers(&[layer(&[("etc", SYMLINK, "dev")])]).unwrap_err();
    assert!(matches!(link, ContainerError::Reserved { .. }));
}

#[test]
fn a_layer_that_is_not_the_one_of_the_configuration_is_refused() {
    let dir = oci(&[layer(&[("a", FILE, "1")])], false);
    let other = layer(&[("a", FILE, "2")]);
    for entry in fs::read_dir(dir.path().join("blobs/sha256")).unwrap() {
        let path = entry.unwrap().path();
        if fs::read(&path).unwrap().len() == other.len() {
            fs::write(path, &other).unwrap();
        }
    }
    let err = read(dir.path(), dir.path()).unwrap_err();
    assert!(matches!(err, ContainerError::Digest { .. }), "{err}");
}

#[test]
fn what_is_no_image_is_named() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(read(dir.path(), dir.path()), Err(ContainerError::NotAnImage)));
    let file = dir.path().join("empty.tar");
    fs::write(&file, tar::Builder::new(Vec::new()).into_inner().unwrap()).unwrap();
    assert!(matches!(read(&file, dir.path()), Err(ContainerError::NotAnImage)));
    fs::write(&file, "text").unwrap();
    assert!(matches!(read(&file, dir.path()), Err(ContainerError::Read { .. })));
}
