//! Numbers, lists and suggestions in words.

/// The name in `names` that `given` most likely stands for: the nearest by edit distance (Damerau–Levenshtein, upper and lower
/// case alike), where it is at most a third of the longer name away and no other name is as near.
pub fn nearest<N: AsRef<str>>(given: &str, names: impl IntoIterator<Item = N>) -> Option<N> {
    let given = given.trim().to_lowercase();
    let distance = |name: &str| {
        let longer = given.chars().count().max(name.chars().count());
        let distance = strsim::damerau_levenshtein(&given, &name.to_lowercase());
        (3 * distance <= longer).then_some(distance)
    };
    let mut best: Option<(usize, N)> = None;
    let mut tie = false;
    for name in names {
        let Some(distance) = distance(name.as_ref()) else {
            continue;
        };
        let least = best.as_ref().map_or(usize::MAX, |(least, _)| *least);
        tie = distance == least || (tie && distance > least);
        if distance < least {
            best = Some((distance, name));
        }
    }
    best.filter(|_| !tie).map(|(_, name)| name)
}

/// The end of an error about a name that does not exist, `; did you mean X?`; empty where no name is near.
pub fn did_you_mean<N: AsRef<str>>(given: &str, names: impl IntoIterator<Item = N>) -> String {
    nearest(given, names).map_or_else(String::new, |name| format!("; did you mean {}?", name.as_ref()))
}

/// All of `names`, with the one that `given` most likely stands for: what an error says is allowed.
pub fn choices<N: AsRef<str>>(given: &str, names: &[N]) -> String {
    let list: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    format!("{}{}", list.join(", "), did_you_mean(given, list.iter().copied()))
}

/// A message with a suggestion behind it where it is serde's about an unknown field or variant, which lists those that there are.
pub fn with_suggestion(message: String) -> String {
    let begins = ["unknown field `", "unknown variant `"];
    let Some(at) = begins.iter().filter_map(|words| message.rfind(words)).max() else {
        return message;
    };
    // Names stand between backticks, the unknown one first.
    let mut names = message[at..].split('`').skip(1).step_by(2);
    let given = names.next().unwrap_or_default();
    let suggestion = did_you_mean(given, names);
    if suggestion.is_empty() || message.ends_with(&suggestion) {
        return message;
    }
    format!("{}{suggestion}", message.trim_end())
}

/// `1 hop`, `2 hops`.
pub fn counted(n: usize, noun: &str) -> String {
    let is_vowel = |c: char| "aeiou".contains(c);
    match noun.strip_suffix('y').filter(|stem| !stem.ends_with(is_vowel)) {
        _ if n == 1 => format!("{n} {noun}"),
        Some(stem) => format!("{n} {stem}ies"),
        None if noun.ends_with('s') => format!("{n} {noun}es"),
        None => format!("{n} {noun}s"),
    }
}

/// The first `max` of `names`, and their number where there are more.
pub fn listed(names: &[String], max: usize) -> String {
    let first = names[..names.len().min(max)].join(", ");
    match names.len() {
        n if n > max => format!("{first}, … ({n} in all)"),
        0 => "nothing".to_owned(),
        _ => first,
    }
}

/// A number with a comma between thousands.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A time that is estimated, in its largest unit: `40 s`, `12 min`, `3.5 h`.
pub(crate) fn duration(seconds: f64) -> String {
    match seconds {
        s if s < 60.0 => format!("{s:.0} s"),
        s if s < 3600.0 => format!("{:.0} min", s / 60.0),
        s if s < 360_000.0 => format!("{:.1} h", s / 3600.0),
        s => format!("{:.0} h", three_digits(s / 3600.0)),
    }
}

/// A number rounded to three digits: no estimate has more.
pub(crate) fn three_digits(value: f64) -> f64 {
    let unit = 10_f64.powi(value.log10().floor() as i32 - 2);
    (value / unit).round() * unit
}

/// `text` as one word of a shell.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nouns_have_their_plurals() {
        let said = [
            counted(1, "query"),
            counted(2, "query"),
            counted(2, "process"),
            counted(0, "key"),
            counted(3, "hop"),
        ];
        assert_eq!(said, ["1 query", "2 queries", "2 processes", "0 keys", "3 hops"]);
    }

    #[test]
    fn the_nearest_name_is_suggested_where_one_alone_is_near() {
        let splits = [
            "train",
            "id_atomic",
            "test_inferred_iid",
            "test_inferred_ood",
            "2hop_test",
            "3hop_test",
        ];
        for (given, expected) in [
            ("trian", Some("train")),
            ("Train", Some("train")),
            ("id_atomc", Some("id_atomic")),
            ("test_infered_ood", Some("test_inferred_ood")),
            // As near to one as to the other.
            ("test_inferred_iod", None),
            ("4hop_test", None),
            ("nope", None),
            ("", None),
        ] {
            assert_eq!(nearest(given, splits), expected, "{given}");
        }
        // Of three, the last one is nearer than two that tie.
        assert_eq!(nearest("abcdef", ["abcdxx", "abcdyy", "abcdex"]), Some("abcdex"));
        assert_eq!(choices("r1x", &["a", "r1"]), "a, r1; did you mean r1?");
        assert_eq!(choices("x", &["a", "b"]), "a, b");
    }

    #[test]
    fn what_serde_says_of_an_unknown_name_gets_a_suggestion_once() {
        let said = "unknown field `head`, expected one of `layers`, `heads`\n".to_owned();
        let suggested = with_suggestion(said.clone());
        assert_eq!(suggested, format!("{}; did you mean heads?", said.trim_end()));
        assert_eq!(with_suggestion(suggested.clone()), suggested);
        let other = "unknown field `x`, expected `layers` or `heads`".to_owned();
        assert_eq!(with_suggestion(other.clone()), other);
        let kind = "unknown variant `gellu`, expected `gelu` or `relu`".to_owned();
        assert!(with_suggestion(kind).ends_with("; did you mean gelu?"));
    }
}
