//! Values that the tests of several modules start from.

use crate::ports::Image;
use bailey_model::{
    Base64Bytes, Generation, Pcr, PcrSet, UnixMillis,
    hosts::{Assignment, EifSource, Nonce},
    record::RestartPolicy,
};

pub(crate) const NOW: UnixMillis = UnixMillis(1_800_000_000_000);

pub(crate) fn assignment(id: &str, generation: u64) -> Assignment {
    Assignment {
        enclave_id: id.parse().unwrap(),
        generation: Generation(generation),
        eif: EifSource {
            location: "s3://images/test.eif".parse().unwrap(),
            version_id: None,
            sha384: None,
        },
        cpu_count: 2,
        memory_mib: 1_024,
        debug: false,
        expected_pcrs: PcrSet::new(),
        restart: RestartPolicy::OnFailure,
        nonce: nonce(1),
        egress: vec![],
        ingress: vec![],
    }
}

pub(crate) fn nonce(sequence: u64) -> Nonce {
    Nonce { bytes: Base64Bytes(vec![7; 32]), issued_at: NOW, sequence }
}

pub(crate) fn image() -> Image {
    Image {
        path: "/cache/test.eif".into(),
        size_bytes: 1_000_000,
        measurements: (0..3).map(|index| (index, Pcr([index + 1; 48]))).collect(),
    }
}
