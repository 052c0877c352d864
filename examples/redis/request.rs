//! Requests as they come in: arrays of bulk strings and nothing else, or a line of words.
//!
//! They are read here: redis-protocol's decoder would take arrays in arrays, knows no limits, and begins at the front again each time
//! that more of a large request has come.

use std::ops::Range;

use super::Limits;

/// Arguments of a command, as in Redis.
const MAX_ARGUMENTS: usize = 1 << 20;
/// Bytes of an inline command, as in Redis.
const MAX_INLINE: usize = 64 << 10;

/// A request that is coming in: where its arguments lie in the input.
#[derive(Debug, Default)]
pub(super) struct Request {
    pub(super) arguments: Vec<Range<usize>>,
    /// Arguments that are still to come, once the first line is there.
    pub(super) missing: Option<usize>,
    /// As far as the input has been read.
    pub(super) at: usize,
}

impl Request {
    /// Reads on. `false` if there is more to come; else the request has all its arguments and ends at `at`.
    pub(super) fn read(&mut self, input: &[u8], limits: &Limits) -> Result<bool, String> {
        if self.missing.is_none() {
            match input.first() {
                None => return Ok(false),
                Some(b'*') => {
                    let Some(count) = self.number(input, 0, "invalid multibulk length")? else {
                        return Ok(false);
                    };
                    // Redis takes *0 and *-1 for nothing.
                    let count = usize::try_from(count).unwrap_or(0);
                    if count > MAX_ARGUMENTS {
                        return Err("invalid multibulk length".into());
                    }
                    self.missing = Some(count);
                }
                Some(_) => return self.inline(input),
            }
        }
        while let Some(missing @ 1..) = self.missing {
            let start = self.at;
            match input.get(start) {
                None => return Ok(false),
                Some(b'$') => {}
                Some(other) => {
                    let got = other.escape_ascii();
                    return Err(format!("expected '$', got '{got}'"));
                }
            }
            let Some(length) = self.number(input, start, "invalid bulk length")? else {
                return Ok(false);
            };
            let begin = self.at;
            let end = usize::try_from(length)
                .ok()
                .and_then(|length| begin.checked_add(length))
                .filter(|end| *end <= limits.max_request)
                .ok_or("invalid bulk length")?;
            if input.len() < end + 2 {
                // This line is read again when there is more.
                self.at = start;
                return Ok(false);
            }
            if input[end..end + 2] != *b"\r\n" {
                return Err("expected CRLF behind a bulk string".into());
            }
            self.arguments.push(begin..end);
            self.at = end + 2;
            self.missing = Some(missing - 1);
        }
        Ok(true)
    }

    /// The number behind the type's byte at `start`, if its line is whole; `at` is then behind that.
    pub(super) fn number(
        &mut self,
        input: &[u8],
        start: usize,
        wrong: &str,
    ) -> Result<Option<i64>, String> {
        const LONGEST: usize = 32;
        let line = &input[start + 1..];
        let Some(end) = line.iter().take(LONGEST).position(|byte| *byte == b'\n') else {
            return if line.len() < LONGEST {
                Ok(None)
            } else {
                Err(wrong.into())
            };
        };
        let number = line[..end].strip_suffix(b"\r").and_then(number);
        self.at = start + 1 + end + 1;
        number.map(Some).ok_or_else(|| wrong.into())
    }

    /// A line of words, as a person types them; a word with blanks is in quotes.
    pub(super) fn inline(&mut self, input: &[u8]) -> Result<bool, String> {
        let Some(end) = input
            .iter()
            .take(MAX_INLINE)
            .position(|byte| *byte == b'\n')
        else {
            let fits = input.len() < MAX_INLINE;
            return if fits {
                Ok(false)
            } else {
                Err("too big inline request".into())
            };
        };
        let mut at = 0;
        while at < end {
            let byte = input[at];
            if byte.is_ascii_whitespace() {
                at += 1;
                continue;
            }
            let quoted = matches!(byte, b'"' | b'\'');
            let begin = at + usize::from(quoted);
            let is_last = |other: &u8| {
                if quoted {
                    *other == byte
                } else {
                    other.is_ascii_whitespace()
                }
            };
            let length = input[begin..end].iter().position(is_last);
            if quoted && length.is_none() {
                return Err("unbalanced quotes in request".into());
            }
            let stop = length.map_or(end, |length| begin + length);
            self.arguments.push(begin..stop);
            at = stop + 1;
        }
        self.at = end + 1;
        Ok(true)
    }
}

pub(super) fn number(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}
