//! The commands with which a reader verifies a report again.

use super::facts::under_awss_root;
use crate::output::shell_word;
use bailey_model::report::{Report, Verdict};

/// The command with which anyone can verify the report file.
pub(super) fn command(report: &Report) -> String {
    let mut words = vec!["bailey verify report.json".to_owned()];
    words.extend(root_flag(report));
    if matches!(report.verdict, Some(Verdict::Authentic | Verdict::Verified)) {
        words.push("--require-production".to_owned());
        let pcrs = report.expected_pcrs.iter();
        words.extend(pcrs.map(|(index, pcr)| format!("--pcr {index}={pcr}")));
    }
    words.extend(report.manifest.as_ref().map(|_| "--manifest-key KEY.pem".to_owned()));
    words.push(format!("--nonce hex:{}", hex::encode(report.nonce.as_slice())));
    words.push(format!("--instance-id {}", shell_word(&report.host.instance_id)));
    words.extend(report.host.role_arn.iter().map(|arn| format!("--role-arn {}", shell_word(arn))));
    words.join(" \\\n  ")
}

/// The command with which anyone can verify the history that ends in `head` and holds the report.
pub(in crate::render) fn chain_command(report: &Report, directory: &str, head: &str) -> String {
    let start = format!("bailey verify --chain {directory}");
    let words = [Some(start), Some(format!("--head {head}")), root_flag(report)];
    words.into_iter().flatten().collect::<Vec<_>>().join(" \\\n  ")
}

/// What the file names in the commands stand for.
pub(super) fn files(report: &Report) -> Vec<&'static str> {
    let root = "ROOT.pem is the certificate of the root that you choose to trust; its SHA-256 has \
                to be that of the root above.";
    let key = "KEY.pem is the public key of whoever signs manifests of images for you, from a \
               source that you trust.";
    let is_local = under_awss_root(report) == Some(false);
    [(is_local, root), (report.manifest.is_some(), key)]
        .into_iter()
        .filter(|file| file.0)
        .map(|file| file.1)
        .collect()
}

/// The commands with which anyone who may read the bucket gets the history and verifies it.
pub(super) fn chain_commands(report: &Report) -> [String; 2] {
    let fetch =
        format!("bailey report {} --history DIRECTORY", shell_word(report.enclave_id.as_str()));
    [fetch, chain_command(report, "DIRECTORY", "SHA256")]
}

/// What makes a document under another root than AWS's verify.
fn root_flag(report: &Report) -> Option<String> {
    (under_awss_root(report) == Some(false)).then(|| "--root ROOT.pem".to_owned())
}
