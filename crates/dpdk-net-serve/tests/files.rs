//! Files over HTTP: whole, in part, compressed, unchanged, and those that are nobody's business.

mod common;

use std::fs;
use std::os::unix::fs::symlink;

use common::{Server, pattern, request};
use dpdk_net_serve::{Files, RouteRule, Site, Status, Target};
use tempfile::TempDir;

/// `root` with files, and `secret` beside it.
fn tree() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("root");
    fs::create_dir_all(root.join("sub")).unwrap();
    fs::create_dir_all(root.join("evil.example")).unwrap();
    fs::write(root.join("index.html"), "<p>home").unwrap();
    fs::write(root.join("a.txt"), "0123456789").unwrap();
    fs::write(root.join("a.txt.gz"), "compressed").unwrap();
    fs::write(root.join("sp ace.txt"), "space").unwrap();
    fs::write(root.join(".env"), "secret").unwrap();
    fs::write(directory.path().join("secret"), "secret").unwrap();
    symlink("../secret", root.join("link")).unwrap();
    directory
}

async fn server(directory: &TempDir, path: &str, listing: bool) -> Server {
    let files = Files {
        listing,
        ..Files::new(directory.path().join("root"))
    };
    Server::start(Site::new([RouteRule::new(path, Target::Files(files))])).await
}

#[tokio::test]
async fn a_file_comes_with_its_type_length_and_date_and_head_without_it() {
    let directory = tree();
    let server = server(&directory, "/", false).await;
    let answer = server.get("/a.txt").await;
    assert_eq!((answer.status, answer.text()), (200, "0123456789"));
    assert_eq!(answer.header("content-type"), Some("text/plain"));
    assert_eq!(answer.header("content-length"), Some("10"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert!(answer.header("last-modified").is_some());
    let head = server.exchange(request("HEAD", "/a.txt", &[])).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("10"));
    assert_eq!(server.get("/").await.text(), "<p>home");
    assert_eq!(server.get("/sp%20ace.txt").await.text(), "space");
    assert_eq!(server.get("/none").await.status, 404);
}

#[tokio::test]
async fn an_unchanged_file_is_not_sent_again() {
    let directory = tree();
    let server = server(&directory, "/", false).await;
    let first = server.get("/a.txt").await;
    for (name, condition) in [
        ("last-modified", "If-Modified-Since"),
        ("etag", "If-None-Match"),
    ] {
        let condition = format!("{condition}: {}", first.header(name).unwrap());
        let again = server
            .exchange(request("GET", "/a.txt", &[&condition]))
            .await;
        assert_eq!((again.status, again.body.len()), (304, 0), "{condition}");
    }
    let long_ago = "If-Modified-Since: Thu, 01 Jan 1970 00:00:01 GMT";
    let changed = server.exchange(request("GET", "/a.txt", &[long_ago])).await;
    assert_eq!((changed.status, changed.text()), (200, "0123456789"));
}

#[tokio::test]
async fn ranges_are_parts_of_a_file() {
    let directory = tree();
    let server = server(&directory, "/", false).await;
    for (range, status, body, content_range) in [
        ("bytes=2-4", 206, "234", Some("bytes 2-4/10")),
        ("bytes=7-", 206, "789", Some("bytes 7-9/10")),
        ("bytes=-3", 206, "789", Some("bytes 7-9/10")),
        ("bytes=8-99", 206, "89", Some("bytes 8-9/10")),
        ("bytes=10-", 416, "", Some("bytes */10")),
    ] {
        let header = format!("Range: {range}");
        let answer = server.exchange(request("GET", "/a.txt", &[&header])).await;
        assert_eq!((answer.status, answer.text()), (status, body), "{range}");
        assert_eq!(answer.header("content-range"), content_range, "{range}");
    }
}

#[tokio::test]
async fn a_compressed_form_is_for_those_who_take_it() {
    let directory = tree();
    let server = server(&directory, "/", false).await;
    let accept = "Accept-Encoding: br, gzip";
    let answer = server.exchange(request("GET", "/a.txt", &[accept])).await;
    assert_eq!(answer.header("content-encoding"), Some("gzip"));
    assert_eq!(answer.text(), "compressed");
    let plain = server.get("/a.txt").await;
    assert_eq!(
        (plain.header("content-encoding"), plain.text()),
        (None, "0123456789")
    );
}

#[tokio::test]
async fn a_compressed_form_that_leads_out_is_none() {
    let directory = tree();
    let server = server(&directory, "/", false).await;
    symlink("../secret", directory.path().join("root/sp ace.txt.gz")).unwrap();
    for method in ["GET", "HEAD"] {
        let request = request(method, "/sp%20ace.txt", &["Accept-Encoding: gzip"]);
        let answer = server.exchange(request).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.header("content-encoding"), None);
        assert_eq!(answer.header("content-length"), Some("5"));
    }
}

