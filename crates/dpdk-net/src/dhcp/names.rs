//! Domain names that servers tell.

use dhcproto::Name;

/// Names that are kept of one message.
pub(super) const MAX_NAMES: usize = 8;

/// The name without a dot at its end, if it is one of a host or of a domain of hosts (RFC 1123 section 2.1): what else
/// may be in it is not to reach a resolver or a log.
pub(super) fn checked(text: &str) -> Option<String> {
    let name = text.trim_end_matches(['\0', '.']);
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        (1..=63).contains(&label.len())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let is_name = name.len() <= 253 && name.split('.').all(is_label);
    is_name.then(|| name.to_ascii_lowercase())
}

/// The search list that these names are.
pub(super) fn search(names: &[Name]) -> Vec<String> {
    let names = names.iter().filter_map(|name| checked(&name.to_ascii()));
    names.take(MAX_NAMES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_hosts() {
        assert_eq!(checked("Lab.Example."), Some("lab.example".to_owned()));
        assert_eq!(checked("srv-1_a\0"), Some("srv-1_a".to_owned()));
        let long = "a".repeat(64);
        for bad in [
            "",
            ".",
            "a..b",
            "a b",
            "$(reboot)",
            "a\nb",
            "caf\u{e9}",
            &long,
        ] {
            assert_eq!(checked(bad), None, "{bad:?}");
        }
        assert_eq!(checked(&["abcdefg"; 40].join(".")), None);
    }
}
