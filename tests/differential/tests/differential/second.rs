//! The second verifier, `verifier.py`, as a process that answers over its standard streams.

use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{env, thread};

use crate::judgement::{Case, Judgement};

pub(crate) struct SecondVerifier(Child);

impl SecondVerifier {
    pub(crate) fn start() -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let python = venv(here).join("bin/python");
        let child = Command::new(&python)
            .arg(here.join("verifier.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}: run `make setup`", python.display()));
        Self(child)
    }

    /// Has every case judged, and hands on each with its judgement.
    pub(crate) fn judge(mut self, cases: &[Case], mut judged: impl FnMut(&Case, Judgement)) {
        let mut requests = BufWriter::new(self.0.stdin.take().unwrap());
        let mut answers = BufReader::new(self.0.stdout.take().unwrap());
        thread::scope(|scope| {
            // Written beside the reading, so that neither side waits for room in a pipe.
            scope.spawn(move || {
                for case in cases {
                    // A verifier that has ended is noticed by the one who reads.
                    if write_frame(&mut requests, &request(case)).is_err() {
                        return;
                    }
                }
            });
            for case in cases {
                let answer = read_frame(&mut answers).unwrap_or_else(|error| {
                    panic!("verifier.py ended, {error}: if it lacks a module, run `make setup`")
                });
                judged(case, serde_json::from_slice(&answer).unwrap());
            }
        });
        assert!(self.0.wait().unwrap().success());
    }
}

/// As scripts/setup makes it.
fn venv(here: &Path) -> PathBuf {
    env::var_os("BAILEY_VENV").map_or_else(|| here.join("../../.venv"), PathBuf::from)
}

fn request(Case { document, terms, .. }: &Case) -> Vec<u8> {
    let request = serde_json::json!({ "document": hex::encode(document), "terms": terms });
    request.to_string().into_bytes()
}

/// The length as four bytes, big endian, then as many bytes.
fn write_frame(sink: &mut impl Write, frame: &[u8]) -> std::io::Result<()> {
    sink.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes())?;
    sink.write_all(frame)
}

fn read_frame(source: &mut impl Read) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    source.read_exact(&mut length)?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    source.read_exact(&mut frame)?;
    Ok(frame)
}
