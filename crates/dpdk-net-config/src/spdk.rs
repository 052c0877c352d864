//! The layout of SPDK's configuration files: a list of subsystems, each with calls and their parameters.
//!
//! ```json
//! { "subsystems": [
//!     { "subsystem": "tcp", "config": [ { "method": "tcp_set_options", "params": { "time_wait": "30 s" } } ] },
//!     { "subsystem": "port", "config": [ { "method": "port_create", "params": { "vdev": "net_tap0" } } ] }
//! ] }
//! ```
//!
//! A subsystem is a section. For one that is a table each call's parameters are keys of it; for one that is a list each call adds
//! an element. What the methods are called is not looked at beyond that: `set_options` and `create`, with the subsystem's name
//! before it or without.

use crate::problem::{Kind, Problem};
use crate::suggest::suggestion;
use crate::tree::{Entry, Node, Place, Table, Value};

/// Whether a file has this layout.
pub(crate) fn is_spdk(root: &Node) -> bool {
    matches!(&root.value, Value::Table(table) if table.get("subsystems").is_some())
}

/// The same settings in the layout of sections.
pub(crate) fn unfold(root: Node, lists: &[&str], problems: &mut Vec<Problem>) -> Node {
    let place = root.place.clone();
    let mut sections = Table::default();
    let Value::Table(root) = root.value else {
        return Node {
            value: root.value,
            place,
        };
    };
    for entry in root.entries {
        if entry.key != "subsystems" {
            let message = format!("`{}` stands beside `subsystems`", entry.key);
            problems.push(
                Problem::new(Kind::UnknownKey, message)
                    .at(&entry.key_place, "")
                    .help("write it as a subsystem too, or write sections only"),
            );
            continue;
        }
        let Value::Array(subsystems) = entry.node.value else {
            problems.push(
                Problem::new(Kind::WrongType, "`subsystems` should be a list")
                    .at(&entry.node.place, ""),
            );
            continue;
        };
        for subsystem in subsystems {
            if let Err(problem) = one(subsystem, lists, &mut sections, problems) {
                problems.push(*problem);
            }
        }
    }
    Node {
        value: Value::Table(sections),
        place,
    }
}

/// Takes a table apart, all of whose keys have to be among `known`.
fn parts<const N: usize>(
    node: Node,
    known: [&str; N],
    problems: &mut Vec<Problem>,
) -> Result<[Option<Node>; N], Box<Problem>> {
    let Value::Table(table) = node.value else {
        let message = format!("a table with {} is needed here", known.join(", "));
        return Err(Problem::new(Kind::WrongType, message)
            .at(&node.place, "")
            .into());
    };
    let mut found = [const { None }; N];
    let mut unknown = false;
    for entry in table.entries {
        let slot = known.iter().position(|key| *key == entry.key);
        match slot.and_then(|at| found.get_mut(at)) {
            Some(slot) => *slot = Some(entry.node),
            None => {
                unknown = true;
                let message = format!("there is no `{}` here", entry.key);
                let problem = Problem::new(Kind::UnknownKey, message);
                let help = suggestion(&entry.key, &known);
                problems.push(problem.at(&entry.key_place, "not known").help(help));
            }
        }
    }
    // What is missing, then, is most likely what is not known.
    if unknown
        && found.iter().any(Option::is_none)
        && let Some(problem) = problems.pop()
    {
        return Err(problem.into());
    }
    Ok(found)
}

fn text(node: Option<Node>, key: &str, place: &Place) -> Result<(String, Place), Box<Problem>> {
    match node {
        Some(Node {
            value: Value::Text(text),
            place,
        }) => Ok((text, place)),
        Some(node) => Err(
            Problem::new(Kind::WrongType, format!("`{key}` should be a text"))
                .at(&node.place, "")
                .into(),
        ),
        None => Err(
            Problem::new(Kind::MissingKey, format!("there is no `{key}`"))
                .at(place, "")
                .into(),
        ),
    }
}

fn one(
    node: Node,
    lists: &[&str],
    sections: &mut Table,
    problems: &mut Vec<Problem>,
) -> Result<(), Box<Problem>> {
    let whole = node.place.clone();
    let [name, config] = parts(node, ["subsystem", "config"], problems)?;
    let (name, name_place) = text(name, "subsystem", &whole)?;
    let calls = match config {
        // SPDK writes null where there is nothing to be told.
        None => return Ok(()),
        Some(Node {
            value: Value::Null, ..
        }) => return Ok(()),
        Some(Node {
            value: Value::Array(calls),
            ..
        }) => calls,
        Some(node) => {
            return Err(
                Problem::new(Kind::WrongType, "`config` should be a list of calls")
                    .at(&node.place, "")
                    .into(),
            );
        }
    };
    let is_list = lists.contains(&name.as_str());
    for call in calls {
        if let Err(problem) = one_call(call, (&name, &name_place), is_list, sections, problems) {
            problems.push(*problem);
        }
    }
    Ok(())
}

/// One call of the subsystem with this name.
fn one_call(
    call: Node,
    (name, name_place): (&str, &Place),
    is_list: bool,
    sections: &mut Table,
    problems: &mut Vec<Problem>,
) -> Result<(), Box<Problem>> {
    let place = call.place.clone();
    let [method, params] = parts(call, ["method", "params"], problems)?;
    let (method, method_place) = text(method, "method", &place)?;
    let verb = method.strip_prefix(&format!("{name}_")).unwrap_or(&method);
    let known: &[&str] = if is_list {
        &["create", "add"]
    } else {
        &["set_options", "set"]
    };
    if !known.contains(&verb) {
        problems.push(
            Problem::new(
                Kind::BadValue,
                format!("`{method}` is no method of the subsystem `{name}`"),
            )
            .at(&method_place, "")
            .help(format!(
                "it is {}_{}",
                name,
                known.first().copied().unwrap_or_default()
            )),
        );
        return Ok(());
    }
    let params = params.unwrap_or(Node {
        value: Value::Table(Table::default()),
        place,
    });
    add(sections, name, name_place, params, is_list, problems);
    Ok(())
}

/// Adds what one call says to its section.
fn add(
    sections: &mut Table,
    name: &str,
    place: &Place,
    params: Node,
    is_list: bool,
    problems: &mut Vec<Problem>,
) {
    let Some(entry) = sections.get_mut(name) else {
        let value = if is_list {
            Value::Array(vec![params.clone()])
        } else {
            params.value
        };
        sections.entries.push(Entry {
            key: name.to_owned(),
            key_place: place.clone(),
            node: Node {
                value,
                place: params.place,
            },
        });
        return;
    };
    match (&mut entry.node.value, params.value) {
        (Value::Array(items), value) => items.push(Node {
            value,
            place: params.place,
        }),
        (Value::Table(table), Value::Table(more)) => {
            for new in more.entries {
                if let Some(first) = table.get(&new.key) {
                    problems.push(
                        Problem::new(Kind::Syntax, format!("`{name}.{}` is given twice", new.key))
                            .at(&new.key_place, "again here")
                            .also(&first.key_place, "first here")
                            .help("leave one of them out"),
                    );
                } else {
                    table.entries.push(new);
                }
            }
        }
        _ => problems.push(
            Problem::new(Kind::WrongType, "`params` should be a table").at(&params.place, ""),
        ),
    }
}
