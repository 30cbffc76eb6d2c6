//! Claims 5 to 10 of the paper held against a depth experiment.

use super::claims::{Claim, Verdict};
use super::depth::DepthEvidence;
use super::{max_shown, shown};
use crate::figure::counted;
use crate::graph::Position;
use crate::measure::{Criterion, Exchange, Fall, MarginRow, ReachRow, Rule, SettleRow};

/// Every claim that the runs can speak to, in the paper's order.
pub(super) fn all(evidence: &[DepthEvidence]) -> Vec<Claim> {
    let plain = || evidence.iter().filter(|run| !run.shortcut && !run.injection);
    let mut fixed: Vec<&DepthEvidence> = plain()
        .filter(|run| !run.dynamic && run.checkpoint.iterations > 1)
        .collect();
    fixed.sort_by_key(|run| run.checkpoint.iterations);
    let vanilla: Vec<&DepthEvidence> = plain().filter(|run| run.checkpoint.iterations == 1).collect();
    let dynamic: Vec<&DepthEvidence> = plain().filter(|run| run.dynamic).collect();
    let injected: Vec<&DepthEvidence> = evidence.iter().filter(|run| !run.shortcut && run.injection).collect();
    let looped: Vec<&DepthEvidence> = fixed.iter().chain(&dynamic).copied().collect();
    vec![
        grows(&fixed),
        drawn_is_deepest(&fixed, &dynamic),
        beats_vanilla(&fixed, &vanilla),
        transition(&looped),
        unlocks(&looped),
        overthinks(&looped),
        falls_slower(&fixed, &dynamic),
        early(&dynamic),
        not_cured(&injected),
        shortcut(evidence),
        settles(&fixed, &injected),
    ]
}

fn judged(says: &str, criterion: &'static str, met: Option<bool>, numbers: Vec<String>) -> Claim {
    Claim {
        says: says.to_owned(),
        criterion,
        verdict: Verdict::of(met),
        numbers,
    }
}

fn depths(run: &DepthEvidence) -> String {
    let answered = run.answered().map_or(1, |row| row.extrapolated);
    format!("{}: learned {}, answered {answered}", run.name, run.learned())
}

fn grows(fixed: &[&DepthEvidence]) -> Claim {
    let iterations = |run: &DepthEvidence| run.checkpoint.iterations;
    let mut pairs = fixed
        .iter()
        .flat_map(|a| fixed.iter().map(move |b| (a, b)))
        .filter(|(a, b)| iterations(a) < iterations(b))
        .peekable();
    let there = pairs.peek().is_some();
    let rises = pairs.all(|(a, b)| a.learned() < b.learned());
    judged(
        "5a. The learnable depth grows with R",
        "among models with a fixed R above 1, each larger R has learned more hops.",
        there.then_some(rises),
        fixed.iter().map(|run| depths(run)).collect(),
    )
}

// The model with the largest fixed R, and the dynamic one that draws as many iterations at most.
fn rivals<'a>(fixed: &[&'a DepthEvidence], dynamic: &[&'a DepthEvidence]) -> Option<[&'a DepthEvidence; 2]> {
    let fixed = fixed.last()?;
    let as_many = |run: &&&DepthEvidence| run.checkpoint.iterations == fixed.checkpoint.iterations;
    Some([fixed, dynamic.iter().find(as_many)?])
}

fn drawn_is_deepest(fixed: &[&DepthEvidence], dynamic: &[&DepthEvidence]) -> Claim {
    judged(
        "5b. Drawing R for every batch learns at least as deep as the largest fixed R",
        "the dynamic model that draws as many iterations at most has learned as many hops as the model with the largest \
         fixed R, or more.",
        rivals(fixed, dynamic).map(|[fixed, dynamic]| dynamic.learned() >= fixed.learned()),
        fixed.last().into_iter().chain(dynamic).map(|run| depths(run)).collect(),
    )
}

fn beats_vanilla(fixed: &[&DepthEvidence], vanilla: &[&DepthEvidence]) -> Claim {
    let rival = |run: &DepthEvidence| {
        let effective = run.checkpoint.layers * run.checkpoint.iterations;
        fixed
            .iter()
            .find(|looped| looped.checkpoint.layers * looped.checkpoint.iterations == effective)
            .copied()
    };
    let pairs: Vec<(&DepthEvidence, &DepthEvidence)> =
        vanilla.iter().filter_map(|run| Some((*run, rival(run)?))).collect();
    judged(
        "5c. A vanilla model with as many effective layers learns less deep",
        "the vanilla model has learned fewer hops than the looped one with the same effective layers.",
        (!pairs.is_empty()).then(|| {
            pairs
                .iter()
                .all(|(vanilla, looped)| vanilla.learned() < looped.learned())
        }),
        pairs
            .iter()
            .flat_map(|(vanilla, looped)| [depths(vanilla), depths(looped)])
            .collect(),
    )
}

