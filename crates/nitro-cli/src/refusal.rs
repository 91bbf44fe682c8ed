//! What nitro-cli says when it fails.
//!
//! Errors are blocks on standard error: `[ Exx ] text`, a line with a link, and the path of a log file
//! (`construct_error_message` in nitro-cli's `common/mod.rs`). One failed command can print several, of which
//! the first is the cause and the last gives the exit code. The log file holds what nitro-cli was doing, from
//! the whole to the part that failed (`construct_backtrace`); where several reasons share one number, as all
//! refusals of the driver do, only this last part tells them apart.

use std::path::PathBuf;

/// A log has a few lines; no more of it is looked at.
pub const MOST_LOG_BYTES: usize = 16 * 1_024;

/// More words of a log than this help nobody.
const MOST_CAUSE_BYTES: usize = 512;

/// The error blocks in nitro-cli's standard error, in the order in which they were printed.
#[must_use]
pub fn error_blocks(stderr: &str) -> Vec<ErrorBlock> {
    let mut blocks: Vec<ErrorBlock> = Vec::new();
    for line in stderr.lines().map(str::trim) {
        if let Some((code, text)) = headline(line) {
            blocks.push(ErrorBlock { code, text: text.to_owned(), log: None });
        } else if let (Some(path), Some(last)) = (log_path(line), blocks.last_mut()) {
            last.log.get_or_insert(path);
        }
    }
    blocks
}

/// Number and text of `[ E27 ] Insufficient memory`; some are preceded by what was done and a bar.
fn headline(line: &str) -> Option<(u8, &str)> {
    let at = if line.starts_with("[ E") { 0 } else { line.find(" | [ E")? + 3 };
    let (code, text) = line.get(at..)?.strip_prefix("[ E")?.split_once(" ]")?;
    let number = code.parse().ok().filter(|_| code.len() == 2)?;
    Some((number, text.trim()))
}

fn log_path(line: &str) -> Option<PathBuf> {
    let (_, rest) = line.split_once("error log found at \"")?;
    let (path, _) = rest.split_once('"')?;
    Some(PathBuf::from(path))
}

/// The innermost of the failed actions in an error log; `None` when it names none.
#[must_use]
pub fn root_cause(log: &str) -> Option<String> {
    let mut lines = log.lines().skip_while(|line| line.trim() != "Subactions:").skip(1);
    let actions = lines.by_ref().take_while(|line| line.starts_with("    "));
    let mut cause = actions.last()?.trim().to_owned();
    if cause.len() > MOST_CAUSE_BYTES {
        let end = (0..=MOST_CAUSE_BYTES).rev().find(|at| cause.is_char_boundary(*at)).unwrap_or(0);
        cause.truncate(end);
    }
    (!cause.is_empty()).then_some(cause)
}

/// One error as nitro-cli prints it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ErrorBlock {
    /// The number after `E`, 0 to 99.
    pub code: u8,
    /// The text after it.
    pub text: String,
    /// The file with the root cause, when nitro-cli could write one.
    pub log: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_error_block_is_read_with_its_log_and_the_cause_comes_first() {
        let stderr = "Start allocating memory...\n\
            [ E27 ] Insufficient memory available. User provided `memory` is 4096 MB\n\n\
            For more details, please visit https://docs.aws.amazon.com/…/cli-errors.html#E27\n\n\
            If you open a support ticket, please provide the error log found at \"/var/log/x.log\"\n\
            Failed connections: 1\n\
            [ E39 ] Enclave process connection failure. Such error appears when…\n";
        let text = "Insufficient memory available. User provided `memory` is 4096 MB";
        let expected = [
            ErrorBlock { code: 27, text: text.to_owned(), log: Some("/var/log/x.log".into()) },
            ErrorBlock {
                code: 39,
                text: "Enclave process connection failure. Such error appears when…".to_owned(),
                log: None,
            },
        ];
        assert_eq!(error_blocks(stderr), expected);
    }

    #[test]
    fn an_error_after_what_was_done_is_read() {
        let blocks = error_blocks("Failed to run | [ E05 ] Process spawn failure.");
        assert_eq!(blocks.first().map(|block| block.code), Some(5));
    }

    #[test]
    fn the_root_cause_is_the_innermost_action() {
        let log = "  Action: Run Enclave\n  Subactions:\n    Failed to run\n    \
            Memory region limit reached\n  Root error file: src/x.rs\n  Root error line: 1\n  \
            Version: 1.5.2";
        assert_eq!(root_cause(log).as_deref(), Some("Memory region limit reached"));
        assert_eq!(root_cause("  Action: Run Enclave\n  Subactions:\n  Root error file: a"), None);
        assert_eq!(root_cause(""), None);
    }

    proptest! {
        #[test]
        fn no_output_makes_the_parsers_panic(
            text in "(\\[ E[0-9]{0,3} \\]| \\| |Subactions:\n|    é{0,300}|found at \"|[a-z\"\n ]){0,40}"
        ) {
            let _ = error_blocks(&text);
            prop_assert!(root_cause(&text).is_none_or(|cause| cause.len() <= MOST_CAUSE_BYTES));
        }
    }
}