#[tokio::test]
async fn names_need_not_be_utf8_and_may_look_like_compressed_forms() {
    use std::os::unix::ffi::OsStrExt;
    let directory = tree();
    let server = server(&directory, "/", false).await;
    let root = directory.path().join("root");
    fs::write(root.join(std::ffi::OsStr::from_bytes(b"\xff.css")), "css").unwrap();
    fs::write(root.join("b.tar.gz"), "packed").unwrap();
    for (path, kind, text) in [
        ("/%ff.css", "text/css", "css"),
        ("/b.tar.gz", "application/gzip", "packed"),
        ("/a.txt.gz", "application/gzip", "compressed"),
    ] {
        let accept = "Accept-Encoding: gzip";
        let answer = server.exchange(request("GET", path, &[accept])).await;
        assert_eq!((answer.status, answer.text()), (200, text), "{path}");
        assert_eq!(answer.header("content-type"), Some(kind), "{path}");
        assert_eq!(answer.header("content-encoding"), None, "{path}");
    }
}

#[tokio::test]
async fn nothing_outside_the_root_or_hidden_is_served_however_it_is_asked_for() {
    let directory = tree();
    let server = server(&directory, "/files", true).await;
    for path in [
        "/files/../secret",
        "/files/..%2fsecret",
        "/files/%2e%2e/secret",
        "/files/%2e%2e%2fsecret",
        "/files/..%5csecret",
        "/files/....//secret",
        "/files/sub/../../secret",
        "/files/%252e%252e/secret",
        "/files/..;/secret",
        "/files//../secret",
        "/../secret",
        "/files/link",
        "/files/.env",
        "/files/%2eenv",
        "/files/a.txt%00",
        "/files/%00",
        "/files/..%00/secret",
        "/files/a.txt%0d%0aX: y",
        "/files/%c0%ae%c0%ae/secret",
        "/files/%",
        "/files/%ff",
        "/files/a.txt/",
        "/files/a.txt/x",
        "/filesa.txt",
        "http://a.example/files/../secret",
    ] {
        let answer = server.get(path).await;
        assert!(matches!(answer.status, 400 | 404), "{path}: {answer:?}");
        assert!(!answer.text().contains("secret\n"), "{path}");
        assert_ne!(answer.text(), "secret", "{path}");
    }
    let long = format!("/files/{}", "x/".repeat(5_000));
    assert_eq!(server.get(&long).await.status, 404);
}

#[tokio::test]
async fn a_directory_without_its_slash_is_redirected_to_itself_and_nowhere_else() {
    let directory = tree();
    let server = server(&directory, "/", false).await;
    for (path, location) in [
        ("/sub", "/sub/"),
        ("/sub?a=b", "/sub/?a=b"),
        ("//evil.example", "/evil.example/"),
        ("///evil.example", "/evil.example/"),
        ("/%2fevil.example", "/evil.example/"),
    ] {
        let answer = server.get(path).await;
        assert_eq!(answer.status, 301, "{path}");
        assert_eq!(answer.header("location"), Some(location), "{path}");
    }
    assert_eq!(
        server.get("/sub/").await.status,
        404,
        "no index, no listing"
    );
}

#[tokio::test]
async fn a_listing_is_there_if_it_is_wanted() {
    let directory = tree();
    fs::write(directory.path().join("root/sub/<b>"), "").unwrap();
    let server = server(&directory, "/", true).await;
    let answer = server.get("/sub/").await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("&lt;b&gt;"), "{}", answer.text());
    assert!(!answer.text().contains("<b>"), "{}", answer.text());
}

#[tokio::test]
async fn files_are_only_read() {
    let directory = tree();
    let server = server(&directory, "/", false).await;
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = server
            .exchange(request(method, "/a.txt", &["Content-Length: 0"]))
            .await;
        assert_eq!(answer.status, 405, "{method}");
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method}");
    }
    for method in ["TRACE", "CONNECT"] {
        let answer = server.exchange(request(method, "/a.txt", &[])).await;
        assert!(matches!(answer.status, 400 | 405), "{method}: {answer:?}");
    }
}

#[tokio::test]
async fn a_large_file_comes_whole() {
    let directory = tree();
    let content = pattern(20 << 20);
    fs::write(directory.path().join("root/large.bin"), &content).unwrap();
    let server = server(&directory, "/", false).await;
    let answer = server.get("/large.bin").await;
    assert_eq!(
        answer.header("content-type"),
        Some("application/octet-stream")
    );
    assert!(
        answer.complete && answer.body == content,
        "{} bytes",
        answer.body.len()
    );
}

#[tokio::test]
async fn hosts_and_paths_choose_the_route() {
    let status = |status, body| Target::Status(Status::new(status, body));
    let mut moved = dpdk_net_serve::Redirect::new("https://b.example/");
    moved.keep_path = true;
    let server = Server::start(Site::new([
        RouteRule::new("/", status(200, "any")),
        RouteRule::new("/admin", status(403, "no")),
        RouteRule::new("/", status(200, "b")).host("b.example"),
        RouteRule::new("/old", Target::Redirect(moved)),
    ]))
    .await;
    assert_eq!(server.get("/x").await.text(), "any\n");
    for path in [
        "/admin",
        "/admin/",
        "/%61dmin",
        "//admin//x",
        "/admin%2fx",
        "http://a.example/admin",
    ] {
        assert_eq!(server.get(path).await.status, 403, "{path}");
    }
    assert_eq!(server.get("http://B.example:80/x").await.text(), "b\n");
    let moved = server.get("/old/a%20b?q=1").await;
    assert_eq!(moved.status, 308);
    assert_eq!(
        moved.header("location"),
        Some("https://b.example/a%20b?q=1")
    );
}
