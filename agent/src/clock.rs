//! Nothing begins under a wrong clock.
//!
//! Documents and certificates are judged by the time, and AWS refuses requests that are signed five minutes
//! off. A parent whose clock was not set yet would find every document bad, and end enclaves for it.

use crate::{herald::Herald, ports::HostsTable};
use bailey_runtime::skew::Skew;
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// What AWS allows a signature to be off.
const LIMIT_S: u64 = 300;
/// Services that set clocks look at most every few seconds; nothing tells when they have.
const PAUSE: Duration = Duration::from_secs(5);
/// Longer than any answer that comes at all.
const PATIENCE: Duration = Duration::from_secs(3);

/// Waits until this machine's clock agrees with AWS's.
///
/// When AWS cannot be asked, nothing is known against the clock, and enclaves that run need their agent.
pub(crate) async fn wait_until_right(table: &impl HostsTable, skew: &Skew, herald: Herald) {
    loop {
        // The answer itself is read again by whoever needs it; even a refusal says the time.
        let _ = timeout(PATIENCE, table.desired()).await;
        let Some(wrong) = skew.seconds().and_then(wrong) else { return };
        log::error!(clock = wrong.as_str(); "the clock is wrong, waiting until it is set");
        herald
            .status(&format!("waiting: the clock is {wrong}; enable chronyd or systemd-timesyncd"));
        sleep(PAUSE).await;
    }
}

/// What is wrong with a clock that is ahead by so many seconds.
fn wrong(ahead_s: i64) -> Option<String> {
    let direction = if ahead_s > 0 { "ahead of" } else { "behind" };
    let off_s = ahead_s.unsigned_abs();
    (off_s > LIMIT_S).then(|| format!("{off_s} s {direction} AWS's"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::TableError;
    use bailey_model::{
        UnixMillis,
        hosts::{Beat, Desired, Observed},
    };
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::Instant;

    /// A table whose answers have these dates, one after the other, and then none any more.
    struct Dated {
        dates: &'static [&'static str],
        asked: AtomicUsize,
        skew: Skew,
    }

    impl Dated {
        fn new(dates: &'static [&'static str]) -> Self {
            Self { dates, asked: AtomicUsize::new(0), skew: Skew::default() }
        }
    }

    impl HostsTable for Dated {
        async fn desired(&self) -> Result<Option<Desired>, TableError> {
            match self.dates.get(self.asked.fetch_add(1, Ordering::Relaxed)) {
                Some(date) => self.skew.note(date, UnixMillis(1_735_732_800_000)),
                None => std::future::pending().await,
            }
            Ok(None)
        }

        async fn report(&self, _: &Observed) -> Result<(), TableError> {
            Ok(())
        }

        async fn beat(&self, _: &Beat) -> Result<(), TableError> {
            Ok(())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_wrong_clock_is_waited_for_until_it_is_set() {
        let dates = &["Wed, 01 Jan 2025 13:00:00 GMT", "Wed, 01 Jan 2025 12:00:02 GMT"];
        let (table, start) = (Dated::new(dates), Instant::now());
        wait_until_right(&table, &table.skew, Herald::default()).await;
        assert_eq!(table.asked.into_inner(), 2);
        assert_eq!(start.elapsed(), PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_table_that_does_not_answer_keeps_nobody_from_work() {
        let (table, start) = (Dated::new(&[]), Instant::now());
        wait_until_right(&table, &table.skew, Herald::default()).await;
        assert_eq!(start.elapsed(), PATIENCE);
    }

    #[test]
    fn a_clock_is_wrong_where_aws_would_refuse_its_signatures() {
        assert_eq!((wrong(300), wrong(-300), wrong(0)), (None, None, None));
        assert_eq!(wrong(301).as_deref(), Some("301 s ahead of AWS's"));
        assert_eq!(wrong(-7_200).as_deref(), Some("7200 s behind AWS's"));
        assert!(wrong(i64::MIN).is_some());
    }
}
