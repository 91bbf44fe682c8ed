//! Which changes of the tables need a look, and how soon.
//!
//! Pure, over the images of a stream's record in whatever form they come.

use bailey_lifecycle::statuses_beside;
use bailey_model::{Status, hosts::HostPhase, projection::Projection};
use std::{collections::BTreeMap, time::Duration};

/// An item's attributes by their names.
pub type Image<'a, V> = BTreeMap<&'a str, &'a V>;

/// An attribute's value, in whatever form it comes.
pub trait Attribute: PartialEq {
    /// The text, or the digits of the number, that it is.
    fn text(&self) -> Option<&str>;
    /// The values of the list that it is.
    fn list(&self) -> Option<Vec<&Self>>;
    /// The value under a name in the map that it is.
    fn field(&self, name: &str) -> Option<&Self>;
}

/// How soon the progress of a host is shown, as often as that of a fetch is. Most phases pass in
/// moments, and a look for each would mostly show what is over.
pub const PROGRESS_PAUSE: Duration = Duration::from_secs(5);

/// How soon a host's report needs a look: at once, unless it says no more than that an enclave is on
/// its way, to its first answer or to its end.
#[must_use]
pub fn pause_after_report<V: Attribute>(report: &Image<'_, V>) -> Duration {
    let assignments = report.get("assignments").and_then(|value| value.list()).unwrap_or_default();
    let is_progress = !assignments.is_empty() && assignments.into_iter().all(is_on_its_way);
    if is_progress { PROGRESS_PAUSE } else { Duration::ZERO }
}

/// Whether an assignment neither answers, nor ends, nor begins anew.
fn is_on_its_way<V: Attribute>(assignment: &V) -> bool {
    const PASSING: [HostPhase; 6] = [
        HostPhase::Accepted,
        HostPhase::Fetching,
        HostPhase::Allocating,
        HostPhase::Starting,
        HostPhase::Attesting,
        HostPhase::Stopping,
    ];
    let text = |name| assignment.field(name).and_then(Attribute::text);
    let Some(phase) = text("phase") else { return false };
    // What ends keeps its last answer.
    let is_answered = phase != HostPhase::Stopping.as_str() && assignment.field("answer").is_some();
    PASSING.iter().any(|passing| passing.as_str() == phase)
        && !is_answered
        && text("restarts").is_none_or(|restarts| restarts == "0")
        && assignment.field("failure").is_none()
}

/// When the coordinator wrote last, under the names that it writes.
const WRITTEN_AT: [&str; 2] = ["updated_at", "updatedAt"];

/// Whether a change is nothing but the echo of a coordinator's own write, after which there is nothing
/// new to look at: whoever wrote it has looked since.
///
/// An echo changes Bailey's attributes only, shows a status of Bailey's beside a phase that goes with
/// it, and bears a later time of writing than the image before, the same under both names. Everything
/// else may be the web app's: what was made or removed, a request, an attribute that is not Bailey's,
/// an older copy of the record that was written back. When in doubt it is no echo.
#[must_use]
pub fn is_echo<V: Attribute>(old: &Image<'_, V>, new: &Image<'_, V>) -> bool {
    // An image that was not sent has no attributes.
    if old.is_empty() || new.is_empty() {
        return false;
    }
    let read = |image: &Image<'_, V>, name: &str| {
        image.get(name).and_then(|value| value.text()).map(str::to_owned)
    };
    let [Some(written), Some(also)] = WRITTEN_AT.map(|name| read(new, name)) else { return false };
    let is_later = match read(old, "updated_at") {
        Some(before) => comparable(&written) > comparable(&before),
        // The first answer to a request.
        None => read(old, "status").is_some_and(|status| is_request(&status)),
    };
    let fits = read(new, "status").zip(read(new, "phase")).is_some_and(|(status, phase)| {
        statuses_beside(&phase).iter().any(|known| known.as_str() == status)
    });
    let names = old.keys().chain(new.keys());
    let mut changed = names.filter(|name| old.get(*name) != new.get(*name));
    written == also && is_later && fits && changed.all(|name| is_baileys(name))
}

