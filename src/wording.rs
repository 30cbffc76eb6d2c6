//! Numbers and lists in words.

/// `1 hop`, `2 hops`.
pub fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
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
