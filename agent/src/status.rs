//! `bailey-agent status`: what this host runs, as the agent has written it down.

use crate::assignment::Memory;
use std::fmt::Write as _;

/// A table of the assignments; each with what failed, when something did.
#[must_use]
pub fn table(mut memories: Vec<Memory>) -> String {
    if memories.is_empty() {
        return "no enclave is assigned to this host\n".to_owned();
    }
    memories.sort_by(|a, b| a.assignment.enclave_id.cmp(&b.assignment.enclave_id));
    let head = ["ENCLAVE", "GENERATION", "STATE", "NITRO ID", "CID", "RESTARTS"].map(str::to_owned);
    let rows: Vec<[String; 6]> = std::iter::once(head).chain(memories.iter().map(row)).collect();
    let widths: [usize; 6] = std::array::from_fn(|column| {
        rows.iter().filter_map(|row| row.get(column)).map(String::len).max().unwrap_or(0)
    });
    let mut text = String::new();
    for row in rows {
        let cells: Vec<String> =
            row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    for memory in memories {
        if let Some(failure) = &memory.failure {
            let id = &memory.assignment.enclave_id;
            let _ = writeln!(text, "\n{id}: {}: {}", failure.code, failure.message);
            let _ = writeln!(text, "  {}", failure.hint);
        }
    }
    text
}

fn row(memory: &Memory) -> [String; 6] {
    let Memory { assignment, enclave, answer, restarts, failure, .. } = memory;
    let state = match (failure, enclave, answer) {
        (Some(_), ..) => "failed",
        (None, Some(_), Some(_)) => "attested",
        (None, Some(_), None) => "runs, not attested",
        (None, None, _) => "on its way",
    };
    [
        assignment.enclave_id.to_string(),
        assignment.generation.0.to_string(),
        state.to_owned(),
        enclave.as_ref().map_or_else(|| "-".to_owned(), |enclave| enclave.nitro_id.clone()),
        enclave.as_ref().map_or_else(|| "-".to_owned(), |enclave| enclave.cid.to_string()),
        restarts.to_string(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{NOW, assignment};
    use bailey_model::{
        failure::{Failure, FailureCode},
        hosts::RunningEnclave,
    };

    #[test]
    fn each_enclave_has_a_line_and_each_failure_its_reason() {
        assert_eq!(table(vec![]), "no enclave is assigned to this host\n");
        let mut failed = Memory::of(assignment("b", 12));
        failed.failure = Some(Failure::new(FailureCode::EifNotFound, "it is not there", NOW));
        let mut running = Memory::of(assignment("a", 1));
        running.enclave = Some(RunningEnclave { nitro_id: "i-0-enc1".to_owned(), cid: 16 });
        let text = table(vec![failed, running]);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "ENCLAVE  GENERATION  STATE               NITRO ID  CID  RESTARTS");
        assert_eq!(lines[1], "a        1           runs, not attested  i-0-enc1  16   0");
        assert_eq!(lines[2], "b        12          failed              -         -    0");
        assert_eq!(lines[4], "b: EifNotFound: it is not there");
    }
}
