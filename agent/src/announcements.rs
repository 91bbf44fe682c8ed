//! What EC2 announces about this instance: that it takes a spot instance back, or stops or retires one.
//!
//! The metadata service says so, minutes to days ahead. The host reports it; what follows is the
//! coordinator's to decide: an enclave that is to run always goes to another host.

use crate::identity::Metadata;
use bailey_model::hosts::Announcement;
use serde::Deserialize;
use std::time::Duration;
use tokio::{sync::watch, time::sleep};

/// AWS advises to look every five seconds: a spot instance has two minutes.
const PERIOD: Duration = Duration::from_secs(5);

const SPOT: &str = "/latest/meta-data/spot/instance-action";
const SCHEDULED: &str = "/latest/meta-data/events/maintenance/scheduled";

/// Looks again and again; what was announced last stays announced.
pub(crate) async fn watch(metadata: Metadata, announced: watch::Sender<Option<Announcement>>) {
    loop {
        // A service that does not answer has been complained of at the start, or will be elsewhere.
        let spot = metadata.value(SPOT).await.ok().flatten().and_then(|text| spot(&text));
        let scheduled =
            metadata.value(SCHEDULED).await.ok().flatten().and_then(|text| scheduled(&text));
        if let Some(said) = spot.or(scheduled) {
            announced.send_if_modified(|known| {
                let is_new = known.as_ref() != Some(&said);
                if is_new {
                    log::warn!(announced = said.text.as_str(); "EC2 announces something");
                    *known = Some(said);
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

fn spot(text: &str) -> Option<Announcement> {
    let SpotAction { action, time } = serde_json::from_str(text).ok()?;
    let text = format!("EC2 will {action} the spot instance at {time}");
    Some(Announcement { text, takes_away: true })
}

/// AWS, "Amazon EC2 User Guide: Scheduled events for your instances".
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ScheduledEvent {
    code: String,
    not_before: String,
    state: String,
}

/// The codes of events after which the instance is stopped or terminated. From a reboot or a maintenance
/// it comes back by itself.
const ENDS: [&str; 2] = ["instance-retirement", "instance-stop"];

fn scheduled(text: &str) -> Option<Announcement> {
    let events: Vec<ScheduledEvent> = serde_json::from_str(text).ok()?;
    let active: Vec<_> = events.into_iter().filter(|event| event.state == "active").collect();
    let ends = |event: &&ScheduledEvent| ENDS.contains(&event.code.as_str());
    let next = active.iter().find(ends).or_else(|| active.first())?;
    let text = format!("EC2 has scheduled {}, not before {}", next.code, next.not_before);
    Some(Announcement { text, takes_away: ends(&next) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_spot_instance_is_read() {
        let text = r#"{"action":"terminate","time":"2025-01-01T12:00:00Z"}"#;
        let said = "EC2 will terminate the spot instance at 2025-01-01T12:00:00Z";
        assert_eq!(spot(text), Some(Announcement { text: said.to_owned(), takes_away: true }));
        assert_eq!(spot("<html>"), None);
    }

    fn events(events: &[(&str, &str)]) -> String {
        let one = |(code, state): &(&str, &str)| {
            format!(
                r#"{{"NotBefore":"21 Jan 2025 09:00:43 GMT","Code":"{code}",
                "Description":"","EventId":"instance-event-0","NotAfter":"","State":"{state}"}}"#
            )
        };
        format!("[{}]", events.iter().map(one).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn a_scheduled_event_counts_while_it_is_active() {
        let text = "EC2 has scheduled instance-retirement, not before 21 Jan 2025 09:00:43 GMT";
        let said = Announcement { text: text.to_owned(), takes_away: true };
        assert_eq!(scheduled(&events(&[("instance-retirement", "active")])), Some(said));
        assert_eq!(scheduled(&events(&[("instance-retirement", "completed")])), None);
        assert_eq!(scheduled("[]"), None);
    }

    #[test]
    fn a_reboot_takes_nothing_away_and_does_not_hide_what_does() {
        let reboot = ("system-reboot", "active");
        assert!(!scheduled(&events(&[reboot])).unwrap().takes_away);
        let both = scheduled(&events(&[reboot, ("instance-stop", "active")])).unwrap();
        assert!(both.takes_away && both.text.contains("instance-stop"), "{both:?}");
    }
}
