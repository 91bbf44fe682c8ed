//! What EC2 announces about this instance: that it takes a spot instance back, or stops or retires one.
//!
//! The metadata service says so, minutes to days ahead. The host reports it; what follows is the
//! coordinator's to decide.

use crate::identity::Metadata;
use serde::Deserialize;
use std::time::Duration;
use tokio::{sync::watch, time::sleep};

/// AWS advises to look every five seconds: a spot instance has two minutes.
const PERIOD: Duration = Duration::from_secs(5);

const SPOT: &str = "/latest/meta-data/spot/instance-action";
const SCHEDULED: &str = "/latest/meta-data/events/maintenance/scheduled";

/// Looks again and again; what was announced last stays announced.
pub(crate) async fn watch(metadata: Metadata, announced: watch::Sender<Option<String>>) {
    loop {
        // A service that does not answer has been complained of at the start, or will be elsewhere.
        let spot = metadata.value(SPOT).await.ok().flatten().and_then(|text| spot(&text));
        let scheduled =
            metadata.value(SCHEDULED).await.ok().flatten().and_then(|text| scheduled(&text));
        if let Some(text) = spot.or(scheduled) {
            announced.send_if_modified(|known| {
                let is_new = known.as_ref() != Some(&text);
                if is_new {
                    log::warn!(announced = text.as_str(); "EC2 announces something");
                    *known = Some(text);
                }
                is_new
            });
        }
        sleep(PERIOD).await;
    }
}

/// AWS, "Amazon EC2 User Guide: Spot Instance interruption notices".
#[derive(Deserialize)]
struct SpotAction {
    action: String,
    time: String,
}

fn spot(text: &str) -> Option<String> {
    let SpotAction { action, time } = serde_json::from_str(text).ok()?;
    Some(format!("EC2 will {action} the spot instance at {time}"))
}

/// AWS, "Amazon EC2 User Guide: Scheduled events for your instances".
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ScheduledEvent {
    code: String,
    not_before: String,
    state: String,
}

fn scheduled(text: &str) -> Option<String> {
    let events: Vec<ScheduledEvent> = serde_json::from_str(text).ok()?;
    let next = events.into_iter().find(|event| event.state == "active")?;
    Some(format!("EC2 has scheduled {}, not before {}", next.code, next.not_before))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_spot_instance_is_read() {
        let text = r#"{"action":"terminate","time":"2025-01-01T12:00:00Z"}"#;
        let said = "EC2 will terminate the spot instance at 2025-01-01T12:00:00Z";
        assert_eq!(spot(text).as_deref(), Some(said));
        assert_eq!(spot("<html>"), None);
    }

    #[test]
    fn a_scheduled_event_counts_while_it_is_active() {
        let event = |state: &str| {
            format!(
                r#"[{{"NotBefore":"21 Jan 2025 09:00:43 GMT","Code":"instance-retirement",
                "Description":"","EventId":"instance-event-0","NotAfter":"","State":"{state}"}}]"#
            )
        };
        let said = "EC2 has scheduled instance-retirement, not before 21 Jan 2025 09:00:43 GMT";
        assert_eq!(scheduled(&event("active")).as_deref(), Some(said));
        assert_eq!(scheduled(&event("completed")), None);
        assert_eq!(scheduled("[]"), None);
    }
}
