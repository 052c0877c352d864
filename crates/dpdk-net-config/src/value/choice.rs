//! Words of a choice.

use crate::decode::Reader;
use crate::suggest::{nearest, suggestion};
use crate::tree::{Node, Value};

/// A choice of words.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident {
            $(
                $(#[doc = $word_doc:literal])*
                $variant:ident = $word:literal
            ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $(
                $(#[doc = $word_doc])*
                $variant,
            )*
        }

        impl $name {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word of it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl $crate::decode::Setting for $name {
            fn decode(
                node: &$crate::tree::Node,
                reader: &mut $crate::decode::Reader,
            ) -> Option<Self> {
                $crate::value::word(node, reader, Self::ALL, Self::word)
            }

            fn schema() -> serde_json::Value {
                let docs: &[&[&str]] = &[$(&[$($word_doc),*]),*];
                let docs: Vec<String> = docs.iter().map(|lines| $crate::decode::prose(lines)).collect();
                serde_json::json!({ "enum": [$($word),*], "enumDescriptions": docs })
            }

            fn to_json(&self) -> serde_json::Value {
                self.word().into()
            }
        }
    };
}
pub(crate) use choice;

/// Reads one of several words.
pub(crate) fn word<T: Copy>(
    node: &Node,
    reader: &mut Reader,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Option<T> {
    let words: Vec<&str> = all.iter().map(|one| name(*one)).collect();
    // People switch things on and off in many ways.
    let switch = |on: bool| {
        let word = if on { "on" } else { "off" };
        words.contains(&word).then(|| format!("write \"{word}\""))
    };
    let Value::Text(text) = &node.value else {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let help = match &node.value {
            Value::Bool(on) => switch(*on),
            _ => None,
        };
        reader.wrong_type_but(node, &format!("one of {}", quoted.join(", ")), help);
        return None;
    };
    let found = all.iter().find(|one| name(**one) == text);
    if found.is_none() {
        let why = format!("it is one of {}", words.join(", "));
        let help = match (text.as_str(), nearest(text, &words).as_slice()) {
            ("yes" | "true", _) => switch(true),
            ("no" | "false", _) => switch(false),
            (_, []) => None,
            (text, _) => Some(suggestion(text, &words)),
        };
        reader.bad_value(node, why, help);
    }
    found.copied()
}
