//! The parent's image: `ami/provision` run for real in a distribution's tree, and the tree then booted as a
//! parent. Package managers and boot loaders are doubles that record how they were called
//! (`tests/cloud/systemd/doubles`).

use crate::{
    system::seed_record,
    systemd::{Parents, distribution},
};
use bailey_local_cloud::local::{Binaries, Options};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Output},
};

const ID: &str = "test-enclave-001";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// A copy of a distribution's tree that becomes an image, and the release that makes it one.
struct Image {
    dir: tempfile::TempDir,
    family: &'static str,
}

impl Image {
    fn new(distribution: &Path, family: &'static str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let image = Self { dir, family };
        copy(distribution, &image.tree());
        image.unpack_release();
        image
    }

    fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    fn file(&self, path: &str) -> PathBuf {
        self.tree().join(path.trim_start_matches('/'))
    }

    fn text(&self, path: &str) -> String {
        fs::read_to_string(self.file(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// As `scripts/dist` packs it, with nitro-cli's stand-in where Debian's would be built.
    fn unpack_release(&self) {
        let release = self.dir.path().join("release");
        let nitro_cli = release.join("nitro-cli");
        fs::create_dir_all(release.join("bin")).unwrap();
        fs::create_dir_all(&nitro_cli).unwrap();
        let Binaries { agent, nitro_cli: cli, allocator, .. } = Options::find().unwrap().binaries;
        fs::copy(agent, release.join("bin/bailey-agent")).unwrap();
        copy(&repository().join("ami"), &release.join("ami"));
        copy(&repository().join("agent/systemd"), &release.join("systemd"));
        fs::copy(cli, nitro_cli.join("nitro-cli")).unwrap();
        fs::copy(allocator, nitro_cli.join("nitro-enclaves-allocator")).unwrap();
        let unit = "[Unit]\nDescription=Allocator\n[Service]\nType=oneshot\nExecStart=/bin/true\n";
        fs::write(nitro_cli.join("nitro-enclaves-allocator.service"), unit).unwrap();
        let mut sums = String::new();
        for path in fs::read_dir(&nitro_cli).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_str().unwrap();
            writeln!(sums, "{}  {name}", sha256(&fs::read(&path).unwrap())).unwrap();
        }
        fs::write(nitro_cli.join("SHA256SUMS"), sums).unwrap();
    }

    /// Runs the script with more options; its output.
    fn try_provision(&self, options: &[&str]) -> Output {
        Command::new(repository().join("tests/cloud/systemd/provision"))
            .args([self.tree(), self.dir.path().join("release")])
            .arg(self.family)
            .args(options)
            .output()
            .unwrap()
    }

    /// Runs the script, which has to work; how much it changed, and the image's identity.
    fn provision(&self, options: &[&str]) -> (u32, String) {
        let output = self.try_provision(options);
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let last = said.lines().rfind(|line| line.starts_with("provision: ")).unwrap();
        let [_, changes, _, _, identity] = last.split(' ').collect::<Vec<_>>()[..] else {
            panic!("{last}")
        };
        (changes.parse().unwrap(), identity.to_owned())
    }

    /// What was asked of package manager and boot loader.
    fn asked(&self) -> Vec<String> {
        self.text("/var/tmp/doubles/log").lines().map(|line| line.trim_end().to_owned()).collect()
    }

    /// Every file with what can be seen of it, the doubles' own apart.
    fn snapshot(&self) -> BTreeMap<PathBuf, String> {
        let (mut files, mut folders) = (BTreeMap::new(), vec![self.tree()]);
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).unwrap().map(Result::unwrap) {
                let (path, facts) = (entry.path(), entry.metadata().unwrap());
                if facts.is_dir() && !path.ends_with("var/tmp/doubles") {
                    folders.push(path);
                } else if !facts.is_dir() {
                    let contents = match fs::read_link(&path) {
                        Ok(target) => target.display().to_string(),
                        Err(_) if facts.is_file() => sha256(&fs::read(&path).unwrap()),
                        Err(_) => String::new(),
                    };
                    let (mode, owner, group) = (facts.mode(), facts.uid(), facts.gid());
                    let written = (facts.mtime(), facts.mtime_nsec());
                    let seen = format!("{mode:o} {owner}:{group} {written:?} {contents}");
                    files.insert(path, seen);
                }
            }
        }
        files
    }

    fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.text(path)).unwrap()
    }
}

fn copy(from: &Path, to: &Path) {
    let done = Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(done.success());
}

fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// What every image has, whatever it was made from.
fn is_a_parent(image: &Image, identity: &str) {
    let manifest = image.json("/usr/share/bailey/manifest.json");
    let found = sha256(image.text("/usr/share/bailey/manifest.json").as_bytes());
    assert_eq!(format!("sha256:{found}"), identity);
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
    let files = manifest["files"].as_array().unwrap();
    for path in [
        "/usr/bin/bailey-agent",
        "/usr/bin/nitro-cli",
        "/usr/lib/systemd/system/bailey-agent.service",
        "/etc/sysctl.d/60-bailey.conf",
        "/usr/share/bailey/sbom.cdx.json",
    ] {
        assert!(files.iter().any(|file| file["path"] == path), "{path} is not in {manifest}");
    }
    for file in files {
        let bytes = fs::read(image.file(file["path"].as_str().unwrap())).unwrap();
        assert_eq!(file["sha256"], sha256(&bytes), "{file}");
    }
    let bill = image.json("/usr/share/bailey/sbom.cdx.json");
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = bill["components"].as_array().unwrap();
    let named = |name: &str| components.iter().find(|component| component["name"] == name).unwrap();
    assert!(named("bash")["purl"].as_str().unwrap().starts_with("pkg:"));

    for unit in ["sshd.service", "sshd.socket", "ssh.service", "ssh.socket"] {
        let masked = fs::read_link(image.file(&format!("/etc/systemd/system/{unit}"))).unwrap();
        assert_eq!(masked, Path::new("/dev/null"), "{unit}");
    }
    assert!(image.text("/etc/passwd").lines().any(|line| line.starts_with("bailey:")));
    let enclaves =
        image.text("/etc/group").lines().find(|it| it.starts_with("ne:")).unwrap().to_owned();
    assert!(enclaves.ends_with(":bailey"), "{enclaves}");
    assert!(image.text("/etc/systemd/journald.conf.d/60-bailey.conf").contains("SystemMaxUse="));
    assert!(image.file("/etc/cloud/cloud-init.disabled").exists());
}

