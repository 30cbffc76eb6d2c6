//! Claims 5 to 10 of the paper held against a depth experiment.

use super::claims::{Claim, Verdict};
use super::depth::DepthEvidence;
use super::shown;
use crate::measure::{Exchange, MarginRow, SettleRow};

/// Every claim that the runs can speak to, in the paper's order.
pub(super) fn all(evidence: &[DepthEvidence]) -> Vec<Claim> {
    let plain = || evidence.iter().filter(|run| !run.shortcut && !run.injection);
    let mut fixed: Vec<&DepthEvidence> = plain()
        .filter(|run| !run.dynamic && run.subject.iterations > 1)
        .collect();
    fixed.sort_by_key(|run| run.subject.iterations);
    let vanilla: Vec<&DepthEvidence> = plain().filter(|run| run.subject.iterations == 1).collect();
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
        verdict: met.map_or(Verdict::NotTested, Verdict::of),
        numbers,
    }
}

fn depths(run: &DepthEvidence) -> String {
    let answered = run.answered().map_or(1, |row| row.extrapolated);
    format!("{}: learned {}, answered {answered}", run.name, run.learned())
}

fn grows(fixed: &[&DepthEvidence]) -> Claim {
    let rises = fixed.windows(2).all(|pair| pair[0].learned() < pair[1].learned());
    judged(
        "5a. The learnable depth grows with R",
        "among models with a fixed R above 1, each larger R has learned more hops.",
        (fixed.len() > 1).then_some(rises),
        fixed.iter().map(|run| depths(run)).collect(),
    )
}