// The updates after which each depth from 2 hops on was learned.
fn steps_of_depths(run: &DepthEvidence) -> Option<Vec<u64>> {
    let step_of = |depth: usize| {
        let rows = run.extrapolate.iter().filter(|row| row.learned >= depth);
        rows.map(|row| row.origin.step).min()
    };
    (2..=run.learned()).map(step_of).collect()
}

fn transition(looped: &[&DepthEvidence]) -> Claim {
    let deep = looped.iter().filter(|run| run.learned() >= 4);
    let late: Option<Vec<(&DepthEvidence, usize, usize)>> = deep
        .map(|run| {
            let steps = steps_of_depths(run)?;
            let end = run.checkpoint.origin.step as f64;
            let late = steps.iter().filter(|&&step| step as f64 >= 0.9 * end).count();
            Some((*run, late, steps.len()))
        })
        .collect();
    let late = late.filter(|runs| !runs.is_empty());
    judged(
        "6. Depth comes in a phase transition: the first hops take nearly all updates, deeper ones then nearly none",
        "of every model that learned 4 hops or more, half or more of its depths came in the last tenth of the updates.",
        late.as_ref()
            .map(|runs| runs.iter().all(|(_, late, all)| 2 * late >= *all)),
        late.iter()
            .flatten()
            .map(|(run, late, all)| {
                format!(
                    "{}: {late} of {all} depths in the last tenth of {} updates",
                    run.name, run.checkpoint.origin.step
                )
            })
            .collect(),
    )
}

fn unlocks(looped: &[&DepthEvidence]) -> Claim {
    // Nothing where the data has no deeper chains than were learned.
    let beyond = |run: &DepthEvidence| {
        let row = run.answered()?;
        (row.next.is_some() || row.extrapolated > row.learned).then_some(row.extrapolated > row.learned)
    };
    let of_kind = |many: bool| -> Vec<bool> {
        let runs = looped.iter().filter(|run| (run.checkpoint.iterations > 4) == many);
        runs.filter_map(|run| beyond(run)).collect()
    };
    let (many, few) = (of_kind(true), of_kind(false));
    let met = many.iter().all(|&beyond| beyond) && !few.iter().any(|&beyond| beyond);
    judged(
        "7. More iterations at inference answer deeper chains than were learned, only where R was above 4",
        "every looped model with R above 4 (or drawn up to there) answers deeper than it learned, and no other does, of those \
         with deeper chains in the data.",
        (!many.is_empty() && !few.is_empty()).then_some(met),
        looped
            .iter()
            .map(|run| {
                let at = run.answered().map_or("–".to_owned(), |row| {
                    format!(
                        "at most {} there, at R {}, one hop more {}",
                        row.max_there().unwrap_or("–".to_owned()),
                        row.best_iterations.map_or("–".to_owned(), |n| n.to_string()),
                        row.next
                            .map_or("not in the data".to_owned(), |next| format!("at most {next:.3}"))
                    )
                });
                format!("{}; {at}", depths(run))
            })
            .collect(),
    )
}

// The largest margin at so many hops, and that after the most iterations.
fn peak_and_end(run: &DepthEvidence, hops: usize) -> Option<(&MarginRow, &MarginRow)> {
    let rows = || run.margin.rows.iter().filter(|row| row.hops == hops);
    Some((
        rows().find(|row| row.largest.is_max)?,
        rows().max_by_key(|row| row.iteration)?,
    ))
}

fn peak_text(row: &MarginRow) -> String {
    let interval = row.largest.max_low.zip(row.largest.max_high);
    let interval = interval.map_or(String::new(), |(low, high)| format!(" ({low:.2} to {high:.2})"));
    format!("{:.2}{interval} at iteration {}", row.margin, row.iteration)
}

// Whether the margin falls from its peak, and the peak is below that of 2 hops; nothing where that was not measured.
fn falls_and_is_lower(peak: &MarginRow, of_two_hops: &MarginRow) -> Option<bool> {
    Some(peak.fall.fall_low? > 0.0 && peak.largest.max_high? < of_two_hops.largest.max_low?)
}