/// Boots the image as a parent of the local cloud, where it serves an enclave and says what it is.
async fn boots_and_serves(image: &Image, identity: &str) {
    let parents = Parents::start(&image.tree()).await;
    parents.system.put_record(&seed_record()).await.unwrap();
    let record = parents.system.reaches(ID, "DEPLOYED").await;
    assert_eq!(record["deployment"]["parent_image"], identity);
    assert_eq!(parents.property("ActiveState").await, "active");
    let machine = parents.run(&["cat", "/etc/machine-id"]).await;
    assert_eq!(machine.len(), 32, "{machine}");

    // Nothing of ours failed on the way, and cloud-init had nothing to do.
    let failed = parents.run(&["systemctl", "--failed", "--plain", "--no-legend"]).await;
    assert!(!failed.contains("bailey") && !failed.contains("nitro"), "{failed}");
    let units = parents.run(&["systemctl", "list-units", "--plain", "--no-legend", "cloud*"]).await;
    assert_eq!(units, "");

    let status = parents.run(&["bailey-agent", "status"]).await;
    assert!(status.contains(&format!("parent image {identity}")), "{status}");
    // The agent's configuration here is the local cloud's; nothing else differs from the image's word.
    let check = parents.run(&["sh", "-c", "bailey-agent check || true"]).await;
    let said: Vec<_> = check.lines().filter(|line| line.contains("parent image")).collect();
    assert_eq!(said, ["FAIL  parent image: `/etc/bailey/agent.toml` was changed"]);

    let units = [
        "bailey-agent.service",
        "bailey-grow-root.service",
        "bailey-helper@x.service",
        "bailey-helper.socket",
    ];
    let verify = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes"];
    parents.run(&[&verify[..], &units[..]].concat()).await;
    parents.run(&["systemd-analyze", "security", "--threshold=20", "bailey-agent.service"]).await;
    parents.system.destroy_all(&[ID]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_amazon_linux_is_provisioned_once_boots_and_says_which_it_is() {
    let Some(distribution) = distribution() else { return };
    let image = Image::new(&distribution, "al2023");
    // As Amazon's own images come.
    fs::create_dir_all(image.file("/var/tmp/doubles")).unwrap();
    let with_ssh = "openssh-server\nec2-instance-connect\n";
    fs::write(image.file("/var/tmp/doubles/packages"), with_ssh).unwrap();

    let (changes, identity) = image.provision(&[]);
    assert!(changes > 20, "{changes}");
    assert_eq!(image.asked(), AMAZON_LINUX);
    assert!(!image.text("/var/tmp/doubles/packages").contains("ssh"));
    is_a_parent(&image, &identity);
    let manifest = image.json("/usr/share/bailey/manifest.json");
    assert_eq!(manifest["distribution"]["id"], "amzn");
    assert_eq!(manifest["distribution"]["release"], "2023.12.20260831");
    assert!(manifest["packages"]["aws-nitro-enclaves-cli"].is_string(), "{manifest}");

    let before = image.snapshot();
    assert_eq!(image.provision(&[]), (0, identity.clone()));
    assert_eq!(image.snapshot(), before);
    assert_eq!(image.asked(), AMAZON_LINUX);

    // Another policy is another image.
    let (changes, other) = image.provision(&["--updates", "none"]);
    assert_eq!(changes, 2, "the timer, and the manifest");
    assert_ne!(other, identity);

    image.provision(&["--seal"]);
    assert_eq!(image.text("/etc/machine-id"), "");
    boots_and_serves(&image, &identity).await;
}

const AMAZON_LINUX: [&str; 3] = [
    "dnf --assumeyes --quiet --releasever=2023.12.20260831 --setopt=install_weak_deps=False install \
     aws-nitro-enclaves-cli-1.5.0-0.amzn2023 chrony cloud-utils-growpart logrotate dnf-automatic",
    "dnf --assumeyes --quiet remove ec2-instance-connect openssh-server",
    "grubby --update-kernel=ALL --args=transparent_hugepage=madvise",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_image_of_debian_is_provisioned_once_boots_and_says_which_it_is() {
    let Some(distribution) = distribution() else { return };
    let image = Image::new(&distribution, "debian");
    let (changes, identity) = image.provision(&[]);
    assert!(changes > 20, "{changes}");
    let asked = image.asked();
    assert_eq!(asked.first().unwrap(), "apt-get -qq update");
    assert!(asked.iter().any(|line| line.contains("unattended-upgrades")), "{asked:?}");
    assert!(image.text("/boot/grub/grub.cfg").contains("transparent_hugepage=madvise"));
    is_a_parent(&image, &identity);

    let before = image.snapshot();
    assert_eq!(image.provision(&[]), (0, identity.clone()));
    assert_eq!(image.snapshot(), before);

    image.provision(&["--seal"]);
    boots_and_serves(&image, &identity).await;
}

#[test]
fn a_parent_whose_nitro_cli_is_not_what_it_should_be_is_not_made() {
    let Some(distribution) = distribution() else { return };
    let image = Image::new(&distribution, "debian");
    let before = image.snapshot();
    let nitro_cli = image.dir.path().join("release/nitro-cli/nitro-cli");
    fs::write(&nitro_cli, "another").unwrap();
    let output = image.try_provision(&[]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("is not what its SHA256SUMS says"), "{said}");
    let new = image.snapshot();
    assert!(new.keys().all(|path| before.contains_key(path) || !path.ends_with("nitro-cli")));

    let output = image.try_provision(&["--updates", "sometimes"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[test]
fn without_root_nothing_is_done_and_that_is_said() {
    let Some(_) = distribution() else { return };
    let script = repository().join("ami/provision");
    // Where nobody may read the checkout, a copy of the script alone shows the same.
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    copy(script.parent().unwrap(), &dir.path().join("ami"));
    let ids = ["--reuid=65534", "--regid=65534", "--clear-groups", "--"];
    let output =
        Command::new("setpriv").args(ids).arg(dir.path().join("ami/provision")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("NOT ROOT: nothing was done"), "{said}");
}
