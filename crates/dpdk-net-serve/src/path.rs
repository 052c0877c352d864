//! The path of a request as routes and files see it: percent-decoded, and free of what leads elsewhere.
//!
//! A route that guards `/admin` must not be passed by `/%61dmin`, `//admin` or `/x/../admin`. So routes are matched on
//! the decoded path with slashes collapsed, and dot segments are refused: clients resolve them before they ask
//! (RFC 3986 section 5.2.4), what still has them means to confuse.

use percent_encoding::{AsciiSet, CONTROLS, percent_encode};

/// What is encoded in a path that we write: all but unreserved characters, `/` and those that RFC 3986 allows in a
/// segment as they are.
const ENCODED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// A decoded path: begins with `/`, has no empty, `.` or `..` segments and no control characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestPath(Vec<u8>);

/// A path that is answered with 400.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadPath;

impl RequestPath {
    /// Reads the path of a request's target.
    pub(crate) fn parse(raw: &str) -> Result<Self, BadPath> {
        Self::of_decoded(decode(raw)?)
    }

    /// The same of a path that is decoded already.
    pub(crate) fn of_decoded(decoded: Vec<u8>) -> Result<Self, BadPath> {
        if decoded.first() != Some(&b'/') || decoded.iter().any(u8::is_ascii_control) {
            return Err(BadPath);
        }
        let mut path = Vec::with_capacity(decoded.len());
        for byte in decoded {
            if byte != b'/' || path.last() != Some(&b'/') {
                path.push(byte);
            }
        }
        // Some servers take `..;x` for `..` too (matrix parameters).
        let leads_elsewhere = |segment: &[u8]| {
            let name = segment.split(|byte| *byte == b';').next();
            matches!(name, Some(b"." | b".."))
        };
        if path.split(|byte| *byte == b'/').any(leads_elsewhere) {
            return Err(BadPath);
        }
        Ok(Self(path))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What remains after `prefix`, which has no slash at its end: nothing, or a path that begins with `/`. `None` if
    /// the prefix does not fit. Parameters of segments (RFC 3986 section 3.3) do not count: `/admin;x` is within `/admin`, as
    /// there are upstreams that leave them out before they look.
    pub(crate) fn beyond(&self, prefix: &str) -> Option<&[u8]> {
        let mut rest = self.0.as_slice();
        for wanted in prefix.split('/').skip(1) {
            rest = rest.strip_prefix(b"/")?;
            let end = rest.iter().position(|byte| *byte == b'/');
            let (segment, after) = rest.split_at(end.unwrap_or(rest.len()));
            let plain = segment.split(|byte| *byte == b';').next();
            if segment != wanted.as_bytes() && plain != Some(wanted.as_bytes()) {
                return None;
            }
            rest = after;
        }
        matches!(rest.first(), None | Some(b'/')).then_some(rest)
    }
}

/// A decoded path, written for a header. It never begins with `//` or `/\`, which browsers take for a host.
pub(crate) fn encode(path: &[u8]) -> String {
    percent_encode(path, ENCODED).to_string()
}

/// RFC 3986 section 2.1, strictly: a `%` that is no encoding is refused.
fn decode(raw: &str) -> Result<Vec<u8>, BadPath> {
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || {
            let digit = char::from(bytes.next()?).to_digit(16)?;
            u8::try_from(digit).ok()
        };
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(BadPath);
        };
        decoded.push(high << 4 | low);
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(raw: &str) -> Option<String> {
        let path = RequestPath::parse(raw).ok()?;
        Some(String::from_utf8(path.0).unwrap())
    }

    #[test]
    fn paths_are_decoded_and_their_slashes_collapsed() {
        for (raw, path) in [
            ("/", "/"),
            ("/%61dmin", "/admin"),
            ("//admin", "/admin"),
            ("/a/%2F/b/", "/a/b/"),
            ("/caf%C3%A9", "/café"),
            ("/...", "/..."),
            ("/.well-known/x", "/.well-known/x"),
            ("/a%20b", "/a b"),
        ] {
            assert_eq!(parse(raw).as_deref(), Some(path), "{raw}");
        }
    }

    #[test]
    fn what_leads_elsewhere_is_refused() {
        for raw in [
            "/..",
            "/../x",
            "/a/..",
            "/a/../b",
            "/%2e%2e/x",
            "/%2E./x",
            "/a%2f..%2fb",
            "/./x",
            "/a/.",
            "/..;/x",
            "/%2e%2e;a=b/x",
            "/a%00b",
            "/a%0d%0ab",
            "/%",
            "/%4",
            "/%zz",
            "*",
            "",
            "a/b",
            "/%7f",
        ] {
            assert_eq!(parse(raw), None, "{raw}");
        }
    }

    #[test]
    fn a_prefix_fits_whole_segments() {
        let path = RequestPath::parse("/a/b").unwrap();
        assert_eq!(path.beyond("/a"), Some(&b"/b"[..]));
        assert_eq!(path.beyond("/a/b"), Some(&b""[..]));
        assert_eq!(path.beyond(""), Some(&b"/a/b"[..]));
        assert_eq!(path.beyond("/a/"), None);
        assert_eq!(RequestPath::parse("/ab").unwrap().beyond("/a"), None);
        let guarded = RequestPath::parse("/admin;x=1/a;b/c").unwrap();
        assert_eq!(guarded.beyond("/admin"), Some(&b"/a;b/c"[..]));
        assert_eq!(guarded.beyond("/admin/a"), Some(&b"/c"[..]));
        assert_eq!(guarded.beyond("/admin;x=1/a;b"), Some(&b"/c"[..]));
        assert_eq!(guarded.beyond("/adm"), None);
    }

    #[test]
    fn what_is_written_decodes_to_the_same() {
        let path = b"/a b/%/?#\\/\xff/;=";
        let written = encode(path);
        assert_eq!(written, "/a%20b/%25/%3F%23%5C/%FF/;=");
        assert_eq!(decode(&written).unwrap(), path);
    }
}
