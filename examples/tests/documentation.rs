//! That files in the documentation of applications are files that an application takes.

use dpdk_net::config::{File, Format};

#[test]
fn files_in_the_documentation_can_be_read() {
    let docs = include_str!("../../docs/app.md");
    let files: Vec<&str> = docs
        .split("```toml\n")
        .skip(1)
        .filter_map(|rest| rest.split("```").next())
        .collect();
    assert!(!files.is_empty());
    for text in files {
        if let Err(problems) = File::parse("app.md", text, Format::Toml, []) {
            panic!("{problems}");
        }
    }
}
