//! What Lambda is invoked with, as far as it matters here. Pure.
//!
//! | event | by | sources |
//! | --- | --- | --- |
//! | changes of a table | an event source mapping | AWS: "Using AWS Lambda with Amazon DynamoDB" |
//! | what becomes of instances | EventBridge | AWS: "EC2 instance state-change events", "Spot Instance interruption notices", "EC2 instance rebalance recommendations", "AWS Health events" |
//! | a tick of a clock | EventBridge | AWS: "Amazon EventBridge scheduled rules"; EventBridge Scheduler with any input of `{"sweep": true}` |

use crate::{
    subject::Subject,
    wake::{Attribute, Image},
};
use bailey_model::hosts::Announcement;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// What Lambda is invoked with.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// Records of a table's stream, in their order.
    Changes(Vec<Change>),
    /// EC2 or AWS Health speaks of these instances.
    Instances(Vec<InstanceNews>),
    /// It is time to sweep.
    Sweep,
}

/// One record of a stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Its sequence number, by which a failure is reported.
    pub sequence: String,
    /// Whom it is about; nobody when it is of no concern.
    pub subject: Option<Subject>,
}

/// Something about an instance.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct InstanceNews {
    /// The instance's id.
    pub instance_id: String,
    /// What AWS announces. None when its state merely changed.
    pub notice: Option<Announcement>,
}

/// The event is none that is known.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "the event is neither a batch of a DynamoDB stream, nor one of EC2's or AWS Health's, nor a \
     schedule's: source {origin:?}, detail-type {detail_type:?}"
)]
pub struct UnknownEvent {
    /// Its `source`, when it has one.
    pub origin: Option<String>,
    /// Its `detail-type`, when it has one.
    pub detail_type: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Batch {
    #[serde(rename = "Records")]
    records: Vec<Value>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Bridged {
    source: Option<String>,
    #[serde(rename = "detail-type")]
    detail_type: Option<String>,
    detail: Value,
    sweep: bool,
}

impl Event {
    /// Reads the payload of an invocation.
    pub fn parse(payload: &Value) -> Result<Self, UnknownEvent> {
        if let Ok(Batch { records }) = Batch::deserialize(payload) {
            return Ok(Self::Changes(records.iter().map(Change::parse).collect()));
        }
        let event = Bridged::deserialize(payload).unwrap_or_default();
        let detail = &event.detail;
        let one = |notice| {
            let instance_id = text(detail, "instance-id")?.to_owned();
            Some(Self::Instances(vec![InstanceNews { instance_id, notice }]))
        };
        let kind = (event.source.as_deref(), event.detail_type.as_deref());
        let known = match kind {
            (Some("aws.ec2"), Some("EC2 Instance State-change Notification")) => one(None),
            (Some("aws.ec2"), Some("EC2 Spot Instance Interruption Warning")) => {
                let action = text(detail, "instance-action").unwrap_or("interrupt");
                let text = format!("EC2 will {action} the spot instance in two minutes");
                one(Some(Announcement { text, takes_away: true }))
            }
            (Some("aws.ec2"), Some("EC2 Instance Rebalance Recommendation")) => {
                let text = "EC2 is likely to take the spot instance back".to_owned();
                one(Some(Announcement { text, takes_away: false }))
            }
            (Some("aws.health"), Some("AWS Health Event")) => Some(health(detail)),
            (Some("aws.events"), Some("Scheduled Event")) => Some(Self::Sweep),
            (None, None) if event.sweep => Some(Self::Sweep),
            _ => None,
        };
        known.ok_or(UnknownEvent { origin: event.source, detail_type: event.detail_type })
    }
}

/// The events of AWS Health after which an instance is stopped or terminated.
///
/// Source: AWS, "Amazon EC2 User Guide: Scheduled events for your instances", and AWS Health's list of event types.
const ENDS: [&str; 3] = [
    "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
    "AWS_EC2_INSTANCE_STOP_SCHEDULED",
    "AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED",
];

/// What AWS Health says of the entities that it names; those that are no instances are nobody's.
fn health(detail: &Value) -> Event {
    let what = text(detail, "eventTypeCode").unwrap_or("an event");
    let from = text(detail, "startTime").map(|time| format!(", from {time}")).unwrap_or_default();
    let is_over = text(detail, "statusCode") == Some("closed");
    let ends = ENDS.contains(&what) && !is_over;
    let news = |entity: &Value| {
        let instance_id = text(entity, "entityValue").filter(|id| id.starts_with("i-"))?;
        // One that was stopped and started again meanwhile is on other hardware.
        let is_settled = matches!(text(entity, "status"), Some("RESOLVED" | "UNIMPAIRED"));
        let said = format!("AWS Health announces {what}{from}");
        let notice = Some(Announcement { text: said, takes_away: ends && !is_settled });
        Some(InstanceNews { instance_id: instance_id.to_owned(), notice })
    };
    let entities = detail.get("affectedEntities").and_then(Value::as_array);
    Event::Instances(entities.into_iter().flatten().filter_map(news).collect())
}

/// An attribute in the form in which DynamoDB writes it itself, and events carry it.
///
/// Source: AWS, "DynamoDB API reference: `AttributeValue`".
#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Wire {
    B(String),
    Bool(bool),
    Bs(Vec<String>),
    L(Vec<Self>),
    M(BTreeMap<String, Self>),
    N(String),
    Ns(Vec<String>),
    Null(bool),
    S(String),
    Ss(Vec<String>),
}

impl Attribute for Wire {
    fn text(&self) -> Option<&str> {
        match self {
            Self::N(text) | Self::S(text) => Some(text),
            _ => None,
        }
    }

