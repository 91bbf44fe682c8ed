//! How much faster an image of 1 GiB is measured than by the library that nitro-cli uses.
//!
//! Both read the same file from the page cache, and come to the same measurements. Each is given its
//! best round. `BAILEY_BENCH_MIB` makes the image smaller.

#[path = "../../benches/image/mod.rs"]
mod image;

use aws_nitro_enclaves_image_format::utils::eif_reader::EifReader;
use bailey_eif::measure_file;
use image::{MIB, image};
use std::{collections::BTreeMap, fs::File, path::Path, process::ExitCode, time::Instant};

const ROUNDS: usize = 3;

/// The promise.
const GOAL: f64 = 3.0;

fn main() -> ExitCode {
    let size_mib: u64 = std::env::var("BAILEY_BENCH_MIB").map_or(1_024, |mib| mib.parse().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let first_mib = size_mib / 4;
    let path = image(directory.path(), first_mib * MIB, (size_mib - first_mib) * MIB);
    let (mut best_ours, mut best_theirs) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..ROUNDS {
        let (ours, seconds) = timed(|| ours(&path));
        best_ours = best_ours.min(seconds);
        let (theirs, seconds) = timed(|| theirs(&path));
        best_theirs = best_theirs.min(seconds);
        assert_eq!(ours, theirs, "both measure the same");
    }
    let speedup = best_theirs / best_ours;
    println!("ours {best_ours:.2} s, aws-nitro-enclaves-image-format {best_theirs:.2} s");
    println!("bench: eif_measure_speedup_over_reference={speedup:.1}");
    let is_met = speedup >= GOAL;
    println!("at least {GOAL}: {}", if is_met { "met" } else { "MISSED" });
    if is_met { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn ours(path: &Path) -> BTreeMap<String, String> {
    let measurement = measure_file(File::open(path).unwrap()).unwrap();
    let pcrs = measurement.pcrs().into_iter();
    pcrs.map(|(index, pcr)| (format!("PCR{index}"), pcr.to_string())).collect()
}

/// What `nitro-cli describe-eif` does: checksum and registers.
fn theirs(path: &Path) -> BTreeMap<String, String> {
    let mut reader = EifReader::from_eif(path.to_str().unwrap().to_owned()).unwrap();
    assert!(reader.check_crc());
    let mut measurements = reader.get_measurements().unwrap();
    measurements.remove("HashAlgorithm");
    measurements
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let outcome = work();
    (outcome, start.elapsed().as_secs_f64())
}
