//! What an error says, with what caused it.

use std::{error::Error, fmt::Write as _};

/// The error's text and those of its causes, from the outermost inwards, joined by `: `.
#[must_use]
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let level = error.to_string();
        // Some libraries repeat their cause in their own text; say it once.
        if !text.ends_with(&level) {
            let _ = write!(text, ": {level}");
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot open the file")]
    struct Outer(#[source] io::Error);

    #[test]
    fn a_chain_says_each_level_once() {
        let error = Outer(io::Error::other("disk is gone"));
        assert_eq!(chain(&error), "cannot open the file: disk is gone");
    }
}
