//! What is wrong with a file, all of it at once, as people want to be told.

use std::fmt;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, Severity, SourceCode,
};

use crate::tree::Place;

/// What sort of mistake something is; [`Problem::kind`] has the words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Unreadable,
    Syntax,
    UnknownKey,
    MissingKey,
    WrongType,
    BadValue,
    Contradiction,
    Environment,
    Refused,
    Warning,
}

impl Kind {
    fn word(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Syntax => "syntax",
            Self::UnknownKey => "unknown-key",
            Self::MissingKey => "missing-key",
            Self::WrongType => "wrong-type",
            Self::BadValue => "bad-value",
            Self::Contradiction => "contradiction",
            Self::Environment => "environment",
            Self::Refused => "refused",
            Self::Warning => "warning",
        }
    }
}

/// One mistake: what, where, and what to do.
#[derive(Debug, Clone)]
pub struct Problem {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    /// The setting, as in `port[0].mtu`; empty where it is about the text itself.
    pub(crate) path: String,
    pub(crate) place: Option<Place>,
    pub(crate) label: String,
    /// Other places that have to do with it, of the same text.
    pub(crate) also: Vec<(Place, String)>,
    pub(crate) help: Option<String>,
    /// Settings without which there would be no problem, or another: where one of them could not be read, nothing is said.
    pub(crate) depends: Vec<String>,
    /// Other settings that it is about.
    pub(crate) also_about: Vec<String>,
}

/// The longest message, in characters: what is longer has a value of the file in it.
const LONGEST: usize = 800;

/// A text for a terminal: without control characters, which may be in what it quotes, and not too long.
fn shown(text: String) -> String {
    let is_plain = |c: char| !c.is_control() || c == '\n';
    if text.len() <= LONGEST && text.chars().all(is_plain) {
        return text;
    }
    let mut short = String::new();
    for c in text.chars().take(LONGEST) {
        match is_plain(c) {
            true => short.push(c),
            false => short.extend(c.escape_default()),
        }
    }
    if text.chars().nth(LONGEST).is_some() {
        short.push_str("...");
    }
    short
}

/// Whether a setting is another, or in it.
fn within(outer: &str, inner: &str) -> bool {
    let rest = inner.strip_prefix(outer);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl Problem {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: shown(message.into()),
            path: String::new(),
            place: None,
            label: String::new(),
            also: Vec::new(),
            help: None,
            depends: Vec::new(),
            also_about: Vec::new(),
        }
    }

    /// Whether it may be there only because a setting could not be read.
    pub(crate) fn follows_from(&self, unread: &str) -> bool {
        within(unread, &self.path)
            || self.also_about.iter().any(|own| within(unread, own))
            || (self.depends.iter()).any(|own| within(unread, own) || within(own, unread))
    }

    pub(crate) fn at(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.place = Some(place.clone());
        self.label = label.into();
        self
    }

    pub(crate) fn on(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(shown(help.into()));
        self
    }

    pub(crate) fn also(mut self, place: &Place, label: impl Into<String>) -> Self {
        self.also.push((place.clone(), label.into()));
        self
    }

    /// Whether another place is shown with its own.
    fn shows(&self, other: &Place) -> bool {
        self.place.as_ref().is_some_and(|place| {
            Arc::ptr_eq(&other.source, &place.source)
                && place.source.together(place.span.start, other.span.start)
        })
    }

    /// The kind of mistake, for programs:
    ///
    /// | | |
    /// |---|---|
    /// | `unreadable` | there is no text: no such file, no permission, no UTF-8 |
    /// | `syntax` | the text is no TOML, or no JSON; a key is there twice |
    /// | `unknown-key` | there is no such section or key |
    /// | `missing-key` | a key that has to be there, or one of several, is not |
    /// | `wrong-type` | a text where a number should be, say |
    /// | `bad-value` | the right type, and a value that this key can't have |
    /// | `contradiction` | each setting alone may be so, and not beside the others |
    /// | `environment` | a variable's name leads nowhere, or it is empty |
    /// | `refused` | the machine can't do what is asked for ([`File::refuse`](crate::File::refuse)) |
    /// | `warning` | it can, and not as it is meant perhaps ([`File::warn`](crate::File::warn)) |
    pub fn kind(&self) -> &'static str {
        self.kind.word()
    }

    /// What is wrong.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The setting that it is about, as in `port[0].mtu`. Empty where it is about the text itself.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Where it was written.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// What to do about it.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Problem {}

impl Diagnostic for Problem {
    fn severity(&self) -> Option<Severity> {
        match self.kind {
            Kind::Warning => Some(Severity::Warning),
            _ => Some(Severity::Error),
        }
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        let mut lines: Vec<String> = self.help.iter().cloned().collect();
        // A label can't show what is in another text, or far away on a line.
        let others = self.also.iter().filter(|(other, _)| !self.shows(other));
        lines.extend(others.map(|(other, label)| format!("{label}: {other}")));
        (!lines.is_empty()).then(|| Box::new(lines.join("\n")) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        let place = self.place.as_ref()?;
        Some(&place.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let place = self.place.as_ref()?;
        let label = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        let span = |place: &Place| place.source.underlined(&place.span);
        let first = LabeledSpan::new_primary_with_span(label(&self.label), span(place));
        let also = self.also.iter().filter(|(other, _)| self.shows(other));
        let also =
            also.map(move |(other, text)| LabeledSpan::new_with_span(label(text), span(other)));
        Some(Box::new(std::iter::once(first).chain(also)))
    }
}

/// Problems that are shown, and whose causes are gone into: nobody reads more of them at a time.
pub(crate) const MOST_SHOWN: usize = 100;

/// All that is wrong with a configuration. It is shown with the lines that it is about.
///
/// Its `Debug` is the same text, so that a `main` that returns it tells people what to do.
#[derive(Clone)]
pub struct Problems {
    pub(crate) list: Vec<Problem>,
}

impl Problems {
    /// Those of the file first, in the order of its lines; at least one.
    pub(crate) fn new(mut list: Vec<Problem>) -> Self {
        list.sort_by_key(|problem| {
            problem.place.as_ref().map_or((2, 0), |place| {
                (usize::from(place.is_environment()), place.span.start)
            })
        });
        Self { list }
    }

    /// Each of them.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// How many there are.
    #[allow(clippy::len_without_is_empty)] // There is always one.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// As text for a terminal of this width in columns, with colours or without. Of very many problems, the first hundred.
    pub fn render(&self, colours: bool, width: usize) -> String {
        let theme = if colours {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_width(width.max(40))
            .with_links(false);
        let mut text = String::new();
        for problem in self.list.iter().take(MOST_SHOWN) {
            // Writing to a `String` does not fail.
            let _ = handler.render_report(&mut text, problem);
        }
        let (len, plural) = match self.list.len() {
            1 => (1, ""),
            len => (len, "s"),
        };
        let shown = match len > MOST_SHOWN {
            true => format!(", of which these are the first {MOST_SHOWN}"),
            false => String::new(),
        };
        let what = match self.list.iter().all(|it| it.kind == Kind::Warning) {
            true => "warning",
            false => "problem",
        };
        text.push_str(&format!("{len} {what}{plural}{shown}\n"));
        text
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self::new(vec![problem])
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false, 100))
    }
}

impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration can't be used\n\n{self}")
    }
}

impl std::error::Error for Problems {}