// The model with the largest fixed R, and the dynamic one that draws as many iterations at most.
fn rivals<'a>(fixed: &[&'a DepthEvidence], dynamic: &[&'a DepthEvidence]) -> Option<[&'a DepthEvidence; 2]> {
    let fixed = fixed.last()?;
    let as_many = |run: &&&DepthEvidence| run.subject.iterations == fixed.subject.iterations;
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
        let effective = run.subject.layers * run.subject.iterations;
        fixed
            .iter()
            .find(|looped| looped.subject.layers * looped.subject.iterations == effective)
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

fn transition(looped: &[&DepthEvidence]) -> Claim {
    let deep: Vec<&&DepthEvidence> = looped.iter().filter(|run| run.learned() >= 4).collect();
    let late = |run: &DepthEvidence| {
        let mut steps: Vec<u64> = run
            .extrapolate
            .iter()
            .filter(|row| row.learned > 1 && row.origin.step <= run.subject.origin.step)
            .map(|row| row.origin.step)
            .collect();
        steps.dedup();
        let end = run.subject.origin.step as f64;
        let late = steps.iter().filter(|&&step| step as f64 >= 0.9 * end).count();
        (late, steps.len())
    };
    let met = deep.iter().all(|run| {
        let (late, all) = late(run);
        2 * late >= all
    });
    judged(
        "6. Depth comes in a phase transition: the first hops take nearly all updates, deeper ones then nearly none",
        "of every model that learned 4 hops or more, half or more of its depths came in the last tenth of the updates.",
        (!deep.is_empty()).then_some(met),
        deep.iter()
            .map(|run| {
                let (late, all) = late(run);
                format!(
                    "{}: {late} of {all} depths in the last tenth of {} updates",
                    run.name, run.subject.origin.step
                )
            })
            .collect(),
    )
}

fn unlocks(looped: &[&DepthEvidence]) -> Claim {
    let beyond = |run: &DepthEvidence| run.answered().is_some_and(|row| row.extrapolated > row.learned);
    let met = looped.iter().all(|run| beyond(run) == (run.subject.iterations > 4));
    let both =
        looped.iter().any(|run| run.subject.iterations > 4) && looped.iter().any(|run| run.subject.iterations <= 4);
    judged(
        "7. More iterations at inference answer deeper chains than were learned, only where R was above 4",
        "every looped model with R above 4 (or drawn up to there) answers deeper than it learned, and no other does.",
        both.then_some(met),
        looped
            .iter()
            .map(|run| {
                let at = run.answered().map_or("–".to_owned(), |row| {
                    format!(
                        "best there {} at R {}, one hop more {}",
                        row.best_there().unwrap_or_else(|| "–".to_owned()),
                        row.best_iterations.map_or("–".to_owned(), |n| n.to_string()),
                        row.next
                            .map_or("not in the data".to_owned(), |next| format!("{next:.3}"))
                    )
                });
                format!("{}; {at}", depths(run))
            })
            .collect(),
    )
}

// The margin's peak and end at so many hops.
fn peak_and_end(run: &DepthEvidence, hops: usize) -> Option<(&MarginRow, &MarginRow)> {
    let rows = || run.margin.rows.iter().filter(|row| row.hops == hops);
    Some((
        rows().max_by(|a, b| a.margin.total_cmp(&b.margin))?,
        rows().max_by_key(|row| row.iteration)?,
    ))
}

fn overthinks(looped: &[&DepthEvidence]) -> Claim {
    let mut met = Some(true);
    let mut numbers = Vec::new();
    for run in looped.iter().filter(|run| run.learned() >= 3) {
        let (Some((first, _)), Some((peak, end))) = (peak_and_end(run, 2), peak_and_end(run, run.learned())) else {
            continue;
        };
        met = met.map(|met| met && end.high < peak.low && peak.high < first.low);
        numbers.push(format!(
            "{}: {} hops peak at {:.2} ({:.2} to {:.2}) at iteration {}, {:.2} ({:.2} to {:.2}) at {}; 2 hops peak at {:.2} \
             ({:.2} to {:.2}), n = {}",
            run.name,
            run.learned(),
            peak.margin,
            peak.low,
            peak.high,
            peak.iteration,
            end.margin,
            end.low,
            end.high,
            end.iteration,
            first.margin,
            first.low,
            first.high,
            peak.n
        ));
    }
    judged(
        "8a. Overthinking: the logit margin peaks and falls, and deeper chains peak lower",
        "for every looped model that learned 3 hops or more: at its deepest, the margin after the most iterations is below \
         the peak, and that peak is below the one of 2 hops, intervals apart.",
        met.filter(|_| !numbers.is_empty()),
        numbers,
    )
}

fn falls_slower(fixed: &[&DepthEvidence], dynamic: &[&DepthEvidence]) -> Claim {
    let lost = |run: &DepthEvidence| run.best_and_last(2).map(|(best, last)| best.accuracy - last.accuracy);
    let text = |run: &&DepthEvidence| {
        let (best, last) = run.best_and_last(2)?;
        Some(format!(
            "{}: 2 hops {} at R {}, {} at R {}",
            run.name,
            shown(best),
            best.iterations,
            shown(last),
            last.iterations
        ))
    };
    judged(
        "8b. The dynamic model overthinks more slowly than the fixed one",
        "from its best to the most iterations, the dynamic model that draws as many iterations at most loses less 2-hop \
         accuracy than that with the largest fixed R.",
        rivals(fixed, dynamic).and_then(|[fixed, dynamic]| Some(lost(dynamic)? < lost(fixed)?)),
        fixed.last().into_iter().chain(dynamic).filter_map(text).collect(),
    )
}

fn early(dynamic: &[&DepthEvidence]) -> Claim {
    let mut met = None;
    let mut numbers = Vec::new();
    for run in dynamic {
        let deepest = run.halt.rows.iter().map(|row| row.hops).max().unwrap_or(2);
        let pair = run
            .halted("kl=0.01", deepest)
            .zip(run.halted("kl=0.01+entropy=3", deepest));
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
    let mut met = None;
    let mut numbers = Vec::new();
    for run in injected {
        if let Some((best, last)) = run.best_and_last(run.depth()) {
            met = Some(met.unwrap_or(true) && last.high < best.low);
            numbers.push(format!(
                "{}: {} hops {} at R {}, {} at R {}",
                run.name,
                run.depth(),
                shown(best),
                best.iterations,
                shown(last),
                last.iterations
            ));
        }
    }
    judged(
        "8d. Input injection does not cure overthinking",
        "with input injection, accuracy at the deepest learned chains after the most iterations is below its best, intervals \
         apart.",
        met,
        numbers,
    )
}

fn shortcut(evidence: &[DepthEvidence]) -> Claim {
    let suffix = |run: &DepthEvidence| {
        let rows = run.reach.rows.iter().filter(|row| row.hops == run.depth());
        rows.filter(|row| row.exchange == Exchange::Before && row.shortest)
            .map(|row| row.from_end)
            .next()
    };
    let numbers = evidence
        .iter()
        .filter(|run| run.learned() >= 2)
        .filter_map(|run| {
            let head = run
                .reach
                .rows
                .iter()
                .find(|row| row.hops == run.depth() && row.exchange == Exchange::One && row.position == "head")?;
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
                    "the last {n} relations keep the answer"
                ))
            ))
        })
        .collect();
    let of_kind = |shortcut: bool| {
        evidence
            .iter()
            .filter(move |run| run.shortcut == shortcut && run.learned() >= 2)
    };
    let there = of_kind(true).next().is_some() && of_kind(false).next().is_some();
    let met = of_kind(true).all(|run| suffix(run).is_some_and(|n| n < run.depth()))
        && of_kind(false).all(|run| suffix(run).is_none());
    judged(
        "10. On many-to-one relations the model reads a short suffix only, on permutations the whole chain",
        "at the deepest learned chains, fewer than all relations at the end keep 0.9 of the answers on many-to-one data, and \
         no suffix does on permutations.",
        there.then_some(met),
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
         injection (largest fixed R), and more with it.",
        met,
        without.iter().chain(&with).map(text).collect(),
    )
}
