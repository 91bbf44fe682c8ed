//! A simulated parent with images, and the real programs run on it.

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use bailey_eif::{Architecture, BuildMetadata, ImageMetadata, ImageParts, Measurement};
use bailey_nitro_cli_standin::enclaves::power_off;
use bailey_nitro_cli_standin::host::{ENVIRONMENT, Host, HostFacts, create};
use bailey_simulated_nsm::Authority;
use bailey_vsock::connect;
use cpio::newc;
use serde_json::Value;

/// What a program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.code, 0, "{}", self.stderr);
        serde_json::from_str(&self.stdout).unwrap()
    }

    /// The codes of the blocks on standard error, in order.
    pub(crate) fn codes(&self) -> Vec<&str> {
        let lines = self.stderr.lines();
        lines
            .filter_map(|line| line.strip_prefix("[ ")?.split_once(" ] "))
            .map(|(c, _)| c)
            .collect()
    }
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A parent of 8 CPUs and 8 GiB, of which enclaves have 6 CPUs and 4 GiB.
pub(crate) struct Parent {
    pub(crate) host: Host,
    dir: tempfile::TempDir,
}

impl Drop for Parent {
    /// The enclaves end before their directory goes.
    fn drop(&mut self) {
        let _ = power_off(&self.host);
    }
}

impl Parent {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let authority = dir.path().join("authority.pem");
        let texts = Authority::generate().unwrap().to_pem();
        fs::write(&authority, format!("{}{}", texts.certificate, texts.key)).unwrap();
        let facts = HostFacts {
            instance_id: "i-0123456789abcdef0".to_owned(),
            instance_type: "m5.2xlarge".to_owned(),
            instance_arn: "arn:aws:ec2:eu-west-1:123456789012:instance/i-0123456789abcdef0"
                .to_owned(),
            role_arn: "arn:aws:iam::123456789012:role/parent".to_owned(),
            availability_zone: "eu-west-1a".to_owned(),
            region: "eu-west-1".to_owned(),
            vcpus: 8,
            memory_mib: 8_192,
            threads_per_core: 2,
            authority,
        };
        let host = create(&dir.path().join("host"), &facts).unwrap();
        fs::write(host.allocator_file(), "---\nmemory_mib: 4096\ncpu_count: 6\n").unwrap();
        let parent = Self { host, dir };
        assert_eq!(parent.allocator().code, 0);
        parent
    }

    pub(crate) fn nitro_cli(&self, arguments: &[&str]) -> Said {
        self.command(arguments).output().unwrap().into()
    }

    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nitro-cli-standin"));
        command.args(arguments).env(ENVIRONMENT, self.host.dir());
        command
    }

    pub(crate) fn allocator(&self) -> Said {
        let program = env!("CARGO_BIN_EXE_nitro-enclaves-allocator-standin");
        Command::new(program).env(ENVIRONMENT, self.host.dir()).output().unwrap().into()
    }

    /// Starts an enclave with 2 CPUs and 512 MiB.
    pub(crate) fn run(&self, image: &str) -> Said {
        self.nitro_cli(&run_arguments(image))
    }

    pub(crate) fn describe(&self) -> Value {
        self.nitro_cli(&["describe-enclaves"]).json()
    }

    pub(crate) fn free_pages(&self) -> String {
        let node = "sys/devices/system/node/node0/hugepages/hugepages-2048kB/free_hugepages";
        fs::read_to_string(self.host.root(node)).unwrap().trim().to_owned()
    }

    /// A connection to an enclave's port, as the agent makes it.
    pub(crate) fn connect(
        &self,
        cid: &Value,
        port: u32,
    ) -> Result<UnixStream, connect::HandshakeError> {
        let cid = u32::try_from(cid.as_u64().unwrap()).unwrap();
        let mut stream = UnixStream::connect(self.host.vsock_socket(cid)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        connect::open(&mut stream, port).map(|()| stream)
    }

    /// A connection to the responder itself, which ends when the responder does.
    pub(crate) fn connect_to_responder(&self, enclave_id: &Value) -> UnixStream {
        let slot = enclave_id.as_str().unwrap().rsplit("-enc").next().unwrap();
        let stream = UnixStream::connect(self.host.run(slot).join("keep.sock")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Waits until an enclave's process has ended.
    pub(crate) fn await_end(&self, enclave_id: &Value) {
        let slot = enclave_id.as_str().unwrap().rsplit("-enc").next().unwrap();
        // Where the file is gone, so is the process.
        if let Ok(alive) = fs::File::open(self.host.run(slot).join("alive")) {
            alive.lock().unwrap();
        }
    }

    /// An image whose responder is the rogue in this mode.
    pub(crate) fn rogue(&self, mode: &str) -> String {
        let program = fs::read(env!("CARGO_BIN_EXE_rogue-keep")).unwrap();
        self.image(
            mode,
            &[("keep", 0o100_755, &program), ("rogue-mode", 0o100_644, mode.as_bytes())],
        )
    }

    /// An image with these files, and its path.
    pub(crate) fn image(&self, name: &str, files: &[(&str, u32, &[u8])]) -> String {
        let path = self.path(name);
        let metadata = metadata();
        let ramdisk = ramdisk(files);
        let parts = ImageParts {
            kernel: b"kernel".as_slice(),
            cmdline: "console=ttyS0",
            ramdisks: vec![b"".as_slice(), &ramdisk],
            metadata: &metadata,
            architecture: Architecture::X86_64,
        };
        bailey_eif::write(parts, &mut fs::File::create(&path).unwrap()).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.eif"))
    }
}

pub(crate) fn run_arguments(image: &str) -> [&str; 7] {
    ["run-enclave", "--cpu-count", "2", "--memory", "512", "--eif-path", image]
}

pub(crate) fn measure(image: &str) -> Measurement {
    bailey_eif::measure(fs::File::open(image).unwrap()).unwrap()
}

fn metadata() -> ImageMetadata {
    ImageMetadata {
        image_name: "test".to_owned(),
        image_version: "1.0".to_owned(),
        build_metadata: BuildMetadata {
            build_time: "2025-01-01T00:00:00Z".to_owned(),
            build_tool: "a test".to_owned(),
            build_tool_version: "1".to_owned(),
            operating_system: "Linux".to_owned(),
            kernel_version: "6.12".to_owned(),
        },
        docker_info: Value::Null,
        custom_metadata: Value::Null,
    }
}

fn ramdisk(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, mode, content) in files {
        let size = u32::try_from(content.len()).unwrap();
        let mut entry = newc::Builder::new(name).mode(*mode).write(&mut archive, size);
        entry.write_all(content).unwrap();
        entry.finish().unwrap();
    }
    newc::trailer(&mut archive).unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    gzip.finish().unwrap()
}
