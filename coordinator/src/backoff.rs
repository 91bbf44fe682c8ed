//! How long to wait before something that failed is tried again.

use std::time::Duration;

/// The longest first pause; it doubles with every failure up to the last.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LAST_PAUSE: Duration = Duration::from_secs(30);

/// The pause after so many failures before this one: half of it is fixed, and the other half as long
/// as `random` says, zero for none of it and the largest number for all.
///
/// Whoever was throttled together does not come back together, and nobody comes back at once.
#[must_use]
pub fn pause(failures_before: u32, random: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures_before).unwrap_or(u32::MAX);
    let longest = FIRST_PAUSE.saturating_mul(factor).min(LAST_PAUSE);
    let half = longest / 2;
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_limit() {
        let longest = |n| pause(n, u32::MAX).as_millis();
        let pauses = [0, 1, 2, 3, 4, 5, 6, 7, 31, 32, u32::MAX].map(longest);
        let expected =
            [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000, 30_000, 30_000];
        assert_eq!(pauses, expected);
    }

    #[test]
    fn chance_shortens_a_pause_by_up_to_a_half() {
        let of = |random| pause(2, random).as_millis();
        assert_eq!(of(0), 1_000);
        assert_eq!(of(u32::MAX / 2), 1_500);
        assert_eq!(of(u32::MAX), 2_000);
    }

    #[test]
    fn those_who_fail_together_come_back_apart() {
        // A thousand, whose numbers are spread as chance spreads them.
        let step = u32::MAX / 1_000;
        let pauses = (0..1_000).map(|n| pause(6, n * step));
        let mut in_second = [0; 31];
        pauses.for_each(|pause| in_second[usize::try_from(pause.as_secs()).unwrap()] += 1);
        assert!(in_second.iter().all(|times| *times <= 68), "{in_second:?}");
    }
}
