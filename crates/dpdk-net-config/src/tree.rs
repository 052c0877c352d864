//! A file as a tree of values that know where they were written, whatever its format was.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::{MietteError, MietteSpanContents, SourceCode, SourceSpan, SpanContents};

/// A text that settings come from: a file, or an environment variable.
#[derive(Debug)]
pub(crate) struct Text {
    name: String,
    text: String,
}

/// One that many places share.
pub(crate) type Source = Arc<Text>;

/// The longest line, in bytes, that is shown as a whole.
const LONG: usize = 240;

/// Bytes that are shown before and behind what a longer line is shown for.
const AROUND: usize = 60;

impl Text {
    pub(crate) fn new(name: impl Into<String>, text: impl Into<String>) -> Self {
        let (name, text) = (name.into(), text.into());
        Self { name, text }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Line and column of an offset, both from 0; the column in characters.
    fn line_column(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or(&self.text);
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or("").chars().count();
        (line, column)
    }

    /// Where the line begins that an offset is in.
    fn line_start(&self, at: usize) -> usize {
        let before = self.text.get(..at).unwrap_or_default();
        before.rfind('\n').map_or(0, |at| at + 1)
    }

    /// Where that line ends, before its line feed.
    fn line_end(&self, at: usize) -> usize {
        let after = self.text.get(at..).unwrap_or_default();
        after.find('\n').map_or(self.text.len(), |end| at + end)
    }

    /// What of a span is underlined: of its first line, and no more than is shown of a long one.
    pub(crate) fn underlined(&self, span: &Range<usize>) -> Range<usize> {
        let end = self.line_end(span.start).min(span.end).max(span.start);
        let end = self
            .text
            .floor_char_boundary(end.min(span.start + 2 * AROUND));
        span.start..end
    }

    /// Whether two places can be shown together: they are on lines that are shown as a whole, or near each other.
    pub(crate) fn together(&self, one: usize, other: usize) -> bool {
        let (first, last) = (one.min(other), one.max(other));
        let whole = |at: usize| self.line_end(at) - self.line_start(at) <= LONG;
        let between = self.text.get(first..last).unwrap_or_default();
        // Lines between are shown if they are few.
        let short = |line: &str| line.len() <= LONG;
        (whole(first) && whole(last) && between.lines().take(8).all(short))
            || (between.len() < AROUND && !between.contains('\n'))
    }

    /// The lines of a span and as many around it, of long lines only what is near.
    fn excerpt(&self, span: &Range<usize>, before: usize, after: usize) -> Range<usize> {
        let (mut start, mut end) = (self.line_start(span.start), self.line_end(span.end));
        let one_line = self.line_end(span.start) == end;
        if one_line && end - start > LONG {
            let near = span.start.saturating_sub(AROUND);
            let far = (span.end + AROUND).min(end);
            let near = self.text.floor_char_boundary(near.max(start));
            return near..self.text.ceil_char_boundary(far);
        }
        for _ in 0..before {
            let above = start.checked_sub(1).map(|end| self.line_start(end));
            match above.filter(|above| start - above <= LONG) {
                Some(above) => start = above,
                None => break,
            }
        }
        for _ in 0..after {
            let below = Some(end + 1).filter(|next| *next < self.text.len());
            match below
                .map(|next| self.line_end(next))
                .filter(|below| below - end <= LONG)
            {
                Some(below) => end = below,
                None => break,
            }
        }
        // Its line feed too: what is at the end of a line is shown behind it.
        start..(end + 1).min(self.text.len())
    }
}

impl SourceCode for Text {
    /// As `str` does it, with columns in characters, and without the whole of a file that is one line.
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let wanted = span.offset()..span.offset() + span.len();
        if self.text.get(wanted.clone()).is_none() {
            return Err(MietteError::OutOfBounds);
        }
        let shown = match (before, after) {
            (0, 0) => wanted,
            _ => self.excerpt(&wanted, before, after),
        };
        let (line, column) = self.line_column(shown.start);
        let data = self.text.as_bytes().get(shown.clone()).unwrap_or_default();
        let lines = data.iter().filter(|byte| **byte == b'\n').count();
        Ok(Box::new(MietteSpanContents::new_named(
            self.name.clone(),
            data,
            (shown.start, shown.len()).into(),
            line,
            column,
            lines,
        )))
    }
}

/// Where something was written.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) source: Source,
    pub(crate) span: Range<usize>,
}

impl Place {
    /// The name of the file or the environment variable.
    pub fn source_name(&self) -> &str {
        &self.source.name
    }

    /// Whether it is an environment variable's text.
    pub(crate) fn is_environment(&self) -> bool {
        self.source_name().starts_with('$')
    }

    /// Line and column, both counted from 1; the column in characters.
    pub fn line_column(&self) -> (usize, usize) {
        let (line, column) = self.source.line_column(self.span.start);
        (line + 1, column + 1)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_column();
        write!(f, "{}:{line}:{column}", self.source_name())
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Date(String),
    Array(Vec<Node>),
    Table(Table),
    /// What could not be read, which has been told already.
    Broken,
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// Keys with their values, in the order in which they were written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) node: Node,
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }
}

impl Value {
    /// What people call it, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a floating-point number",
            Self::Text(_) => "a text",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
            Self::Date(_) => "a date or time",
            Self::Broken => "unreadable",
        }
    }

    /// The value without its places.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null | Self::Broken => Json::Null,
            Self::Bool(bool) => Json::Bool(*bool),
            Self::Integer(integer) => match (i64::try_from(*integer), u64::try_from(*integer)) {
                (Ok(signed), _) => signed.into(),
                (_, Ok(unsigned)) => unsigned.into(),
                _ => Json::String(integer.to_string()),
            },
            Self::Float(float) => (*float).into(),
            Self::Text(text) | Self::Date(text) => text.as_str().into(),
            Self::Array(items) => items.iter().map(|item| item.value.to_json()).collect(),
            Self::Table(table) => {
                let entries = table.entries.iter();
                let pairs = entries.map(|entry| (entry.key.clone(), entry.node.value.to_json()));
                Json::Object(pairs.collect())
            }
        }
    }
}

impl fmt::Display for Value {
    /// As a message quotes it: short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(bool) => bool.fmt(f),
            Self::Integer(integer) => integer.fmt(f),
            Self::Float(float) => float.fmt(f),
            Self::Text(text) if text.chars().count() > 60 => {
                let start: String = text.chars().take(57).collect();
                write!(f, "\"{}...\"", start.escape_debug())
            }
            Self::Text(text) => write!(f, "\"{}\"", text.escape_debug()),
            Self::Array(items) if items.is_empty() => f.write_str("[]"),
            other => f.write_str(other.kind()),
        }
    }
}