fn overthinks(looped: &[&DepthEvidence]) -> Claim {
    let mut met = Some(true);
    let mut numbers = Vec::new();
    for run in looped.iter().filter(|run| run.learned() >= 3) {
        let found = peak_and_end(run, 2).zip(peak_and_end(run, run.learned()));
        let this = found.and_then(|((two_hops, _), (peak, _))| falls_and_is_lower(peak, two_hops));
        met = met.zip(this).map(|(met, this)| met && this);
        let Some(((two_hops, _), (peak, end))) = found else {
            numbers.push(format!("{}: margins not measured", run.name));
            continue;
        };
        numbers.push(format!(
            "{}: {} hops peak at {}, {:.2} at {}{}; 2 hops peak at {}, n = {}",
            run.name,
            run.learned(),
            peak_text(peak),
            end.margin,
            end.iteration,
            fall_text(&peak.fall),
            peak_text(two_hops),
            peak.n
        ));
    }
    judged(
        "8a. Overthinking: the logit margin peaks and falls, and deeper chains peak lower",
        "for every looped model that learned 3 hops or more: at its deepest, the margin falls from its peak to the most \
         iterations (the interval of that difference on the same chains lies above 0), and the peak's interval is below that \
         of the peak of 2 hops.",
        met.filter(|_| !numbers.is_empty()),
        numbers,
    )
}

fn fall_text(fall: &Fall) -> String {
    let text = |fall: f64, low: f64, high: f64| format!(", a loss of {fall:.3} ({low:.3} to {high:.3}, paired)");
    match (fall.fall, fall.fall_low, fall.fall_high) {
        (Some(fall), Some(low), Some(high)) => text(fall, low, high),
        _ => String::new(),
    }
}

// `RUN: K hops 0.9 (0.8–0.95, n = 500) at most, at R 8; 0.7 at R 40, a loss of …`
fn max_and_last_text(run: &DepthEvidence, hops: usize) -> Option<String> {
    let (max, last) = run.max_and_last(hops)?;
    Some(format!(
        "{}: {hops} hops at most {}, at R {}; {} at R {}{}",
        run.name,
        max_shown(max),
        max.iterations,
        shown(last),
        last.iterations,
        fall_text(&max.fall)
    ))
}

fn falls_slower(fixed: &[&DepthEvidence], dynamic: &[&DepthEvidence]) -> Claim {
    // Each loss is that of one model on the same chains.
    let lost = |run: &DepthEvidence| {
        let (max, _) = run.max_and_last(2)?;
        Some((max.fall.fall_low?, max.fall.fall_high?))
    };
    judged(
        "8b. The dynamic model overthinks more slowly than the fixed one",
        "from its largest to that after the most iterations, the dynamic model that draws as many iterations at most loses less \
         2-hop accuracy than that with the largest fixed R, the intervals of the two losses apart.",
        rivals(fixed, dynamic).and_then(|[fixed, dynamic]| Some(lost(dynamic)?.1 < lost(fixed)?.0)),
        fixed
            .last()
            .into_iter()
            .chain(dynamic)
            .filter_map(|run| max_and_last_text(run, 2))
            .collect(),
    )
}

fn early(dynamic: &[&DepthEvidence]) -> Claim {
    let kl = Rule::of(Criterion::Kl, 0.01);
    let mut met = None;
    let mut numbers = Vec::new();
    for run in dynamic {
        let deepest = run.halt.rows.iter().map(|row| row.hops).max().unwrap_or(2);
        let pair = run
            .halted(&kl, deepest)
            .zip(run.halted(&kl.clone().and(Criterion::Entropy, 3.0), deepest));
        if let Some((kl, both)) = pair {
            met = Some(met.unwrap_or(true) && kl.mean <= 0.5 * both.mean);
            for row in [kl, both] {
                numbers.push(format!(
                    "{}, {deepest} hops, {}: {:.1} iterations (median {:.0}, std {:.1}), accuracy {:.3} ({:.3}–{:.3}, n = {})",
                    run.name, row.rule, row.mean, row.median, row.std, row.accuracy, row.low, row.high, row.n
                ));
            }
        }
    }
    judged(
        "8c. KL alone halts too early on the deepest chains; with entropy it does not",
        "on the deepest chains of the data, KL alone uses at most half the iterations of KL and entropy (the paper: ~5 and \
         ~15 at 37 hops).",
        met,
        numbers,
    )
}

