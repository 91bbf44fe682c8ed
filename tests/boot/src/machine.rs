//! The machines that QEMU makes of an image.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::image::Parts;

/// The sockets of the devices, in the machine's directory.
pub(crate) const VSOCK_SOCKET: &str = "vhost-vsock.sock";
pub(crate) const NSM_SOCKET: &str = "vhost-nsm.sock";

/// What every machine has.
#[derive(Clone, Debug)]
pub(crate) struct Common<'a> {
    /// The directory that `build-qemu` filled.
    pub(crate) qemu: &'a Path,
    /// The guest's memory, in MiB.
    pub(crate) memory_mib: u64,
    /// Where the guest's console goes.
    pub(crate) console: &'a Path,
    /// How fast the clock of the processor's counter is, in kHz: a guest that is emulated cannot find
    /// that out in finite time.
    pub(crate) tsc_khz: u64,
}

/// What QEMU's `nitro-enclave` machine is told about the enclave and its parent.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Identity {
    /// The module id that documents state
    #[arg(long)]
    pub(crate) module_id: String,
    /// The ARN of the parent's role, for PCR3
    #[arg(long)]
    pub(crate) role_arn: String,
    /// The id of the parent, for PCR4
    #[arg(long)]
    pub(crate) instance_id: String,
}

/// QEMU's own idea of an enclave: it reads and measures the image, and has a module that signs nothing.
pub(crate) fn nitro_enclave(common: &Common, image: &Path, identity: &Identity) -> Vec<OsString> {
    let Identity { module_id, role_arn, instance_id } = identity;
    let machine = format!(
        "nitro-enclave,vsock=vsock,id={},parent-role={},parent-id={},acpi=on",
        value(module_id),
        value(role_arn),
        value(instance_id)
    );
    let mut arguments = start(common, &machine);
    // It is added to the image's own command line behind the measuring.
    let cmdline = format!("tsc_early_khz={}", common.tsc_khz);
    arguments.extend(words(&["-kernel"]));
    arguments.push(image.into());
    arguments.extend(words(&["-append", &cmdline]));
    arguments.extend(words(&["-chardev", &chardev("vsock", VSOCK_SOCKET)]));
    arguments
}

/// A small machine without any idea of enclaves, with the devices of one: vsock and our module.
pub(crate) fn microvm(common: &Common, parts: &Parts) -> Vec<OsString> {
    let mut arguments = start(common, "microvm,acpi=on,memory-backend=memory");
    let memory = format!("memory-backend-memfd,id=memory,size={}M,share=on", common.memory_mib);
    let cmdline = format!("{} tsc_early_khz={}", parts.cmdline, common.tsc_khz);
    arguments.extend(words(&["-nodefaults", "-object", &memory, "-kernel"]));
    arguments.extend([parts.kernel.clone().into(), "-initrd".into(), parts.ramdisk.clone().into()]);
    arguments.extend(words(&[
        "-append",
        &cmdline,
        "-chardev",
        &chardev("vsock", VSOCK_SOCKET),
        "-device",
        "vhost-user-vsock-device,chardev=vsock",
        "-chardev",
        &chardev("nsm", NSM_SOCKET),
        "-device",
        "vhost-user-device,virtio-id=33,num_vqs=1,config_size=0,chardev=nsm",
    ]));
    arguments
}

/// `acpi=on`, because Debian's kernel finds no devices on its command line.
fn start(common: &Common, machine: &str) -> Vec<OsString> {
    let memory = format!("{}M", common.memory_mib);
    let console = format!("file:{}", value(&common.console.display().to_string()));
    let mut arguments = words(&["-L"]);
    arguments.push(common.qemu.join("rom").into());
    arguments.extend(words(&["-M", machine, "-accel", "tcg", "-cpu", "max", "-smp", "1"]));
    arguments.extend(words(&["-m", &memory, "-nographic", "-monitor", "none", "-no-reboot"]));
    arguments.extend(words(&["-serial", &console]));
    arguments
}

fn chardev(id: &str, socket: &str) -> String {
    format!("socket,id={id},path={socket}")
}

/// A comma within the value of an option is written twice.
fn value(text: &str) -> String {
    text.replace(',', ",,")
}

fn words(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

/// The program.
pub(crate) fn program(qemu: &Path) -> PathBuf {
    qemu.join("qemu-system-x86_64")
}

/// How fast the processor's counter counts, in kHz, from the text of `/proc/cpuinfo`.
pub(crate) fn tsc_khz(cpuinfo: &str) -> Option<u64> {
    let line = cpuinfo.lines().find(|line| line.starts_with("cpu MHz"))?;
    let (_, mhz) = line.split_once(':')?;
    let mhz = mhz.trim();
    let (whole, fraction) = mhz.split_once('.').unwrap_or((mhz, ""));
    let thousandths = format!("{fraction:0<3}");
    let whole: u64 = whole.parse().ok()?;
    let khz: u64 = thousandths.get(..3)?.parse().ok()?;
    whole.checked_mul(1_000)?.checked_add(khz)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn common<'a>() -> Common<'a> {
        Common {
            qemu: Path::new("/qemu"),
            memory_mib: 256,
            console: Path::new("console.log"),
            tsc_khz: 2_600_000,
        }
    }

    fn text(arguments: &[OsString]) -> String {
        arguments.join(" ".as_ref()).into_string().unwrap()
    }

    #[test]
    fn a_comma_in_an_identity_stays_within_its_option() {
        let identity = Identity {
            module_id: "i-0-enc1".to_owned(),
            role_arn: "arn:aws:iam::123456789012:role/a,b".to_owned(),
            instance_id: "i-0".to_owned(),
        };
        let line = text(&nitro_enclave(&common(), Path::new("x.eif"), &identity));
        assert!(line.contains("parent-role=arn:aws:iam::123456789012:role/a,,b,parent-id=i-0"));
        assert!(line.contains("-kernel x.eif -append tsc_early_khz=2600000"), "{line}");
    }

    #[test]
    fn the_small_machine_has_the_images_own_command_line_first() {
        let parts = Parts {
            kernel: "kernel".into(),
            ramdisk: "ramdisk".into(),
            cmdline: "console=ttyS0".to_owned(),
        };
        let line = text(&microvm(&common(), &parts));
        let wanted = "-kernel kernel -initrd ramdisk -append console=ttyS0 tsc_early_khz=2600000";
        assert!(line.contains(wanted), "{line}");
    }

    #[test]
    fn the_clock_is_read_to_the_kilohertz() {
        assert_eq!(tsc_khz("model\ncpu MHz\t\t: 2499.998\n"), Some(2_499_998));
        assert_eq!(tsc_khz("cpu MHz : 2500\n"), Some(2_500_000));
        assert_eq!(tsc_khz("cpu MHz : fast\n"), None);
    }
}
