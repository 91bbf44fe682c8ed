//! The list of enclaves.

use super::layout::table;
use crate::{instant, table::Record, view::view};
use bailey_model::{UnixMillis, projection::Deployment};
use serde_json::Value;

const HEAD: [&str; 7] = ["ID", "STATUS", "PHASE", "VERDICT", "TYPE", "INSTANCE", "UPDATED"];

/// One line per enclave, in the order of their ids.
pub(crate) fn list(records: &[Record], now: UnixMillis) -> String {
    let mut rows: Vec<_> = records.iter().map(|record| row(record, now)).collect();
    rows.sort();
    if rows.is_empty() {
        return "no enclaves\n".to_owned();
    }
    table(HEAD, &rows)
}

fn row(record: &Record, now: UnixMillis) -> [String; 7] {
    let text = |name: &str| record.get(name).and_then(Value::as_str).unwrap_or("–").to_owned();
    let projection = view(record).ok().and_then(|view| view.projection);
    let (verdict, deployment) = match projection {
        Some(projection) => {
            (projection.attestation.map(|proof| proof.verdict), projection.deployment)
        }
        None => Default::default(),
    };
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    [
        text("id"),
        text("status"),
        text("phase"),
        or_dash(verdict.map(|verdict| verdict.to_string())),
        or_dash(deployment.instance_type.clone()),
        or_dash(instance(&deployment)),
        or_dash(updated(record, now)),
    ]
    .map(|cell| crate::output::one_line(&cell))
}

/// The instance; marked when other enclaves may run there too.
fn instance(deployment: &Deployment) -> Option<String> {
    let id = deployment.instance_id.as_ref()?;
    let mark = if deployment.shared_host.is_some() { " (shared)" } else { "" };
    Some(format!("{id}{mark}"))
}

/// How long ago Bailey, or else the web app, wrote last.
fn updated(record: &Record, now: UnixMillis) -> Option<String> {
    let at = ["updated_at", "updatedAt", "created_at", "createdAt"]
        .into_iter()
        .find_map(|name| record.get(name)?.as_str().and_then(instant::parse))?;
    Some(format!("{} ago", instant::short(now.since(at))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn record(json: &Value) -> Record {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn enclaves_are_listed_in_order_with_what_is_known_of_them() {
        let records = [
            record(&json!({"id": "new", "status": "PENDING_DEPLOY",
                "created_at": "2025-01-01T12:00:58Z"})),
            record(&json!({
                "id": "demo", "status": "DEPLOYED", "phase": "RUNNING", "generation": 1,
                "deployment": {"instance_id": "i-0123", "instance_type": "m5.xlarge"},
                "attestation": {"verdict": "verified", "pcrs": {}, "pcr_source": "record",
                    "verified_at": "2025-01-01T12:00:10Z", "report": "s3://b/k"},
                "updated_at": "2025-01-01T12:00:10Z",
            })),
            record(&json!({"id": "not/usable", "status": "FAILED", "phase": "FAILED"})),
        ];
        let now = instant::parse("2025-01-01T12:01:00Z").unwrap();
        assert_eq!(
            list(&records, now),
            "\
ID          STATUS          PHASE    VERDICT   TYPE       INSTANCE  UPDATED
demo        DEPLOYED        RUNNING  verified  m5.xlarge  i-0123    50.0s ago
new         PENDING_DEPLOY  –        –         –          –         2.0s ago
not/usable  FAILED          FAILED   –         –          –         –
"
        );
    }

    #[test]
    fn an_empty_table_is_said_to_be_empty() {
        assert_eq!(list(&[], UnixMillis(0)), "no enclaves\n");
    }
}
