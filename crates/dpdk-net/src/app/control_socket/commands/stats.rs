//! `stats`: all that is counted.

use serde::Deserialize;

use crate::app::control_socket::command::{Command, Question, Reply, members, value};
use crate::app::subsystem::Application;
use crate::metrics::{Family, to_json};

pub(in crate::app::control_socket) const STATS: Command = Command {
    name: "stats",
    help: "all figures, or those whose name, or the name that Linux has for them, is like one of \"names\": [\"dpdk_net_tcp_*\"]",
    run: stats,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    /// Patterns with `*` and `?`.
    names: Option<Vec<String>>,
}

fn stats(app: &Application, question: &Question) -> Result<Reply, String> {
    let Members { names } = members(question)?;
    let mut families = app.metrics().gather();
    if let Some(names) = names {
        families.retain(|family| is_meant(family, &names));
    }
    value(to_json(&families))
}

fn is_meant(family: &Family, patterns: &[String]) -> bool {
    let name = family.name();
    patterns.iter().any(|pattern| {
        let linux = family.metric.linux;
        is_like(&name, pattern) || linux.is_some_and(|name| is_like(name, pattern))
    })
}

/// Whether a name is like a pattern, in which `*` stands for any characters and `?` for one.
fn is_like(name: &str, pattern: &str) -> bool {
    let (name, pattern) = (name.as_bytes(), pattern.as_bytes());
    let (mut at, mut of) = (0, 0);
    // Where the last `*` was, and up to where it stands for the name: the only place to go back to.
    let mut star: Option<(usize, usize)> = None;
    while at < name.len() {
        match pattern.get(of) {
            Some(b'*') => {
                star = Some((of, at));
                of += 1;
            }
            Some(wanted) if *wanted == b'?' || name.get(at) == Some(wanted) => {
                at += 1;
                of += 1;
            }
            _ => {
                let Some((place, covered)) = star else {
                    return false;
                };
                star = Some((place, covered + 1));
                (of, at) = (place + 1, covered + 1);
            }
        }
    }
    pattern.iter().skip(of).all(|rest| *rest == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_have_stars_and_question_marks() {
        for (name, pattern, wanted) in [
            ("TcpInSegs", "TcpInSegs", true),
            ("TcpInSegs", "Tcp*", true),
            ("TcpInSegs", "*Segs", true),
            ("TcpInSegs", "*In*", true),
            ("TcpInSegs", "*", true),
            ("TcpInSegs", "Tcp??Segs", true),
            ("TcpInSegs", "Tcp?Segs", false),
            ("TcpInSegs", "Udp*", false),
            ("TcpInSegs", "*S*S*", false),
            ("TcpInSegs", "", false),
            ("", "**", true),
            ("aaab", "*ab", true),
            ("abab", "*ab", true),
        ] {
            assert_eq!(is_like(name, pattern), wanted, "{name} {pattern}");
        }
    }
}
