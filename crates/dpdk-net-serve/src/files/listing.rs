//! The page that lists a directory.

use std::ffi::OsString;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;

use axum::response::{Html, IntoResponse, Response};

use crate::path;

/// A file or a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: OsString,
    /// Bytes of a file; `None` of a directory.
    pub(super) size: Option<u64>,
}

/// The page of the directory at a decoded path.
pub(super) fn page(decoded: &[u8], entries: &[Entry]) -> Response {
    let title = escaped(&String::from_utf8_lossy(decoded));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>{title}</title>\n<h1>{title}</h1>\n<table>\n"
    );
    if decoded != b"/" {
        page.push_str("<tr><td><a href=\"../\">../</a><td>\n");
    }
    for entry in entries {
        let slash = if entry.size.is_none() { "/" } else { "" };
        let name = escaped(&entry.name.to_string_lossy());
        // `./` keeps a name with a colon from being taken for a scheme.
        let link = escaped(&path::encode(entry.name.as_bytes()));
        let size = entry.size.map(|size| size.to_string()).unwrap_or_default();
        // Writing to a String cannot fail.
        let _ = writeln!(
            page,
            "<tr><td><a href=\"./{link}{slash}\">{name}{slash}</a><td>{size}"
        );
    }
    page.push_str("</table>\n</html>\n");
    Html(page).into_response()
}

/// Text for HTML, in an attribute too.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn names_are_escaped() {
        let entries = [
            Entry {
                name: "<script>\"'&".into(),
                size: Some(3),
            },
            Entry {
                name: "a:b c".into(),
                size: None,
            },
        ];
        let page = page(b"/<b>/", &entries).into_body();
        let page = axum::body::to_bytes(page, 1 << 16).await.unwrap();
        let page = std::str::from_utf8(&page).unwrap();
        assert!(page.contains("<h1>/&lt;b&gt;/</h1>"), "{page}");
        assert!(
            page.contains(
                "href=\"./%3Cscript%3E%22&#39;&amp;\">&lt;script&gt;&quot;&#39;&amp;</a><td>3"
            ),
            "{page}"
        );
        assert!(page.contains("href=\"./a:b%20c/\">a:b c/</a>"), "{page}");
    }
}
