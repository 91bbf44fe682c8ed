//! The lines of `bailey watch`.

use super::layout::padded;
use crate::{instant, output::one_line, view::RecordView, watching::Line};
use bailey_model::{Status, projection::ProgressView};
use std::time::Duration;

/// The longest phase is TERMINATING.
const PHASE_WIDTH: usize = 11;

/// One line of an enclave's way, without a line end.
pub(crate) fn line(line: &Line) -> String {
    match line {
        Line::Phase { after, phase, detail } => {
            timed(*after, phase, detail.as_deref().unwrap_or_default())
        }
        Line::Progress { after, progress } => timed(*after, "", &self::progress(*progress)),
        Line::Warning { after, text } => timed(*after, "warning", text),
    }
}

/// How it ended: the verdict of a deployed enclave, the reason and the remedy of a failed one.
pub(crate) fn closing(view: &RecordView, after: Duration) -> String {
    let projection = view.projection.as_ref();
    let error = projection.and_then(|projection| projection.error.as_ref());
    let proof = projection.and_then(|projection| projection.attestation.as_ref());
    match (view.known_status(), error, proof) {
        (Some(Status::Failed), Some(error), _) => {
            let reason = format!("{}: {}", error.code, error.message);
            format!(
                "{}\n{}",
                timed(after, &view.status, &reason),
                indented(after, &format!("hint: {}", error.hint))
            )
        }
        (Some(Status::Deployed), _, Some(proof)) => {
            let verdict = format!("{}: {}", proof.verdict, super::meaning(proof.verdict));
            timed(after, &view.status, &verdict)
        }
        _ => timed(after, &view.status, ""),
    }
}

fn timed(after: Duration, what: &str, text: &str) -> String {
    let start =
        format!("{:>8} {}", format!("+{}", instant::short(after)), padded(what, PHASE_WIDTH));
    format!("{start} {}", one_line(text)).trim_end().to_owned()
}

fn indented(after: Duration, text: &str) -> String {
    let width = timed(after, &"x".repeat(PHASE_WIDTH), "").chars().count();
    format!("{} {}", " ".repeat(width), one_line(text))
}

fn progress(progress: ProgressView) -> String {
    let ProgressView { done_bytes, total_bytes } = progress;
    format!("{} of {} MiB", mib(done_bytes), mib(total_bytes))
}

/// MiB with one decimal.
fn mib(bytes: u64) -> String {
    let tenths = bytes.saturating_mul(10) / (1_024 * 1_024);
    format!("{}.{}", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn view(json: &Value) -> RecordView {
        crate::view::view(json.as_object().unwrap()).unwrap()
    }

    #[test]
    fn times_phases_and_details_stand_under_each_other() {
        let after = Duration::from_millis;
        let phase = |ms, phase: &str, detail: Option<&str>| Line::Phase {
            after: after(ms),
            phase: phase.to_owned(),
            detail: detail.map(str::to_owned),
        };
        let progress = ProgressView { done_bytes: 12_582_912, total_bytes: 36_175_872 };
        let lines = [
            phase(0, "ACCEPTED", None),
            phase(130, "LAUNCHING", Some("m5.xlarge")),
            Line::Warning { after: after(200), text: "m5.large cannot\nhost enclaves".to_owned() },
            Line::Progress { after: after(12_340), progress },
        ];
        let text: Vec<_> = lines.iter().map(line).collect();
        assert_eq!(
            text,
            [
                "   +0.0s ACCEPTED",
                "   +0.1s LAUNCHING   m5.xlarge",
                "   +0.2s warning     m5.large cannot host enclaves",
                "  +12.3s             12.0 of 34.5 MiB",
            ]
        );
    }

    #[test]
    fn a_failure_ends_with_its_reason_and_what_to_do() {
        let failed = view(&json!({
            "id": "e", "status": "FAILED", "phase": "FAILED", "generation": 1, "deployment": {},
            "error": {"code": "EifNotFound", "message": "s3://b/k does not exist",
                      "hint": "check eif_path", "at": "2025-01-01T12:00:00Z"},
        }));
        assert_eq!(
            closing(&failed, Duration::from_secs(3)),
            "   +3.0s FAILED      EifNotFound: s3://b/k does not exist\n\
             \x20                    hint: check eif_path"
        );
    }

    #[test]
    fn a_deploy_ends_with_the_verdict_and_what_it_means() {
        let deployed = view(&json!({
            "id": "e", "status": "DEPLOYED", "phase": "RUNNING", "generation": 1, "deployment": {},
            "attestation": {"verdict": "verified", "pcrs": {}, "pcr_source": "record",
                "verified_at": "2025-01-01T12:00:10Z", "report": "s3://b/k"},
        }));
        assert_eq!(
            closing(&deployed, Duration::from_millis(7_100)),
            "   +7.1s DEPLOYED    verified: authentic, and measures what was demanded"
        );
        let gone = view(&json!({"id": "e", "status": "DESTROYED"}));
        assert_eq!(closing(&gone, Duration::ZERO), "   +0.0s DESTROYED");
    }
}
