//! What a shared host's pool holds for enclaves that come later. Pure.

use crate::ports::Size;

/// A parent runs no more at a time.
const MOST_ENCLAVES: usize = 4;
/// A later enclave takes whole pages of this size.
const PAGE_MIB: u32 = 1_024;
/// In how many steps the memory is given up when the host has less than was hoped for.
const STEPS: u32 = 8;

/// The rest of a pool of this size beside `enclaves`, as one more enclave: all of it first, then with less
/// and less memory, for a host may have less than its type promises. Empty when there is no rest.
pub(super) fn later(pool: Size, enclaves: &[Size]) -> Vec<Size> {
    let sum = |of: fn(&Size) -> u32| enclaves.iter().map(of).fold(0, u32::saturating_add);
    let cpu_count = pool.cpu_count.saturating_sub(sum(|size| size.cpu_count));
    let taken_mib = sum(|size| size.memory_mib.div_ceil(PAGE_MIB).saturating_mul(PAGE_MIB));
    let pages = pool.memory_mib.saturating_sub(taken_mib) / PAGE_MIB;
    if cpu_count == 0 || enclaves.len() >= MOST_ENCLAVES {
        return Vec::new();
    }
    let mut sizes: Vec<Size> = (1..=STEPS)
        .rev()
        .map(|eighths| u64::from(pages) * u64::from(eighths) / u64::from(STEPS))
        .filter(|pages| *pages > 0)
        .map(|pages| Size {
            cpu_count,
            memory_mib: u32::try_from(pages).unwrap_or(0).saturating_mul(PAGE_MIB),
        })
        .collect();
    sizes.dedup();
    sizes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(cpu_count: u32, memory_mib: u32) -> Size {
        Size { cpu_count, memory_mib }
    }

    #[test]
    fn what_is_left_of_the_pool_is_one_more_enclave_with_less_and_less_memory() {
        let rest = later(size(6, 27 * 1_024), &[size(2, 1_500)]);
        assert_eq!(rest.len(), 8);
        assert_eq!(rest.first(), Some(&size(4, 25 * 1_024)));
        assert_eq!(rest.last(), Some(&size(4, 3 * 1_024)));
    }

    #[test]
    fn a_full_pool_and_a_full_parent_have_no_rest() {
        assert_eq!(later(size(2, 13 * 1_024), &[size(2, 1_024)]), []);
        assert_eq!(later(size(6, 2_048), &[size(2, 1_025)]), []);
        assert_eq!(later(size(14, 60 * 1_024), &[size(2, 1_024); 4]), []);
    }
}
