//! From tcpdump's language to a program: libpcap compiles it here, and the service verifies what it is sent.

use dpdk_net::capture::{Instruction, Program};
use pcap::{Capture, Linktype};

use crate::failure::{Failure, Result};

/// The filter's instructions; `None` for an empty one, which takes everything.
pub(super) fn compile(text: &str) -> Result<Option<Vec<Instruction>>> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let refused = |why: &str| {
        Failure::usage(
            format!("the filter {text:?}: {why}"),
            "as in 'tcp port 80 and host 198.18.0.1': see pcap-filter(7)",
        )
    };
    let dead = Capture::dead(Linktype::ETHERNET).map_err(|error| refused(&error.to_string()))?;
    let compiled = dead.compile(text, true).map_err(|error| match error {
        pcap::Error::PcapError(why) => refused(&why),
        other => refused(&other.to_string()),
    })?;
    let instructions = compiled.get_instructions().iter();
    let instructions: Option<Vec<_>> = instructions.map(|one| read(&one.to_string())).collect();
    let instructions =
        instructions.ok_or_else(|| refused("libpcap tells its program otherwise"))?;
    match Program::new(&instructions) {
        Ok(_) => Ok(Some(instructions)),
        // Loops ("protochain"), and what only the kernel knows ("inbound").
        Err(error) => Err(refused(&format!("can't be run on a packet path: {error}"))),
    }
}

/// `code jt jf k`, as the crate tells an instruction.
fn read(text: &str) -> Option<Instruction> {
    let mut parts = text.split(' ');
    let mut next = || parts.next();
    Some(Instruction {
        code: next()?.parse().ok()?,
        jt: next()?.parse().ok()?,
        jf: next()?.parse().ok()?,
        k: next()?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_becomes_what_tcpdump_prints() {
        let of = |code, jt, jf, k| Instruction { code, jt, jf, k };
        // tcpdump -ddd -y EN10MB arp
        let wanted = vec![
            of(40, 0, 0, 12),
            of(21, 0, 1, 2054),
            of(6, 0, 0, 65_535),
            of(6, 0, 0, 0),
        ];
        assert_eq!(compile("arp").unwrap(), Some(wanted));
        assert_eq!(compile(" ").unwrap(), None);
    }

    #[test]
    fn what_is_no_filter_is_refused_with_its_reason() {
        for (text, part) in [
            ("port", "syntax error"),
            ("prot 80", "syntax error"),
            ("host", "syntax error"),
            ("port 70000", "illegal port number"),
            ("ip protochain 6", "can't be run on a packet path"),
            ("inbound", "is of the kernel alone"),
        ] {
            let failure = compile(text).unwrap_err();
            assert!(failure.to_string().contains(part), "{text}: {failure}");
            assert_eq!(failure.exit_code(), 2);
        }
    }
}
