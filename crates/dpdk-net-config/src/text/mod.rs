//! TOML and JSON become trees. What is no TOML, or no JSON, is told here, all of it as far as the parser can go on.

mod json;
mod toml;

use std::ops::Range;
use std::sync::Arc;

use crate::problem::Problem;
use crate::tree::{Node, Place, Source, Text};

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// JSON (RFC 8259); comments and trailing commas are no part of it.
    Json,
}

impl Format {
    /// What a file with this name and content is: by its ending `.toml` or `.json`, or else by whether it begins with a
    /// brace.
    pub fn of(name: &str, text: &str) -> Self {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        match ending {
            Some(ending) if ending.eq_ignore_ascii_case("toml") => Self::Toml,
            Some(ending) if ending.eq_ignore_ascii_case("json") => Self::Json,
            _ if is_json(text) => Self::Json,
            _ => Self::Toml,
        }
    }
}

/// The tree of a text. What could be read of it is there beside the problems.
pub(crate) fn parse(
    name: &str,
    text: &str,
    format: Format,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    // Editors of Windows put a byte order mark before UTF-8.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let source = Arc::new(Text::new(name, text));
    match format {
        Format::Toml => toml::parse(&source, problems),
        Format::Json => json::parse(&source, problems),
    }
}

fn place(source: &Source, span: Range<usize>) -> Place {
    Place {
        source: source.clone(),
        span,
    }
}

/// Whether a text looks like JSON: it begins with a brace, which TOML never does.
fn is_json(text: &str) -> bool {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.trim_start().starts_with('{')
}
