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

/// `text` as one word of a shell.
pub(crate) fn shell_word(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}
