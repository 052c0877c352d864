//! The syntax of `--lcores`: `0-3`, `0,2`, `0@0,1@0`, `(0,6)@(1-2)`. An lcore list names lcores and, after `@`, the CPUs
//! they run on; without `@` they run on the CPUs of the same numbers.

use std::collections::BTreeMap;

/// An lcore and the CPUs that it may run on.
pub(super) type LcoreMap = BTreeMap<u32, Vec<u32>>;

/// Reads a list; the error says which part of it is wrong and why.
pub(super) fn parse(list: &str, limit: u32) -> Result<LcoreMap, String> {
    let mut map = LcoreMap::new();
    for item in split_outside_groups(list)? {
        let (lcores, cpus) = match item.split_once('@') {
            Some((lcores, cpus)) => (set(lcores, item)?, Some(set(cpus, item)?)),
            None => (set(item, item)?, None),
        };
        let grouped = item.starts_with('(');
        for &lcore in &lcores {
            if lcore >= limit {
                return Err(format!(
                    "lcore {lcore} is beyond {}, the last one of this DPDK",
                    limit - 1
                ));
            }
            let cpus = match &cpus {
                Some(cpus) => cpus.clone(),
                // A group without CPUs floats over the CPUs of its own numbers.
                None if grouped => lcores.clone(),
                None => vec![lcore],
            };
            if map.insert(lcore, cpus).is_some() {
                return Err(format!("lcore {lcore} is listed twice"));
            }
        }
    }
    Ok(map)
}

/// Splits at commas that are not inside parentheses.
fn split_outside_groups(list: &str) -> Result<Vec<&str>, String> {
    let mut items = Vec::new();
    let (mut start, mut inside) = (0, false);
    for (index, byte) in list.bytes().enumerate() {
        match byte {
            b'(' if inside => return Err("a `(` inside of parentheses".into()),
            b'(' => inside = true,
            b')' if !inside => return Err("a `)` without its `(`".into()),
            b')' => inside = false,
            b',' if !inside => {
                items.push(&list[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    if inside {
        return Err("a `(` without its `)`".into());
    }
    items.push(&list[start..]);
    Ok(items)
}

/// One side of an `@`: a number, a range, or a group of them.
fn set(text: &str, item: &str) -> Result<Vec<u32>, String> {
    let inner = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .unwrap_or(text);
    let mut numbers = Vec::new();
    for part in inner.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (number(first, item)?, number(last, item)?);
        if first > last {
            return Err(format!("the range {part} runs backwards"));
        }
        // Far more than any machine has; without it a typing error would fill the memory.
        if last > 65_535 {
            return Err(format!("{last} is no lcore or CPU number"));
        }
        numbers.extend(first..=last);
    }
    Ok(numbers)
}

fn number(text: &str, item: &str) -> Result<u32, String> {
    text.parse().map_err(|_| match (text, item) {
        (_, "") => "an entry is empty".to_owned(),
        ("", item) => format!("a number is missing in `{item}`"),
        (text, item) if text == item => format!("`{text}` is not a number"),
        (text, item) => format!("`{text}` in `{item}` is not a number"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(list: &str) -> Vec<(u32, Vec<u32>)> {
        parse(list, 128).expect("valid").into_iter().collect()
    }

    #[test]
    fn lists_ranges_maps_and_groups_are_understood() {
        assert_eq!(map("0-2"), [(0, vec![0]), (1, vec![1]), (2, vec![2])]);
        assert_eq!(map("3,1"), [(1, vec![1]), (3, vec![3])]);
        assert_eq!(map("0@0,1@0"), [(0, vec![0]), (1, vec![0])]);
        assert_eq!(map("0@(0-1),5@(0,2)"), [(0, vec![0, 1]), (5, vec![0, 2])]);
        assert_eq!(map("(1-2)@3"), [(1, vec![3]), (2, vec![3])]);
        assert_eq!(map("(0,6)"), [(0, vec![0, 6]), (6, vec![0, 6])]);
    }

    #[test]
    fn what_is_wrong_with_a_list_is_named() {
        for (list, part) in [
            ("", "empty"),
            ("0,", "empty"),
            ("a", "`a` is not a number"),
            ("0@x", "`x` in `0@x`"),
            ("0@", "missing in `0@`"),
            ("3-1", "backwards"),
            ("1-", "missing in `1-`"),
            ("0,0", "twice"),
            ("128", "beyond 127"),
            ("(0@1", "without its `)`"),
            ("0)", "without its `(`"),
            ("((0))", "inside"),
            ("0-4000000000", "no lcore"),
            ("-1", "missing"),
        ] {
            let error = parse(list, 128).expect_err(list);
            assert!(error.contains(part), "{list}: {error}");
        }
    }
}
