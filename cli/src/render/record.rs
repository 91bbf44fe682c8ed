//! Everything that a record says of an enclave.

use super::layout::{section, table};
use crate::{instant, output::one_line, table::Record, view::RecordView, watching::entered};
use bailey_model::{
    PcrSet, UnixMillis,
    projection::{AttestationView, Deployment, ErrorView, Projection},
    record::{Configuration, Request},
};
use serde_json::Value;

/// One enclave, whole: the request, the host, the phases, the proof, what went wrong.
pub(crate) fn record(record: &Record, view: &RecordView, now: UnixMillis) -> String {
    let text = |name: &str| record.get(name).and_then(Value::as_str).map(one_line);
    let mut head = vec![("status", view.status.clone())];
    if let Some(projection) = &view.projection {
        head.push(("phase", projection.phase.clone()));
        head.push(("generation", projection.generation.to_string()));
    }
    head.extend(text("created_at").or_else(|| text("createdAt")).map(|at| ("created", at)));
    head.extend(view.updated_at.clone().map(|at| ("updated", at)));
    let mut shown = section(view.id.as_str(), &head).trim_start().to_owned();
    shown.push_str(&request(record));
    if let Some(projection) = &view.projection {
        shown.push_str(&outcome(projection, now));
    }
    shown
}

fn outcome(projection: &Projection, now: UnixMillis) -> String {
    let Projection { deployment, attestation, error, .. } = projection;
    let mut shown = host(deployment);
    shown.push_str(&phases(projection, now));
    shown.push_str(&attestation.as_ref().map(proof).unwrap_or_default());
    let warnings: Vec<_> = deployment.warnings.iter().map(|text| ("!", text)).collect();
    shown.push_str(&section("Warnings", &warnings));
    shown.push_str(&error.as_ref().map(failure).unwrap_or_default());
    shown
}

fn request(record: &Record) -> String {
    let configuration = match Request::parse(record) {
        Ok(request) => request.configuration,
        Err(_) => return String::new(),
    };
    match configuration {
        Ok(configuration) => section("Request", &asked(&configuration)),
        Err(error) => section("Request", &[("cannot be used", error.to_string())]),
    }
}

fn asked(configuration: &Configuration) -> Vec<(&'static str, String)> {
    let yes_no = |value: bool| if value { "yes" } else { "no" }.to_owned();
    let mut pairs = vec![("image", configuration.eif_path.to_string())];
    pairs.extend(configuration.eif_version_id.clone().map(|id| ("image version", id)));
    pairs.push(("instance type", configuration.instance_type.to_string()));
    pairs.push(("vCPUs", configuration.cpu_count.to_string()));
    pairs.push(("memory", format!("{} MiB", configuration.memory_mib)));
    if configuration.share_parent {
        pairs.push(("may share a parent", yes_no(true)));
    }
    pairs.push(("debug mode", yes_no(configuration.debug_mode)));
    pairs.push(("expected PCRs", indexes(&configuration.expected_pcrs)));
    pairs.push(("must be verified", yes_no(configuration.require_verified)));
    if !configuration.availability_zones.is_empty() {
        pairs.push(("zones", configuration.availability_zones.join(", ")));
    }
    pairs.push(("may reach", listed(&configuration.egress, "nothing")));
    pairs.push(("reached at", listed(&configuration.ingress, "nowhere")));
    pairs
}

