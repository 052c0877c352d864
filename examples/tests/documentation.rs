//! That files in the documentation of applications are files that an application takes.

use dpdk_net::config::{File, Format};

#[test]
fn files_in_the_documentation_can_be_read() {
    let pages = [
        ("app.md", include_str!("../../docs/app.md")),
        ("tls.md", include_str!("../../docs/tls.md")),
    ];
    for (page, docs) in pages {
        let files: Vec<&str> = docs
            .split("```toml\n")
            .skip(1)
            .filter_map(|rest| rest.split("```").next())
            .collect();
        assert!(!files.is_empty());
        for text in files {
            if let Err(problems) = File::parse(page, text, Format::Toml, []) {
                panic!("{problems}");
            }
        }
    }
}
