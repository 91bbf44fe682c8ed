//! The first page of docs/networking.md, as it stands there: an existing service in ten lines.

use crate::{
    images::program,
    networks::free_port,
    system::{LIMIT, System, options},
};
use serde_json::json;
use std::{
    env, fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};
use tokio::{process::Command, time::timeout};

/// The shell block after this comment.
const MARK: &str = "<!-- tested: an existing service -->\n```sh\n";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

fn page() -> String {
    let text = fs::read_to_string(repository().join("docs/networking.md")).unwrap();
    let (_, after) = text.split_once(MARK).expect("no example");
    after.split_once("```").unwrap().0.to_owned()
}

/// What `docker save` writes for an image of one layer with this program in it (Docker Image
/// Specification, version 1.2).
fn saved(program: &[u8], command: &[&str]) -> Vec<u8> {
    let archive = |files: &[(&str, &[u8], u32)]| {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, bytes, mode) in files {
            let mut header = tar::Header::new_ustar();
            header.set_mode(*mode);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            header.set_size(bytes.len().try_into().unwrap());
            archive.append_data(&mut header, path, *bytes).unwrap();
        }
        archive.into_inner().unwrap()
    };
    let layer = archive(&[("service", program, 0o755)]);
    let digest = hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&layer));
    let config = json!({
        "architecture": "amd64", "os": "linux", "config": { "Cmd": command },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    let manifest = json!([{ "Config": "config.json", "RepoTags": null, "Layers": ["layer.tar"] }]);
    archive(&[
        ("manifest.json", manifest.to_string().as_bytes(), 0o644),
        ("config.json", config.to_string().as_bytes(), 0o644),
        ("layer.tar", &layer, 0o644),
    ])
}

fn script(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Only names of other people's things are other ones: the kernel, the bucket, the parent, the ports.
#[tokio::test(flavor = "multi_thread")]
async fn ten_lines_of_the_documentation_put_an_existing_service_behind_a_parent() {
    let shown = page();
    assert!(shown.lines().count() <= 10, "{shown}");
    let (inside, outside) = (free_port().await, free_port().await);
    let kernel = env::var_os("BAILEY_KERNEL").map(PathBuf::from);
    let kernel = kernel.unwrap_or_else(|| repository().join(".cache/kernel"));
    let blobs = "--kernel-dir /usr/share/nitro_enclaves/blobs";
    let names = [
        (blobs, format!("--profile local --kernel-dir {}", kernel.display())),
        ("s3://bucket/", "s3://your-bucket/".to_owned()),
        ("parent.example.internal:8443", format!("127.0.0.1:{outside}")),
        ("--port 8443", format!("--port {inside}")),
        ("--health-tcp 8443", format!("--health-tcp {inside}")),
        ("--ingress 8443:8443", format!("--ingress {outside}:{inside}")),
    ];
    let mut commands = shown.clone();
    for (name, here) in names {
        assert!(commands.contains(name), "{name} is not in\n{shown}");
        commands = commands.replace(name, &here);
    }

    let dir = tempfile::tempdir().unwrap();
    let tools = dir.path().join("tools");
    fs::create_dir(&tools).unwrap();
    let service = fs::read(program("attested-https")).unwrap();
    let image = saved(&service, &["/service", &inside.to_string()]);
    fs::write(dir.path().join("image"), image).unwrap();
    script(
        &tools.join("docker"),
        "#!/bin/sh\n[ \"$*\" = 'save my-service -o my-service.tar' ] && cp image my-service.tar\n",
    );
    // The certificate is the service's own; the port opens when the probe has found it healthy.
    let curl = "#!/usr/bin/env python3
import ssl, sys, time, urllib.error, urllib.request
while True:
    try:
        context = ssl._create_unverified_context()
        print(urllib.request.urlopen(sys.argv[1], context=context, timeout=10).read().decode())
        break
    except (ConnectionError, urllib.error.URLError):
        time.sleep(0.2)
";
    script(&tools.join("curl"), curl);
    fs::copy(program("keep"), dir.path().join("keep")).unwrap();

    let mut options = options(&[]);
    options.agent_settings.insert("ingress_address".to_owned(), "127.0.0.1".into());
    let mut system = System::of(options).await;
    system.cloud.start_coordinator().unwrap();
    let built = program("bailey");
    let path = format!("{}:{}:/usr/bin:/bin", tools.display(), built.parent().unwrap().display());
    let mut command = Command::new("bash");
    command.args(["-euo", "pipefail", "-c", &commands]).current_dir(dir.path());
    command.envs(system.cloud.env()).env("PATH", path).kill_on_drop(true);
    let done = timeout(LIMIT, command.output()).await;
    let done = done.unwrap_or_else(|_| panic!("too late\n{}", system.logs())).unwrap();
    let (said, complained) =
        (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "{said}\n{complained}\n{}", system.logs());
    assert!(said.contains("An HTTPS service in an AWS Nitro Enclave"), "{said}");
    system.destroy_all(&["my-service"]).await;
}
