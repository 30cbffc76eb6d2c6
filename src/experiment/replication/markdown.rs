//! The replication beside several seeds, as Markdown.

use std::fmt::Write;

use super::{Number, QUANTITIES, Quantity, Row, RunChoice, Series};
use crate::experiment::claims::words::or_dash;
use crate::measure::statistics::intervals_in_words;

// In front of a number of which it is known only that it is no smaller.
const AT_LEAST: &str = "≥ ";

/// The numbers of the replication beside those of depth experiments: for each run that is looked at a table of medians and
/// ranges over seeds, the definitions, then the numbers of each seed with their intervals over test queries. The two kinds of
/// spread are never in one number.
pub fn markdown(of_seeds: &[(u64, Vec<Row>)]) -> String {
    let mut text = String::from(
        "Ours are medians over seeds with the range over seeds (smallest–largest) in parentheses; *same in* counts seeds whose \
         numbers all lie within the bounds under *same if*. The bounds were chosen by hand around the one published number.\n",
    );
    for choice in RunChoice::ALL {
        text.push_str(&over_seeds(of_seeds, choice));
    }
    text.push_str("\n### What is measured\n\n");
    for quantity in QUANTITIES {
        // Writing into a string cannot fail.
        let _ = writeln!(
            text,
            "- *{}* ({}): {}.",
            quantity.name, quantity.source, quantity.definition
        );
    }
    text.push_str("\n### Each seed\n");
    for (seed, rows) in of_seeds {
        for choice in RunChoice::ALL {
            text.push_str(&of_seed(*seed, rows, choice));
        }
    }
    text
}

// The rows of one quantity on one run, a seed each.
fn of_quantity<'a>(of_seeds: &'a [(u64, Vec<Row>)], choice: RunChoice, quantity: &'static Quantity) -> Vec<&'a Row> {
    let rows = of_seeds.iter().flat_map(|(_, rows)| rows);
    rows.filter(|row| row.choice == choice && std::ptr::eq(row.quantity, quantity) && row.run.is_some())
        .collect()
}

fn over_seeds(of_seeds: &[(u64, Vec<Row>)], choice: RunChoice) -> String {
    let mut text = String::new();
    for quantity in QUANTITIES {
        let rows = of_quantity(of_seeds, choice, quantity);
        if rows.is_empty() {
            continue;
        }
        if text.is_empty() {
            let _ = write!(
                text,
                "\n### {}: {choice}\n\n| quantity | theirs | ours over {} | same if | same in | at this size |\n|---|---|---|---|---|---|\n",
                names(&rows),
                seeds(rows.len())
            );
        }
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} |",
            quantity.name,
            quantity.theirs,
            medians(quantity, &rows),
            quantity.same,
            same_in(&rows),
            quantity.why
        );
    }
    text
}

fn seeds(n: usize) -> String {
    format!("{n} {}", if n == 1 { "seed" } else { "seeds" })
}

// The names of the runs, each once.
fn names(rows: &[&Row]) -> String {
    let mut names: Vec<&str> = rows.iter().filter_map(|row| row.run.as_deref()).collect();
    names.sort_unstable();
    names.dedup();
    names.join(", ")
}

// `2 of 3`, and how many could not be told.
fn same_in(rows: &[&Row]) -> String {
    let count = |same: Option<bool>| rows.iter().filter(|row| row.same == same).count();
    let (yes, open) = (count(Some(true)), count(None));
    let told = rows.len() - open;
    match (told, open) {
        (0, _) => "not known".to_owned(),
        (_, 0) => format!("{yes} of {told}"),
        _ => format!("{yes} of {told}, {open} not known"),
    }
}