    fn list(&self) -> Option<Vec<&Self>> {
        match self {
            Self::L(values) => Some(values.iter().collect()),
            _ => None,
        }
    }

    fn field(&self, name: &str) -> Option<&Self> {
        match self {
            Self::M(fields) => fields.get(name),
            _ => None,
        }
    }
}

/// What a stream's record says of its item.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct Images {
    keys: BTreeMap<String, Wire>,
    old_image: BTreeMap<String, Wire>,
    new_image: BTreeMap<String, Wire>,
}

impl Change {
    fn parse(record: &Value) -> Self {
        let change = record.get("dynamodb");
        let sequence = change.and_then(|change| text(change, "SequenceNumber"));
        let images = change.and_then(|change| Images::deserialize(change).ok()).unwrap_or_default();
        let Images { keys, old_image, new_image } = &images;
        Self {
            sequence: sequence.unwrap_or_default().to_owned(),
            subject: Subject::of(&image(keys), &image(old_image), &image(new_image)),
        }
    }
}

pub(crate) fn image(item: &BTreeMap<String, Wire>) -> Image<'_, Wire> {
    item.iter().map(|(name, value)| (name.as_str(), value)).collect()
}

fn text<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn news(instance_id: &str, notice: Option<&str>) -> InstanceNews {
        let said = |text: &str| Announcement { text: text.to_owned(), takes_away: true };
        InstanceNews { instance_id: instance_id.to_owned(), notice: notice.map(said) }
    }

    /// Whether an event takes the instances away that it names.
    fn takes_away(event: &Value) -> bool {
        let Ok(Event::Instances(news)) = Event::parse(event) else { panic!("{event}") };
        news.iter().all(|it| it.notice.as_ref().is_some_and(|said| said.takes_away))
    }

    #[test]
    fn a_batch_of_a_stream_is_read_in_its_order_and_odd_records_concern_nobody() {
        let record = |sequence: &str, id: &Value| {
            json!({ "eventSource": "aws:dynamodb", "eventName": "MODIFY",
                    "dynamodb": { "Keys": { "id": id }, "SequenceNumber": sequence } })
        };
        let payload = json!({ "Records": [
            record("11", &json!({ "S": "enc_1" })), record("12", &json!({ "X": "5" })), { "odd": 1 },
        ] });
        let id = || Some(Subject::Record("enc_1".to_owned()));
        let change = |sequence: &str, subject| Change { sequence: sequence.to_owned(), subject };
        let expected = [change("11", id()), change("12", None), change("", None)];
        assert_eq!(Event::parse(&payload), Ok(Event::Changes(expected.to_vec())));
    }

    #[test]
    fn an_instances_change_of_state_and_its_notices_name_it() {
        let ec2 = |detail_type: &str, detail: Value| {
            let event =
                json!({ "source": "aws.ec2", "detail-type": detail_type, "detail": detail });
            Event::parse(&event).unwrap()
        };
        let changed = json!({ "instance-id": "i-1", "state": "terminated" });
        let changed = ec2("EC2 Instance State-change Notification", changed);
        assert_eq!(changed, Event::Instances(vec![news("i-1", None)]));
        let warned = json!({ "instance-id": "i-1", "instance-action": "terminate" });
        let warned = ec2("EC2 Spot Instance Interruption Warning", warned);
        let text = "EC2 will terminate the spot instance in two minutes";
        assert_eq!(warned, Event::Instances(vec![news("i-1", Some(text))]));
    }

    #[test]
    fn a_health_event_names_the_instances_among_its_entities() {
        let event = json!({
            "source": "aws.health", "detail-type": "AWS Health Event",
            "detail": { "eventTypeCode": "AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED",
                        "startTime": "Wed, 1 Jan 2025 12:00:00 GMT",
                        "affectedEntities": [{ "entityValue": "i-1" }, { "entityValue": "vol-1" }] },
        });
        let text = "AWS Health announces AWS_EC2_INSTANCE_RETIREMENT_SCHEDULED, from Wed, 1 Jan 2025 \
                    12:00:00 GMT";
        let expected = Event::Instances(vec![news("i-1", Some(text))]);
        assert_eq!(Event::parse(&event), Ok(expected));
    }

    #[test]
    fn only_what_ends_an_instance_takes_it_away() {
        let entity = |code: &str, status: &str, entity: &str| {
            json!({
                "source": "aws.health", "detail-type": "AWS Health Event",
                "detail": { "eventTypeCode": code, "statusCode": status,
                            "affectedEntities": [{ "entityValue": "i-1", "status": entity }] },
            })
        };
        let health = |code: &str, status: &str| entity(code, status, "IMPAIRED");
        assert!(takes_away(&health(
            "AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED",
            "upcoming"
        )));
        assert!(!takes_away(&health("AWS_EC2_PERSISTENT_INSTANCE_RETIREMENT_SCHEDULED", "closed")));
        assert!(!takes_away(&health("AWS_EC2_SYSTEM_REBOOT_MAINTENANCE_SCHEDULED", "upcoming")));
        let stop = "AWS_EC2_INSTANCE_STOP_SCHEDULED";
        assert!(takes_away(&entity(stop, "open", "PENDING")));
        assert!(!takes_away(&entity(stop, "open", "RESOLVED")));
        let recommended = json!({
            "source": "aws.ec2", "detail-type": "EC2 Instance Rebalance Recommendation",
            "detail": { "instance-id": "i-1" },
        });
        assert!(!takes_away(&recommended));
    }

    #[test]
    fn both_kinds_of_schedules_ask_for_a_sweep() {
        let rule =
            json!({ "source": "aws.events", "detail-type": "Scheduled Event", "detail": {} });
        assert_eq!(Event::parse(&rule), Ok(Event::Sweep));
        assert_eq!(Event::parse(&json!({ "sweep": true })), Ok(Event::Sweep));
    }

    #[test]
    fn an_event_of_another_kind_is_refused_by_name() {
        for (payload, origin, detail_type) in [
            (json!({ "source": "aws.s3", "detail-type": "X" }), Some("aws.s3"), Some("X")),
            (json!({ "source": "aws.ec2", "detail-type": "X" }), Some("aws.ec2"), Some("X")),
            (json!(null), None, None),
            (json!({}), None, None),
        ] {
            let unknown = UnknownEvent {
                origin: origin.map(str::to_owned),
                detail_type: detail_type.map(str::to_owned),
            };
            assert_eq!(Event::parse(&payload), Err(unknown));
        }
    }
}