/// RFC 3339 in UTC, cut so that a longer fraction of the same second compares as later.
fn comparable(time: &str) -> &str {
    time.trim_end_matches('Z')
}

fn is_request(status: &str) -> bool {
    status.parse().is_ok_and(Status::is_request)
}

fn is_baileys(name: &str) -> bool {
    const ALWAYS: [&str; 4] = ["phase", "generation", "deployment", "status"];
    ALWAYS.contains(&name) || WRITTEN_AT.contains(&name) || Projection::OPTIONAL.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_model::projection::Deployment;
    use serde_json::{Map, Value, json};

    fn image(item: &Map<String, Value>) -> Image<'_, Value> {
        item.iter().map(|(name, value)| (name.as_str(), value)).collect()
    }

    fn echo(old: &Value, new: &Value) -> bool {
        is_echo(&image(old.as_object().unwrap()), &image(new.as_object().unwrap()))
    }

    impl Attribute for Value {
        fn text(&self) -> Option<&str> {
            self.as_str()
        }

        fn list(&self) -> Option<Vec<&Self>> {
            self.as_array().map(|values| values.iter().collect())
        }

        fn field(&self, name: &str) -> Option<&Self> {
            self.get(name)
        }
    }

    /// How soon a report with this assignment needs a look, in seconds.
    fn pause_s(assignment: &Value) -> u64 {
        let report = json!({"pk": "observed#arn", "assignments": [assignment]});
        pause_after_report(&image(report.as_object().unwrap())).as_secs()
    }

    #[test]
    fn an_enclave_that_is_on_its_way_can_wait() {
        for phase in ["ACCEPTED", "FETCHING", "ALLOCATING", "STARTING", "ATTESTING"] {
            assert_eq!(pause_s(&json!({"phase": phase, "restarts": "0"})), 5, "{phase}");
        }
        assert_eq!(pause_s(&json!({"phase": "STOPPING", "answer": {"sequence": "1"}})), 5);
    }

    #[test]
    fn an_answer_an_end_and_a_restart_are_looked_at_at_once() {
        for phase in ["RUNNING", "STOPPED", "FAILED", "NEW"] {
            assert_eq!(pause_s(&json!({ "phase": phase })), 0, "{phase}");
        }
        assert_eq!(pause_s(&json!({"phase": "ATTESTING", "answer": {"sequence": "1"}})), 0);
        assert_eq!(pause_s(&json!({"phase": "STARTING", "failure": {"code": "EifInvalid"}})), 0);
        assert_eq!(pause_s(&json!({"phase": "STARTING", "restarts": "1"})), 0);
        assert_eq!(pause_s(&json!("nonsense")), 0);
        let nothing = json!({"pk": "observed#arn", "assignments": []});
        let pause = pause_after_report(&image(nothing.as_object().unwrap()));
        assert_eq!(pause, Duration::ZERO, "nothing runs there any more");
    }

    /// A record as the coordinator left it.
    fn running() -> Value {
        json!({
            "id": "enc_1", "status": "DEPLOYED", "phase": "RUNNING", "generation": 1,
            "deployment": {"instance_id": "i-1"}, "instance_id": "i-1",
            "attestation": {"verdict": "verified"}, "configuration": {"cpu_count": 2}, "note": 7,
            "updated_at": "2025-01-01T12:00:05.25Z", "updatedAt": "2025-01-01T12:00:05.25Z",
        })
    }

    /// The same, changed.
    fn with(changes: &Value) -> Value {
        let mut record = running();
        for (name, value) in changes.as_object().unwrap() {
            record[name] = value.clone();
        }
        record
    }

    fn written_later(changes: &Value) -> Value {
        let mut record = with(changes);
        record["updated_at"] = "2025-01-01T12:00:05.3Z".into();
        record["updatedAt"] = "2025-01-01T12:00:05.3Z".into();
        record
    }

    #[test]
    fn what_the_coordinator_writes_is_an_echo() {
        let degraded = json!({"phase": "DEGRADED", "deployment": {"warnings": ["silent"]}});
        assert!(echo(&running(), &written_later(&degraded)));
        let mut destroyed = written_later(&json!({"status": "DESTROYED", "phase": "DESTROYED"}));
        destroyed.as_object_mut().unwrap().remove("attestation");
        assert!(echo(&running(), &destroyed));
        let asked = json!({"id": "enc_1", "status": "PENDING_DEPLOY", "configuration": {}});
        let mut taken = asked.clone();
        for (name, value) in [
            ("status", "DEPLOYING"),
            ("phase", "ACCEPTED"),
            ("updated_at", "2025-01-01T12:00:00Z"),
            ("updatedAt", "2025-01-01T12:00:00Z"),
        ] {
            taken[name] = value.into();
        }
        assert!(echo(&asked, &taken));
    }

    #[test]
    fn a_request_is_never_an_echo() {
        for request in ["PENDING_DEPLOY", "PENDING_DESTROY", "RESUMING", "PAUSING"] {
            assert!(!echo(&running(), &with(&json!({ "status": request }))), "{request}");
            let and_more = written_later(&json!({ "status": request }));
            assert!(!echo(&running(), &and_more), "{request} by one who writes times as we do");
        }
    }

    #[test]
    fn a_result_that_somebody_else_wrote_is_no_echo() {
        for result in ["DEPLOYING", "DEPLOYED", "DESTROYED", "FAILED", "PAUSED"] {
            let old = with(&json!({"status": "DESTROYED", "phase": "DESTROYED"}));
            let mut new = old.clone();
            new["status"] = result.into();
            assert!(!echo(&old, &new), "{result}");
            new["updatedAt"] = "2025-01-01T12:00:09Z".into();
            assert!(!echo(&old, &new), "{result} with a time of the web app's");
        }
    }

    #[test]
    fn an_older_copy_that_is_written_back_is_no_echo() {
        let ended = written_later(&json!({"status": "DESTROYED", "phase": "DESTROYED"}));
        assert!(!echo(&ended, &running()));
        assert!(!echo(&running(), &running()), "the very same copy");
    }

    #[test]
    fn a_change_of_anything_that_is_not_baileys_is_no_echo() {
        for changes in [
            json!({"configuration": {"cpu_count": 4}}),
            json!({"note": 8}),
            json!({"another": true}),
            json!({"id": "enc_2"}),
        ] {
            assert!(!echo(&running(), &written_later(&changes)), "{changes}");
        }
        let mut without = written_later(&json!({}));
        without.as_object_mut().unwrap().remove("configuration");
        assert!(!echo(&running(), &without));
    }

    #[test]
    fn what_was_made_or_removed_or_has_no_image_is_no_echo() {
        assert!(!echo(&json!({}), &written_later(&json!({}))));
        assert!(!echo(&running(), &json!({})));
        assert!(!echo(&json!({}), &json!({})));
    }

    #[test]
    fn a_later_time_is_told_from_an_earlier_one_of_another_length() {
        let at = |time: &str| with(&json!({"updated_at": time, "updatedAt": time}));
        let (whole, fraction) = ("2025-01-01T12:00:05Z", "2025-01-01T12:00:05.5Z");
        assert!(echo(&at(whole), &at(fraction)));
        assert!(!echo(&at(fraction), &at(whole)));
    }

    #[test]
    fn every_attribute_of_a_projection_is_known_as_baileys() {
        let projection = Projection {
            phase: "RUNNING".to_owned(),
            generation: bailey_model::Generation(1),
            deployment: Deployment::default(),
            instance_id: None,
            error: None,
            error_message: None,
            error_type: None,
            attestation: None,
        };
        let written = serde_json::to_value(projection).unwrap();
        let names = written.as_object().unwrap().keys().map(String::as_str);
        assert!(names.chain(Projection::OPTIONAL).all(is_baileys));
        assert!(
            !["id", "configuration", "providerConfig", "created_at"].into_iter().any(is_baileys)
        );
    }
}
