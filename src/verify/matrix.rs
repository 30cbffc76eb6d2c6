//! The table of methods and models in Markdown, for `docs/verify.md`.

use super::table::{Cell, Verdict, is_control};
use crate::measure::Claim;

/// A row for each method and claim, a column for each model: the lowest AUROC of a variant and its lowest balanced accuracy; on
/// controls the rate of false positives; of edits sufficiency and selectivity; of numbers the share that is as designed. What
/// should miss a mark is in brackets, what is not as it should be has an exclamation mark.
pub(super) fn markdown(cells: &[Cell]) -> String {
    let mut models: Vec<&str> = Vec::new();
    let mut rows: Vec<(&str, Option<Claim>)> = Vec::new();
    for cell in cells {
        if !models.contains(&&*cell.model) {
            models.push(&cell.model);
        }
        if !rows.contains(&(&*cell.method, cell.claim)) {
            rows.push((&cell.method, cell.claim));
        }
    }
    models.sort_by_key(|model| is_control(model));
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let head = ["method", "claim"].into_iter().chain(models.iter().copied());
    let mut text = line(head.map(str::to_owned).collect());
    text += "|";
    text += &"---|".repeat(models.len() + 2);
    text += "\n";
    for (method, claim) in rows {
        let of = |model: &&str| {
            cells
                .iter()
                .find(|cell| (&*cell.method, cell.claim, &*cell.model) == (method, claim, *model))
        };
        let numbers = models.iter().map(|model| of(model).map_or("–".to_owned(), number));
        let name = claim.map_or("numbers", Claim::name).to_owned();
        text += &line([format!("`{method}`"), name].into_iter().chain(numbers).collect());
        let circuits = models.iter().map(|model| of(model).and_then(circuits));
        let circuits: Vec<Option<String>> = circuits.collect();
        if circuits.iter().any(Option::is_some) {
            let named = circuits.into_iter().map(|found| found.unwrap_or("–".to_owned()));
            text += &line(
                [format!("`{method}`"), "CMD, CPR".to_owned()]
                    .into_iter()
                    .chain(named)
                    .collect(),
            );
        }
    }
    text
}

// The numbers of a cell that its marks are for.
fn number(cell: &Cell) -> String {
    let two = |pair: [Option<f64>; 2]| match pair {
        [None, None] => "–".to_owned(),
        pair => pair.map(|x| x.map_or("–".to_owned(), |x| format!("{x:.2}"))).join(", "),
    };
    let text = match cell.claim {
        None => cell.as_designed.map_or("–".to_owned(), |share| format!("{share:.2}")),
        Some(_) if is_control(&cell.model) => {
            cell.false_positives.map_or("–".to_owned(), |rate| format!("{rate:.3}"))
        }
        Some(Claim::Counterfactual) => two([cell.sufficiency_min, cell.selectivity_max]),
        Some(_) => two([cell.auroc_min, cell.balanced_min]),
    };
    match cell.verdict {
        Verdict::Holds => text,
        Verdict::Limit => format!("({text})"),
        Verdict::Misses | Verdict::HoldsAgainstLimit => format!("{text}!"),
    }
}

fn circuits(cell: &Cell) -> Option<String> {
    Some(format!("{:.2}, {:.2}", cell.cmd?, cell.cpr?))
}
