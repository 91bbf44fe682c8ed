//! What nitro-cli's own code writes is read as what it means.

use bailey_nitro_cli::{answers, codes, refusal};
use nitro_cli::common::{
    NitroCliErrorEnum, NitroCliFailure, construct_error_message,
    document_errors::ERROR_CODES,
    json_output::{EnclaveBuildInfo, EnclaveDescribeInfo, EnclaveRunInfo},
};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    io::Cursor,
};

#[test]
fn every_documented_error_is_read_with_its_number_its_log_and_its_root_cause() {
    assert_eq!(ERROR_CODES.len(), 61);
    for (error, code) in ERROR_CODES.iter() {
        let failure = NitroCliFailure::new()
            .add_subaction("the innermost".to_owned())
            .add_subaction("around it".to_owned())
            .set_error_code(*error)
            .set_action("Run Enclave".to_owned());
        let said = format!("Start allocating memory...\n{}\n", construct_error_message(&failure));
        let blocks = refusal::error_blocks(&said);
        let [block] = blocks.as_slice() else { panic!("{code}: {said}") };
        assert_eq!(format!("E{:02}", block.code), *code);
        assert!(!block.text.is_empty(), "{code}");
        let log = block.log.as_ref().unwrap_or_else(|| panic!("{code} names no log: {said}"));
        let log = fs::read_to_string(log).unwrap();
        assert_eq!(refusal::root_cause(&log).as_deref(), Some("the innermost"), "{log}");
    }
}

#[test]
fn the_errors_that_mean_a_lack_of_resources_are_those() {
    let lacking: BTreeSet<&str> = ERROR_CODES
        .iter()
        .filter(|(_, code)| codes::failure_code(number(code)).as_str() == "InsufficientHostResources")
        .map(|(_, code)| *code)
        .collect();
    let meant = [
        NitroCliErrorEnum::InsufficientCpus,
        NitroCliErrorEnum::InsufficientMemoryRequested,
        NitroCliErrorEnum::InsufficientMemoryAvailable,
    ];
    assert_eq!(lacking, meant.iter().map(|error| ERROR_CODES[error]).collect());
}

#[test]
fn every_error_that_the_agents_commands_can_meet_has_a_hint() {
    // The console, building images and reading integers are no business of an agent's; E00 is no error.
    let others = [0, 4, 44, 45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55, 56, 57];
    for code in ERROR_CODES.values().map(|code| number(code)) {
        let hint = codes::hint(code);
        assert_eq!(hint.is_none(), others.contains(&code), "E{code:02}: {hint:?}");
    }
}

fn number(code: &str) -> u8 {
    code.strip_prefix('E').unwrap().parse().unwrap()
}

#[test]
fn enclaves_that_nitro_cli_describes_are_read() {
    let measurements = BTreeMap::from([("PCR0".to_owned(), "00".repeat(48))]);
    let describe = |name: Option<&str>, state: &str, cid| {
        EnclaveDescribeInfo::new(
            name.map(str::to_owned),
            "i-0abc-enc18f0".to_owned(),
            cid,
            2,
            vec![1, 3],
            1_024,
            state.to_owned(),
            "NONE".to_owned(),
            Some(EnclaveBuildInfo::new(measurements.clone())),
            None,
            None,
            None,
        )
    };
    let described = [
        describe(Some("bailey-0123"), "RUNNING", 16),
        describe(None, "TERMINATING", 17),
        describe(None, "EMPTY", 0),
    ];
    let text = serde_json::to_string_pretty(&described).unwrap();
    let read = answers::enclaves(&text).unwrap();
    let brief: Vec<_> = read.iter().map(|it| (it.name.as_str(), it.cid, it.running)).collect();
    assert_eq!(brief, [("bailey-0123", 16, true), ("", 17, false)]);
    assert_eq!((read[0].cpu_count, read[0].memory_mib), (2, 1_024));
    assert_eq!(read[0].nitro_id, "i-0abc-enc18f0");
}

#[test]
fn an_enclave_that_nitro_cli_started_is_read() {
    let id = "i-0abc-enc18f0".to_owned();
    let started = EnclaveRunInfo::new("bailey-0123".to_owned(), id, 16, 2, vec![1, 3], 1_024);
    let read = answers::started(&serde_json::to_string_pretty(&started).unwrap()).unwrap();
    assert_eq!((read.nitro_id.as_str(), read.cid), ("i-0abc-enc18f0", 16));
}

/// `BAILEY_TEST_EIF` is the image that the demo deploys.
#[test]
fn nitro_cli_describes_our_image_by_our_measurements_and_takes_what_we_refuse() {
    let path = std::env::var("BAILEY_TEST_EIF").expect("BAILEY_TEST_EIF names an image");
    let image = fs::read(&path).unwrap();
    let ours = bailey_eif::measure(Cursor::new(&image)).unwrap();
    let theirs = nitro_cli::describe_eif(path).unwrap_or_else(|failure| panic!("{failure:?}"));
    assert!(theirs.crc_check);
    for (register, value) in [("PCR0", &ours.pcr0), ("PCR1", &ours.pcr1), ("PCR2", &ours.pcr2)] {
        assert_eq!(theirs.build_info.measurements[register], value.to_string(), "{register}");
    }

    let dir = tempfile::tempdir().unwrap();
    let damaged = dir.path().join("damaged.eif");
    let mut bytes = image;
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    fs::write(&damaged, &bytes).unwrap();
    let theirs = nitro_cli::describe_eif(damaged.display().to_string());
    assert!(!theirs.unwrap_or_else(|failure| panic!("{failure:?}")).crc_check);
    bailey_eif::measure(Cursor::new(&bytes)).unwrap_err();
}
