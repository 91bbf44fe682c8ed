//! What the programs refuse, and in which words.

use std::fs;

use crate::parent::{Parent, Said, measure, run_arguments};
use serde_json::json;

/// `/keep` is a script, so that the images stay small.
fn script(parent: &Parent, name: &str, text: &str) -> String {
    parent.image(name, &[("keep", 0o100_755, text.as_bytes())])
}

#[test]
fn each_refusal_has_its_code_and_e39_comes_last() {
    let parent = Parent::new();
    let image = script(&parent, "image", "#!/bin/sh\n");
    let run = |arguments: &[&str]| {
        let said = parent.nitro_cli(&[&["run-enclave", "--eif-path", &image], arguments].concat());
        assert_eq!((said.code, said.stdout.as_str()), (39, ""), "{arguments:?}");
        assert!(said.stderr.contains("\nFailed connections: 1\n[ E39 ] "), "{}", said.stderr);
        said.codes().first().map(|code| (*code).to_owned()).unwrap()
    };
    assert_eq!(run(&["--cpu-count", "8", "--memory", "64"]), "E22");
    assert_eq!(run(&["--cpu-ids", "1", "4", "--memory", "64"]), "E21");
    assert_eq!(run(&["--cpu-ids", "2", "2", "--memory", "64"]), "E20");
    assert_eq!(run(&["--cpu-count", "2", "--memory", "0"]), "E26");
    assert_eq!(run(&["--cpu-count", "2", "--memory", "8192"]), "E27");
    assert_eq!(run(&["--cpu-count", "3", "--memory", "64"]), "E29");
    assert_eq!(run(&["--cpu-count", "0", "--memory", "64"]), "E29");
    assert_eq!(parent.free_pages(), "2048");
    fs::write(parent.host.root("sys/module/nitro_enclaves/parameters/ne_cpus"), "\n").unwrap();
    assert_eq!(run(&["--cpu-count", "2", "--memory", "64"]), "E22");
    fs::remove_file(parent.host.root("sys/module/nitro_enclaves/parameters/ne_cpus")).unwrap();
    assert_eq!(run(&["--cpu-count", "2", "--memory", "64"]), "E19");
}

#[test]
fn a_bad_argument_is_refused_before_any_process_starts() {
    let parent = Parent::new();
    let image = script(&parent, "image", "#!/bin/sh\n");
    let said = parent.nitro_cli(&[&run_arguments(&image)[..], &["--enclave-cid", "2"]].concat());
    assert_eq!((said.code, said.codes()), (3, vec!["E03"]));
    assert!(said.stderr.starts_with(
        "[ E03 ] Invalid argument provided. The parameter `MISSING_INFO` is not a valid integer \
         (`MISSING_INFO`)\n\nFor more details, please visit \
         https://docs.aws.amazon.com/enclaves/latest/user/cli-errors.html#E03\n\n\
         If you open a support ticket, please provide the error log found at \""
    ));
    let said = parent.nitro_cli(&["run-enclave", "--memory", "64"]);
    assert_eq!((said.code, said.codes()), (2, vec![]));
}

#[test]
fn a_missing_image_is_named() {
    let parent = Parent::new();
    let said = parent.run("/nowhere/missing.eif");
    assert_eq!((said.code, said.codes()), (39, vec!["E19", "E39"]));
    let line = "\nFile: '/nowhere/missing.eif', failing operation: 'Open'.\n";
    assert!(said.stderr.contains(line), "{}", said.stderr);
}

#[test]
fn a_damaged_image_never_starts() {
    let parent = Parent::new();
    let image = fs::read(script(&parent, "image", "#!/bin/sh\n")).unwrap();
    let damaged = |name: &str, bytes: &[u8]| {
        let path = parent.path(name);
        fs::write(&path, bytes).unwrap();
        let said = parent.run(path.to_str().unwrap());
        assert_eq!(said.code, 39);
        said.codes()[0].to_owned()
    };
    let flipped = |at: usize| {
        let mut bytes = image.clone();
        bytes[at] ^= 1;
        bytes
    };
    assert_eq!(damaged("magic", &flipped(0)), "E36");
    assert_eq!(damaged("body", &flipped(image.len() - 1)), "E36");
    assert_eq!(damaged("cut", &image[..image.len() - 1]), "E36");
    assert_eq!(damaged("text", b"no image at all"), "E59");
    assert_eq!(damaged("empty", b""), "E59");
    assert_eq!(parent.describe(), json!([]));
    assert_eq!(parent.free_pages(), "2048");
}

