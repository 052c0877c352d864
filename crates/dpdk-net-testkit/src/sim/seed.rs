//! Seeds of simulations and how a run is repeated: environment variables and the text that a failing run prints.

use std::env;
use std::path::PathBuf;

/// The environment variable that replaces the seeds of a test by one.
pub const SEED_VAR: &str = "DPDK_NET_SIM_SEED";
/// The environment variable that names a directory for packet captures, one file a host.
pub const PCAP_VAR: &str = "DPDK_NET_SIM_PCAP";
/// The environment variable that sets the size of bulk transfers, in bytes (`K`, `M` and `G` as binary units are understood).
pub const BYTES_VAR: &str = "DPDK_NET_SIM_BYTES";

/// The seeds to run a test with: `default`, or the one seed in `DPDK_NET_SIM_SEED` when a run is repeated.
///
/// # Panics
/// If the variable is set to something that is not a number.
pub fn seeds(default: &[u64]) -> Vec<u64> {
    match env::var(SEED_VAR) {
        Ok(text) => vec![
            text.parse()
                .unwrap_or_else(|_| panic!("{SEED_VAR}={text} is not a whole number")),
        ],
        Err(_) => default.to_vec(),
    }
}

/// The size of a bulk transfer in bytes: `default`, or what `DPDK_NET_SIM_BYTES` says.
///
/// # Panics
/// If the variable is set to something that is not a size.
pub fn bulk_bytes(default: u64) -> u64 {
    match env::var(BYTES_VAR) {
        Ok(text) => parse_size(&text)
            .unwrap_or_else(|| panic!("{BYTES_VAR}={text} is not a size such as 64M")),
        Err(_) => default,
    }
}

pub(crate) fn pcap_directory() -> Option<PathBuf> {
    env::var_os(PCAP_VAR).map(PathBuf::from)
}

fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.char_indices().next_back()? {
        (at, 'K') => (&text[..at], 10),
        (at, 'M') => (&text[..at], 20),
        (at, 'G') => (&text[..at], 30),
        _ => (text, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::parse_size;

    #[test]
    fn sizes_have_binary_units() {
        assert_eq!(parse_size("64M"), Some(64 << 20));
        assert_eq!(parse_size("17"), Some(17));
        assert_eq!(parse_size("M"), None);
        assert_eq!(parse_size("1 MB"), None);
        assert_eq!(parse_size(""), None);
    }
}
