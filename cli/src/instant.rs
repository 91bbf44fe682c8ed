//! Instants and durations as the records hold them and as people read them.

use bailey_model::UnixMillis;
use std::time::Duration;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

/// Reads an RFC 3339 instant; none before 1970.
pub(crate) fn parse(text: &str) -> Option<UnixMillis> {
    let instant = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    u64::try_from(instant.unix_timestamp_nanos() / 1_000_000).ok().map(UnixMillis)
}

/// A duration in the two units that matter: `1.2s`, `2m05s`, `3h05m`, `4d02h`.
pub(crate) fn short(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..100 => format!("{seconds}.{}s", duration.subsec_millis() / 100),
        100..6_000 => format!("{minutes}m{:02}s", seconds % 60),
        6_000..172_800 => format!("{hours}h{:02}m", minutes % 60),
        _ => format!("{days}d{:02}h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_reads_back_from_the_text_that_records_hold() {
        let instant = UnixMillis(1_735_732_800_250);
        assert_eq!(parse(&instant.to_string()), Some(instant));
        assert_eq!(parse("2025-01-01T13:00:00+01:00"), Some(UnixMillis(1_735_732_800_000)));
        assert_eq!(parse("1969-12-31T23:59:59Z"), None);
        assert_eq!(parse("yesterday"), None);
    }

    #[test]
    fn durations_are_shown_in_two_units_at_most() {
        let shown = |ms: u64| short(Duration::from_millis(ms));
        assert_eq!(shown(0), "0.0s");
        assert_eq!(shown(1_290), "1.2s");
        assert_eq!(shown(99_999), "99.9s");
        assert_eq!(shown(125_000), "2m05s");
        assert_eq!(shown(11_100_000), "3h05m");
        assert_eq!(shown(352_800_000), "4d02h");
    }
}