fn listed<T: std::fmt::Display>(list: &[T], empty: &str) -> String {
    match list {
        [] => empty.to_owned(),
        list => list.iter().map(T::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn indexes(pcrs: &PcrSet) -> String {
    match pcrs.len() {
        0 => "none".to_owned(),
        _ => pcrs.keys().map(u8::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn host(deployment: &Deployment) -> String {
    let Deployment { host, instance_id, instance_type, availability_zone, health, .. } = deployment;
    let asked = deployment.requested_instance_type.as_ref();
    let launched = instance_type.as_ref().map(|launched| match asked {
        Some(asked) => format!("{launched} ({asked} was asked for)"),
        None => launched.clone(),
    });
    let pairs: Vec<(&str, String)> = [
        ("instance", instance_id.clone()),
        ("shared as", deployment.shared_host.clone()),
        ("type", launched),
        ("zone", availability_zone.clone()),
        ("ARN", host.clone()),
        ("image", deployment.parent_image.clone()),
        ("enclave CID", deployment.enclave_cid.map(|cid| cid.to_string())),
        (
            "workload",
            health.as_ref().map(|it| format!("{}: {}, since {}", it.status, it.detail, it.since)),
        ),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some((name, value?)))
    .collect();
    section("Host", &pairs)
}

/// Each phase with when it began and how long it took; the last one lasts until now, unless
/// nothing follows it.
fn phases(projection: &Projection, now: UnixMillis) -> String {
    let entered = entered(&projection.deployment);
    let Some((start, _)) = entered.first().copied() else { return String::new() };
    let next = entered.iter().skip(1).map(|(at, _)| Some(*at)).chain([None]);
    let rows: Vec<_> = entered
        .iter()
        .zip(next)
        .map(|((at, phase), next)| {
            let took = match next {
                Some(next) => instant::short(next.since(*at)),
                None if is_rest(phase) => String::new(),
                None => format!("{} so far", instant::short(now.since(*at))),
            };
            let after = format!("+{}", instant::short(at.since(start)));
            [format!("  {}", one_line(phase)), after, took, at.to_string()]
        })
        .collect();
    format!("\n{}", table(["Phases", "BEGAN", "TOOK", "AT"], &rows))
}

fn is_rest(phase: &str) -> bool {
    matches!(phase, "RUNNING" | "DESTROYED" | "FAILED" | "PAUSED")
}

fn proof(proof: &AttestationView) -> String {
    let mut pairs = vec![
        ("verdict".to_owned(), format!("{}: {}", proof.verdict, super::meaning(proof.verdict))),
        ("verified at".to_owned(), proof.verified_at.clone()),
        ("expected by".to_owned(), format!("the {}", proof.pcr_source.as_str())),
        ("report".to_owned(), proof.report.clone()),
    ];
    pairs.extend(proof.chain_head.iter().map(|head| ("chain head".to_owned(), head.clone())));
    pairs.extend(super::registers(&proof.pcrs));
    section("Attestation", &pairs)
}

fn failure(error: &ErrorView) -> String {
    let ErrorView { code, message, hint, at } = error;
    section("Error", &[("code", code.as_str()), ("reason", message), ("hint", hint), ("at", at)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn shown(json: Value, now: &str) -> String {
        let Value::Object(map) = json else { panic!("not an object") };
        let view = crate::view::view(&map).unwrap();
        record(&map, &view, instant::parse(now).unwrap())
    }

    #[test]
    fn a_deployed_enclave_is_shown_whole() {
        let pcr = "ab".repeat(48);
        let text = shown(
            json!({
                "id": "demo", "status": "DEPLOYED", "created_at": "2025-01-01T12:00:00Z",
                "configuration": {"instance_type": "m5.large", "cpu_count": 2, "memory_mib": 1024,
                    "eif_path": "s3://your-bucket/test.eif", "debug_mode": false,
                    "expected_pcrs": {"0": pcr}},
                "phase": "RUNNING", "generation": 1, "updated_at": "2025-01-01T12:00:05Z",
                "deployment": {"host": "arn:aws:ec2:eu-west-1:1:instance/i-1",
                    "instance_id": "i-1", "instance_type": "m5.xlarge",
                    "requested_instance_type": "m5.large", "availability_zone": "eu-west-1a",
                    "enclave_cid": 16, "parent_image": "sha256:0a", "health": {"status": "unhealthy",
                        "detail": "HTTP status 500", "since": "2025-01-01T12:30:00Z"},
                    "warnings": ["m5.large cannot host enclaves"],
                    "phases": {"ACCEPTED": "2025-01-01T12:00:01Z",
                        "RUNNING": "2025-01-01T12:00:05Z", "BOOTING": "2025-01-01T12:00:01.5Z"}},
                "attestation": {"verdict": "verified", "pcrs": {"0": pcr}, "pcr_source": "record",
                    "verified_at": "2025-01-01T12:00:05Z", "report": "s3://reports/1.json"},
            }),
            "2025-01-01T13:00:00Z",
        );
        assert_eq!(text, DEPLOYED.replace("$AB", &pcr));
    }

    const DEPLOYED: &str = "\
demo
  status      DEPLOYED
  phase       RUNNING
  generation  1
  created     2025-01-01T12:00:00Z
  updated     2025-01-01T12:00:05Z

Request
  image             s3://your-bucket/test.eif
  instance type     m5.large
  vCPUs             2
  memory            1024 MiB
  debug mode        no
  expected PCRs     0
  must be verified  no
  may reach         nothing
  reached at        nowhere

Host
  instance     i-1
  type         m5.xlarge (m5.large was asked for)
  zone         eu-west-1a
  ARN          arn:aws:ec2:eu-west-1:1:instance/i-1
  image        sha256:0a
  enclave CID  16
  workload     unhealthy: HTTP status 500, since 2025-01-01T12:30:00Z

Phases      BEGAN  TOOK  AT
  ACCEPTED  +0.0s  0.5s  2025-01-01T12:00:01Z
  BOOTING   +0.5s  3.5s  2025-01-01T12:00:01.5Z
  RUNNING   +4.0s        2025-01-01T12:00:05Z

Attestation
  verdict      verified: authentic, and measures what was demanded
  verified at  2025-01-01T12:00:05Z
  expected by  the record
  report       s3://reports/1.json
  PCR0         $AB

Warnings
  !  m5.large cannot host enclaves
";

    #[test]
    fn a_failure_is_shown_with_its_hint() {
        let text = shown(
            json!({
                "id": "demo", "status": "FAILED", "phase": "FAILED", "generation": 2,
                "configuration": {"cpu_count": 2}, "deployment": {},
                "error": {"code": "InvalidConfiguration", "message": "eif_path is missing",
                    "hint": "correct the field", "at": "2025-01-01T12:00:05Z"},
            }),
            "2025-01-01T13:00:00Z",
        );
        assert_eq!(text, FAILED);
    }

    const FAILED: &str = "\
demo
  status      FAILED
  phase       FAILED
  generation  2

Request
  cannot be used  eif_path is missing; it names the enclave image, as s3://bucket/key (a container \
image is made into one with `bailey image build`)

Error
  code    InvalidConfiguration
  reason  eif_path is missing
  hint    correct the field
  at      2025-01-01T12:00:05Z
";

    #[test]
    fn a_phase_that_has_not_ended_lasts_until_now() {
        let text = shown(
            json!({"id": "demo", "status": "DEPLOYING", "phase": "BOOTING", "generation": 1,
                "deployment": {"phases": {"BOOTING": "2025-01-01T12:00:00Z"}}}),
            "2025-01-01T12:00:07Z",
        );
        assert!(text.contains("BOOTING  +0.0s  7.0s so far  2025-01-01T12:00:00Z"), "{text}");
    }
}
