//! How far this machine's clock is from AWS's.
//!
//! Every answer of AWS says when it was made. AWS refuses requests that are signed five minutes off
//! ("Signature Version 4: troubleshooting", `RequestTimeTooSkewed`), and says the time in that refusal too.

use aws_smithy_runtime_api::{
    box_error::BoxError,
    client::{
        interceptors::{Intercept, context::BeforeDeserializationInterceptorContextRef},
        runtime_components::RuntimeComponents,
    },
};
use aws_smithy_types::{DateTime, config_bag::ConfigBag, date_time::Format};
use bailey_model::UnixMillis;
use std::sync::{Arc, Mutex, PoisonError};

/// The skew as the last answer showed it. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Skew(Arc<Mutex<Option<i64>>>);

impl Skew {
    /// Seconds by which this machine's clock is ahead of AWS's, behind when negative; `None` before the
    /// first answer. An answer's date has whole seconds, and it travelled for a moment.
    #[must_use]
    pub fn seconds(&self) -> Option<i64> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in an answer's `Date` (RFC 9110, section 6.6.1) that came at `now`.
    pub fn note(&self, date: &str, now: UnixMillis) {
        // An answer without a date, from a proxy for example, says nothing.
        let Ok(date) = DateTime::from_str(date, Format::HttpDate) else { return };
        let now = i64::try_from(now.0 / 1_000).unwrap_or(i64::MAX);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) =
            Some(now.saturating_sub(date.secs()));
    }
}

impl Intercept for Skew {
    fn name(&self) -> &'static str {
        "Skew"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(date) = context.response().headers().get("date") {
            self.note(date, crate::now());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_skew_is_what_an_answers_date_shows() {
        let skew = Skew::default();
        let now = UnixMillis(1_735_732_800_999);
        skew.note("not a date", now);
        assert_eq!(skew.seconds(), None);
        skew.note("Wed, 01 Jan 2025 12:00:00 GMT", now);
        assert_eq!(skew.seconds(), Some(0));
        skew.note("Wed, 01 Jan 2025 13:00:00 GMT", now);
        assert_eq!(skew.seconds(), Some(-3_600));
        skew.note("Tue, 31 Dec 2024 12:00:00 GMT", now);
        assert_eq!(skew.seconds(), Some(86_400));
    }
}
