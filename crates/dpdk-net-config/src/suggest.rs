//! What somebody may have meant who wrote a word that nobody knows.

/// The nearest of what is known, or all of it.
pub(crate) fn suggestion(given: &str, known: &[&str]) -> String {
    match nearest(given, known).as_slice() {
        [] => all_of(known),
        near => did_you_mean(near),
    }
}

pub(crate) fn all_of(known: &[&str]) -> String {
    match known {
        [] => "there is none".to_owned(),
        known => format!("known here: {}", known.join(", ")),
    }
}

pub(crate) fn did_you_mean(near: &[&str]) -> String {
    match near {
        [one] => format!("did you mean `{one}`?"),
        some => {
            let some: Vec<String> = some.iter().map(|key| format!("`{key}`")).collect();
            format!("did you mean one of {}?", some.join(", "))
        }
    }
}

/// What of the known may have been meant: one that takes few changes, or else those that have a part in common with it.
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Vec<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let distance = |key: &str| strsim::damerau_levenshtein(&plain(given), &plain(key));
    let alike = |key: &str| {
        let pairs = key.chars().zip(given.chars());
        pairs.take_while(|(a, b)| a == b).count()
    };
    let best =
        (known.iter().copied()).min_by_key(|key| (distance(key), std::cmp::Reverse(alike(key))));
    let limit = (given.chars().count() / 3).clamp(1, 4);
    // A word of one letter is as near to any other.
    let worth = |key: &str| distance(key) < plain(key).chars().count();
    match best {
        Some(best) if distance(best) <= limit && worth(best) => vec![best],
        // A word of it may be enough: `descriptors` for `rx_descriptors`.
        _ => {
            let has =
                |whole: &str, part: &str| part.len() > 2 && plain(whole).contains(&plain(part));
            let parts = known.iter().copied();
            parts
                .filter(|key| has(key, given) || has(given, key))
                .collect()
        }
    }
}
