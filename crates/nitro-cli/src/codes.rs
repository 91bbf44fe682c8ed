//! What helps against nitro-cli's documented errors.
//!
//! The numbers and their meanings are those of `cli-errors.html` in AWS's user guide.

use bailey_model::failure::FailureCode;

/// Which failure an error of nitro-cli amounts to.
#[must_use]
pub fn failure_code(code: u8) -> FailureCode {
    match code {
        // Too few CPUs in the pool, memory below what the image needs, too few huge pages.
        22 | 26 | 27 => FailureCode::InsufficientHostResources,
        _ => FailureCode::EnclaveStartFailed,
    }
}

/// What to do about an error of nitro-cli; `None` where its own text says it all.
#[must_use]
pub fn hint(code: u8) -> Option<&'static str> {
    Some(match code {
        1..=3 => "this agent and the installed nitro-cli do not fit together; update the AMI",
        5..=18 => {
            "nitro-cli could not reach its own processes; see that /run/nitro_enclaves exists and \
             belongs to group ne"
        }
        19 => {
            "a file that nitro-cli needs is missing; see that the nitro_enclaves driver is loaded \
             and /var/log/nitro_enclaves exists"
        }
        20 | 21 | 23 | 24 => "the CPU pool changed meanwhile; restart the allocator and the agent",
        22 => "lower cpu_count, or choose a larger instance_type",
        25 | 28 => "the parent's NUMA layout does not fit; choose another instance_type",
        26 => "memory_mib must be at least four times the size of the image",
        27 => "lower memory_mib, or choose a larger instance_type",
        29..=33 => {
            "the nitro_enclaves driver refused; see the parent's kernel log, and that cpu_count is \
             a whole number of cores; against too many memory regions (fragmented memory) a \
             reboot helps"
        }
        34 | 35 => "build the image again with a tool that writes EIF version 4",
        36 => {
            "the enclave did not boot: its init sent no heartbeat; deploy it in debug mode and read \
             its console, or give it more memory"
        }
        37..=43 => {
            "the process that holds the enclave could not be reached; see the error log on the \
             parent in /var/log/nitro_enclaves"
        }
        58 => "another enclave has the name; restart the agent",
        59 | 60 => "the image's signature is not valid; sign it again",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_resources_is_told_from_everything_else() {
        let lacking: Vec<u8> = (0..=99)
            .filter(|code| failure_code(*code) == FailureCode::InsufficientHostResources)
            .collect();
        assert_eq!(lacking, [22, 26, 27]);
    }

    #[test]
    fn the_errors_that_operators_ask_about_have_hints() {
        for code in [19, 22, 26, 27, 29, 35, 36, 39, 58] {
            assert!(hint(code).is_some(), "E{code} has no hint");
        }
    }
}