fn not_cured(injected: &[&DepthEvidence]) -> Claim {
    let falls: Option<Vec<bool>> = injected
        .iter()
        .map(|run| Some(run.max_and_last(run.depth())?.0.fall.fall_low? > 0.0))
        .collect();
    judged(
        "8d. Input injection does not cure overthinking",
        "with input injection, accuracy at the deepest learned chains after the most iterations is below its largest: the \
         interval of that difference on the same chains lies above 0.",
        falls
            .filter(|falls| !falls.is_empty())
            .map(|falls| falls.iter().all(|&falls| falls)),
        injected
            .iter()
            .filter_map(|run| max_and_last_text(run, run.depth()))
            .collect(),
    )
}

// What becomes of the answers at the learned depth when all before a suffix is exchanged.
fn kept(run: &DepthEvidence) -> Vec<&ReachRow> {
    let of_depth = |row: &&ReachRow| row.hops == run.depth() && row.exchange == Exchange::Before;
    run.reach.rows.iter().filter(of_depth).collect()
}

fn shortcut(evidence: &[DepthEvidence]) -> Claim {
    let suffix = |run: &DepthEvidence| kept(run).iter().find(|row| row.shortest).map(|row| row.from_end);
    let numbers = evidence
        .iter()
        .filter(|run| run.learned() >= 2)
        .filter_map(|run| {
            let head = run
                .reach
                .rows
                .iter()
                .find(|row| row.hops == run.depth() && row.exchange == Exchange::One && row.position == Some(Position::Head))?;
            Some(format!(
                "{}: {} hops, another head changes {:.3} ({:.3}–{:.3}, n = {}) of its answers and {:.3} of the true ones; {}",
                run.name,
                head.hops,
                head.changed,
                head.low,
                head.high,
                head.n,
                head.truth_changed,
                suffix(run).map_or("no suffix keeps the answer".to_owned(), |n| format!(
                    "shortest suffix that keeps the answer: {}",
                    counted(n, "relation")
                ))
            ))
        })
        .collect();
    let of_kind = |shortcut: bool| {
        evidence
            .iter()
            .filter(move |run| run.shortcut == shortcut && run.learned() >= 2)
    };
    let measured = |shortcut: bool| {
        let mut runs = of_kind(shortcut).peekable();
        runs.peek().is_some() && runs.all(|run| !kept(run).is_empty())
    };
    let met = of_kind(true).all(|run| suffix(run).is_some_and(|n| n < run.depth()))
        && of_kind(false).all(|run| suffix(run).is_none());
    judged(
        "10. On many-to-one relations the model reads a short suffix only, on permutations the whole chain",
        "at the deepest learned chains, fewer than all relations at the end keep 0.9 of the answers on many-to-one data, and \
         no suffix does on permutations.",
        (measured(true) && measured(false)).then_some(met),
        numbers,
    )
}

fn settles(fixed: &[&DepthEvidence], injected: &[&DepthEvidence]) -> Claim {
    let end = |run: &DepthEvidence| -> Option<SettleRow> {
        let rows = run.settle.iter().filter(|row| row.hops == run.depth());
        rows.max_by_key(|row| row.iteration).cloned()
    };
    let without = fixed.last().and_then(|run| end(run));
    let with = injected.first().and_then(|run| end(run));
    let text = |row: &SettleRow| {
        format!(
            "{}: {} hops, iteration {}: layers apart {}, step / state {:.3}, cosine of steps {}, state norm {:.1}, n = {}",
            row.origin.run,
            row.hops,
            row.iteration,
            row.apart.map_or("–".to_owned(), |x| format!("{x:.3}")),
            row.moved,
            row.cosine.map_or("–".to_owned(), |x| format!("{x:.3}")),
            row.state,
            row.n
        )
    };
    let met = without
        .as_ref()
        .and_then(|row| row.apart_high)
        .zip(with.as_ref().and_then(|row| row.apart_low))
        .map(|(without, with)| without < 0.1 && with > 0.1);
    judged(
        "2604.11791: without input injection all layers fall towards one common state, with it towards one each",
        "after the most iterations, the states after the block's layers are less than a tenth of their norm apart without \
         injection (largest fixed R), and more with it, both with their intervals.",
        met,
        without.iter().chain(&with).map(text).collect(),
    )
}
