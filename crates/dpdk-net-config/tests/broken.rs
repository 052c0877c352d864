//! Files with mistakes that people make, `tests/broken/`, and what they are told about each: the `.snap` beside it.
//!
//! A change of what is told shows there. Before it is accepted (`INSTA_UPDATE=always`) it is read as the operator would
//! read it: what is wrong, where, and what to do.

use std::collections::BTreeSet;

use dpdk_net_config::File;

/// Relative, as messages have it; tests run in the crate's directory.
const CORPUS: &str = "tests/broken";

/// Names of the files in the corpus with one of these endings.
fn names(endings: &[&str]) -> BTreeSet<String> {
    std::fs::read_dir(CORPUS)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| endings.iter().any(|ending| name.ends_with(ending)))
        .collect()
}

#[test]
fn operators_are_told_of_all_mistakes_and_what_to_do() {
    let files = names(&[".toml", ".json"]);
    assert!(files.len() >= 100, "where is the corpus?");
    let mut taken = Vec::new();
    for name in &files {
        let Err(problems) = File::read(format!("{CORPUS}/{name}")) else {
            taken.push(name);
            continue;
        };
        insta::with_settings!({
            omit_expression => true,
            prepend_module_to_snapshot => false,
            snapshot_path => "broken",
        }, {
            insta::assert_snapshot!(name.as_str(), problems);
        });
    }
    assert!(taken.is_empty(), "read without complaint: {taken:?}");
}

#[test]
fn each_snapshot_belongs_to_a_file() {
    let files = names(&[".toml", ".json"]);
    for snapshot in names(&[".snap"]) {
        let file = snapshot.trim_end_matches(".snap");
        assert!(files.contains(file), "{snapshot} is of no file");
    }
}