// The median and the range over seeds of each number of the series.
fn medians(quantity: &Quantity, rows: &[&Row]) -> String {
    let mut places: Vec<Option<usize>> = rows
        .iter()
        .flat_map(|row| &row.numbers)
        .map(|number| number.at)
        .collect();
    places.sort_unstable();
    places.dedup();
    let median = |at: &Option<usize>| {
        let all = rows.iter().flat_map(|row| &row.numbers);
        let mut of_seeds: Vec<&Number> = all.filter(|number| number.at == *at).collect();
        of_seeds.sort_by(|a, b| a.value.total_cmp(&b.value));
        let [first, .., last] = of_seeds[..] else {
            return labelled(quantity, *at, &value(quantity, of_seeds[0].value, of_seeds[0].at_least));
        };
        let of_some = (of_seeds.len() < rows.len()).then(|| format!(", {}", seeds(of_seeds.len())));
        let middle = [of_seeds[(of_seeds.len() - 1) / 2], of_seeds[of_seeds.len() / 2]];
        // A bound among the smaller numbers may in truth be one of the larger ones.
        let at_least = of_seeds
            .iter()
            .any(|number| number.at_least && number.value <= middle[1].value);
        let ends = [
            value(quantity, first.value, first.at_least),
            value(quantity, last.value, of_seeds.iter().any(|number| number.at_least)),
        ];
        let is_open = ends.iter().any(|end| end.starts_with(AT_LEAST));
        let text = format!(
            "{} ({}{})",
            value(quantity, f64::midpoint(middle[0].value, middle[1].value), at_least),
            ends.join(if is_open { " to " } else { "–" }),
            of_some.unwrap_or_default()
        );
        labelled(quantity, *at, &text)
    };
    let medians: Vec<String> = places.iter().map(median).collect();
    or_dash((!medians.is_empty()).then(|| medians.join("; ")))
}

fn value(quantity: &Quantity, value: f64, at_least: bool) -> String {
    let sign = if at_least { AT_LEAST } else { "" };
    format!("{sign}{value:.*}", quantity.decimals)
}

// With the hops or the iteration that it is of in front.
fn labelled(quantity: &Quantity, at: Option<usize>, text: &str) -> String {
    let letter = match quantity.series {
        Series::Single => return text.to_owned(),
        Series::Hops => 'k',
        Series::Iteration => 't',
    };
    at.map_or(text.to_owned(), |at| format!("{letter} {at}: {text}"))
}

fn of_seed(seed: u64, rows: &[Row], choice: RunChoice) -> String {
    let rows: Vec<&Row> = rows.iter().filter(|row| row.choice == choice).collect();
    let Some((Some(name), Some(learned))) = rows.first().map(|row| (row.run.as_ref(), row.learned)) else {
        return format!("\nSeed {seed}: {choice} is not there.\n");
    };
    let mut text = format!(
        "\n**Seed {seed}, {name}**, which learned {learned} hops; in parentheses {}\n\n| quantity | ours | same |\n|---|---|---|\n",
        over_queries(&rows)
    );
    for row in rows {
        let numbers: Vec<String> = row
            .numbers
            .iter()
            .map(|number| with_interval(row.quantity, number))
            .collect();
        let same = match row.same {
            Some(true) => "yes",
            Some(false) => "no",
            None => "–",
        };
        let _ = writeln!(
            text,
            "| {} | {} | {same} |",
            row.quantity.name,
            or_dash((!numbers.is_empty()).then(|| numbers.join("; ")))
        );
    }
    text
}

// What the intervals are over.
fn over_queries(rows: &[&Row]) -> String {
    let numbers = rows
        .iter()
        .flat_map(|row| row.numbers.iter().map(|number| (row.quantity, number)));
    let clusterings = numbers.filter_map(|(quantity, number)| Some((quantity.name.to_owned(), number.over?)));
    format!("the {} over test queries", intervals_in_words(clusterings))
}

fn with_interval(quantity: &Quantity, number: &Number) -> String {
    let plain = |x: f64| format!("{x:.*}", quantity.decimals);
    let parts = [
        number
            .interval
            .map(|(low, high)| format!("{} to {}", plain(low), plain(high))),
        number.n.map(|n| format!("n = {n}")),
        number.left_out.map(|share| format!("{:.0} % left out", 100.0 * share)),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    let found = value(quantity, number.value, number.at_least);
    let text = if parts.is_empty() {
        found
    } else {
        format!("{found} ({})", parts.join(", "))
    };
    labelled(quantity, number.at, &text)
}