#[test]
fn an_image_that_gives_no_sign_of_life_does_not_run() {
    let parent = Parent::new();
    let images = [
        parent.image("empty", &[("etc/motd", 0o100_644, b"")]),
        script(&parent, "ends", "#!/bin/sh\nexit 3\n"),
        script(&parent, "waits", "#!/bin/sh\nexec sleep 3600\n"),
        parent.rogue("no-heartbeat"),
    ];
    let causes = [
        "cannot start the responder `/keep`",
        "what runs inside has ended (exit status: 3)",
        "no heartbeat within 500 ms",
        "no heartbeat within 500 ms",
    ];
    for (image, cause) in images.iter().zip(causes) {
        let output = parent
            .command(&run_arguments(image))
            .env("BAILEY_SIM_HEARTBEAT_TIMEOUT_MS", "500")
            .env("BACKTRACE", "1")
            .output();
        let said = Said::from(output.unwrap());
        assert_eq!((said.code, said.codes()), (39, vec!["E36", "E39"]));
        assert!(said.stderr.contains(cause), "{}", said.stderr);
    }
    assert_eq!(parent.free_pages(), "2048");
    let left = fs::read_dir(parent.host.run("")).unwrap().map(|entry| entry.unwrap().path());
    let left: Vec<_> = left
        .filter(|path| path.is_dir() && !path.ends_with("logs") || path.ends_with("json"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn unknown_enclaves_cannot_be_terminated() {
    let parent = Parent::new();
    let said = parent.nitro_cli(&["terminate-enclave", "--enclave-id", "i-0-enc1"]);
    assert_eq!((said.code, said.codes()), (11, vec!["E11"]));
    let said = parent.nitro_cli(&["terminate-enclave", "--enclave-name", "nobody"]);
    assert_eq!((said.code, said.codes()), (58, vec!["E58"]));
    assert!(said.stderr.starts_with(
        "[ E58 ] Naming error. Such error appears when trying to perform an enclave operation \
         using the enclave name and the name is invalid.\n"
    ));
}

#[test]
fn an_image_is_described() {
    let parent = Parent::new();
    let image = script(&parent, "image", "#!/bin/sh\n");
    let measured = measure(&image);
    let describe = |path: &str| parent.nitro_cli(&["describe-eif", "--eif-path", path]);
    let expected = json!({
        "EifVersion": 4,
        "Measurements": {
            "HashAlgorithm": "Sha512_48 { .. }",
            "PCR0": measured.pcr0, "PCR1": measured.pcr1, "PCR2": measured.pcr2,
        },
        "IsSigned": false, "CheckCRC": true, "ImageName": "test", "ImageVersion": "1.0",
        "Metadata": {
            "BuildTime": "2025-01-01T00:00:00Z", "BuildTool": "a test", "BuildToolVersion": "1",
            "OperatingSystem": "Linux", "KernelVersion": "6.12", "DockerInfo": null,
        },
    });
    assert_eq!(describe(&image).json(), expected);

    let mut bytes = fs::read(&image).unwrap();
    let path = parent.path("damaged");
    for at in [0, 547] {
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let described = describe(path.to_str().unwrap()).json();
        assert_eq!(described["CheckCRC"], false);
        assert_eq!(described["Measurements"]["PCR0"], json!(measured.pcr0));
    }
    for bytes in [&bytes[..bytes.len() - 1], b"", b"text"] {
        fs::write(&path, bytes).unwrap();
        let said = describe(path.to_str().unwrap());
        assert_eq!((said.code, said.codes()), (35, vec!["E35"]));
    }
    assert_eq!(describe("/nowhere/missing.eif").code, 35);
}

#[test]
fn without_a_host_every_command_says_so() {
    let parent = Parent::new();
    let mut command = parent.command(&["describe-enclaves"]);
    let said = Said::from(command.env_remove("BAILEY_SIM_HOST").output().unwrap());
    assert_eq!(said.code, 1);
    assert_eq!(
        said.stderr,
        "nitro-cli-standin: BAILEY_SIM_HOST does not name a simulated host's directory\n"
    );
}
