//! Instants inside other texts.

use bailey_model::UnixMillis;

/// The text with each instant in RFC 3339 that it holds in milliseconds since 1970.
///
/// Those of the years 2001 to 2286 have 13 digits, which nothing else has that is found in a
/// check's text: bytes in hex have an even number of digits, and durations are shorter.
pub(crate) fn instants(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for word in text.split_inclusive([' ', ',', ';', ')']) {
        let digits = word.trim_end_matches([' ', ',', ';', ')']);
        let rest = word.strip_prefix(digits).unwrap_or_default();
        match instant(digits) {
            Some(instant) => shown.push_str(&instant.to_string()),
            None => shown.push_str(digits),
        }
        shown.push_str(rest);
    }
    shown
}

fn instant(digits: &str) -> Option<UnixMillis> {
    let is_one = digits.len() == 13 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_one).map(UnixMillis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_are_shown_as_instants_wherever_they_stand() {
        assert_eq!(
            instants("valid from 1735732800000, and it is 1735732799500"),
            "valid from 2025-01-01T12:00:00Z, and it is 2025-01-01T11:59:59.5Z"
        );
    }

    #[test]
    fn durations_ids_and_hex_stay_as_they_are() {
        let text = "300000 ms, i-1735732800000 of 17357328000001 (1735732800000abc)";
        assert_eq!(instants(text), text);
    }
}
