//! Values as people write them: here what most keys are, beside it what has a noun of its own.

use std::path::PathBuf;

use serde_json::{Value as Json, json};

use crate::decode::{Reader, Setting};
use crate::tree::{Node, Value};

mod choice;
mod net;
mod size;
mod text;
mod time;

pub(crate) use choice::{choice, word};
pub use net::{Cidr, Destination, PciAddress};
pub use size::Size;
pub(crate) use text::Written;
pub use time::Time;

impl Setting for bool {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Bool(bool) => Some(*bool),
            Value::Text(text)
                if matches!(
                    text.as_str(),
                    "true" | "false" | "on" | "off" | "yes" | "no"
                ) =>
            {
                let plain = matches!(text.as_str(), "true" | "on" | "yes");
                let help = format!("write {plain}, without quotation marks");
                reader.wrong_type_but(node, "true or false", Some(help));
                None
            }
            _ => {
                reader.wrong_type(node, "true or false");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }

    fn to_json(&self) -> Json {
        (*self).into()
    }
}

macro_rules! integer {
    ($($ty:ty),*) => {
        $(
            impl Setting for $ty {
                fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
                    let Value::Integer(integer) = node.value else {
                        match &node.value {
                            Value::Text(text) if text.parse::<$ty>().is_ok() => {
                                let help = format!("write {text}, without quotation marks");
                                reader.wrong_type_but(node, "an integer", Some(help));
                            }
                            _ => reader.wrong_type(node, "an integer"),
                        }
                        return None;
                    };
                    let read = <$ty>::try_from(integer).ok();
                    if read.is_none() {
                        let (min, max) = reader.allowed(<$ty>::MIN.into(), <$ty>::MAX.into());
                        let why = format!("it may be {min} to {max}");
                        reader.bad_value(node, why, None);
                    }
                    read
                }

                fn schema() -> Json {
                    json!({ "type": "integer", "minimum": <$ty>::MIN, "maximum": <$ty>::MAX })
                }

                fn to_json(&self) -> Json {
                    (*self).into()
                }

                fn number(&self) -> Option<u64> {
                    Some((*self).into())
                }
            }
        )*
    };
}
integer!(u8, u16, u32, u64);

impl Setting for String {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text.contains('\0') => {
                reader.bad_value(node, "it has a NUL character", None);
                None
            }
            Value::Text(text) if text.is_empty() => {
                reader.bad_value(node, "it is empty", Some("leave the key out".to_owned()));
                None
            }
            Value::Text(text) => Some(text.clone()),
            other => {
                // Only in variables does it depend on the text whether it is one.
                let help = node.place.is_environment().then(|| {
                    format!(
                        "a text that looks like {} stands in quotation marks",
                        other.kind()
                    )
                });
                reader.wrong_type_but(node, "a text", help);
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }

    fn to_json(&self) -> Json {
        self.as_str().into()
    }
}

impl Setting for PathBuf {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        String::decode(node, reader).map(Self::from)
    }

    fn schema() -> Json {
        String::schema()
    }

    fn to_json(&self) -> Json {
        self.to_string_lossy().into_owned().into()
    }
}

/// A number, which may have a fraction, and what comes after it.
fn split(text: &str) -> Option<(u64, u64, u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let scale = 10_u64.pow(fraction.len() as u32);
    let part = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    Some((whole.parse().ok()?, part, scale, unit.trim()))
}
