//! What happened to an enclave.

use super::layout::padded;
use crate::output::one_line;
use bailey_lifecycle::ledger::Event;

/// As wide as an instant with milliseconds.
const TIME_COLUMNS: usize = 24;

/// When, in which generation, what.
pub(crate) fn event(event: &Event) -> String {
    let time = padded(&event.at.to_string(), TIME_COLUMNS);
    format!("{time}  {:>3}  {}\n", event.generation.0, one_line(&event.text))
}

/// That there were more events than are kept.
pub(crate) fn missed(count: u64) -> String {
    match count {
        1 => "(1 event before these is no longer kept)\n".to_owned(),
        count => format!("({count} events before these are no longer kept)\n"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bailey_model::{Generation, UnixMillis};

    #[test]
    fn events_stand_under_each_other_one_line_each() {
        let told = |at, generation, text: &str| {
            let (at, generation) = (UnixMillis(at), Generation(generation));
            event(&Event { number: 1, at, generation, text: text.to_owned() })
        };
        let text = told(1_735_732_800_250, 1, "ACCEPTED")
            + &told(1_735_732_801_000, 12, "EifInvalid: no\n2025-01-01T12:00:09Z  1  RUNNING");
        assert_eq!(
            text,
            "\
2025-01-01T12:00:00.25Z     1  ACCEPTED
2025-01-01T12:00:01Z       12  EifInvalid: no 2025-01-01T12:00:09Z 1 RUNNING
"
        );
    }

    #[test]
    fn what_is_no_longer_kept_is_counted() {
        assert_eq!(missed(1), "(1 event before these is no longer kept)\n");
        assert_eq!(missed(7), "(7 events before these are no longer kept)\n");
    }
}
