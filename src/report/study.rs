//! What a study found, over its seeds.

use std::fmt::Write;

use crate::experiment::claims::Measured;
use crate::experiment::claims::words::or_dash;
use crate::experiment::replication::{self, RunChoice};
use crate::experiment::{Outcome, Preset, RunView};
use crate::graph::Split;
use crate::study::{Finding, MeasuredReplicate, Reason, Study, StudyOutcome, Verdict};

/// The summary of a study as Markdown.
pub fn study_summary(study: &Study, outcome: &StudyOutcome) -> String {
    let mut text = format!("# What `{}` found\n\n", study.name);
    // Writing into a string cannot fail.
    let _ = writeln!(
        text,
        "{}; criteria {}; loopscope {}. Every seed has a graph, initial weights and an order of batches of its own. Intervals are 95 % over \
         seeds (Student's t of the mean); those over the facts of test chains are in each seed's own summary, and the two are never \
         mixed. A criterion says which numbers confirm and which refute a claim. *Confirmed* and *refuted*: every seed does, or none \
         says the opposite and the interval of the mean lies in that range; otherwise, and with fewer than three seeds, it is \
         undecided.\n",
        conditions(study),
        study.hash,
        env!("CARGO_PKG_VERSION")
    );
    text.push_str(&counts(&outcome.findings));
    text.push_str(&verdicts(&outcome.findings));
    for experiment in &study.experiments {
        let of_name = outcome
            .replicates
            .iter()
            .filter(|replicate| replicate.name == experiment.name);
        let seeds: Vec<(u64, &Outcome)> = of_name.clone().map(|r| (r.seed, &r.outcome)).collect();
        let Some(first) = of_name.clone().next() else {
            continue;
        };
        let _ = writeln!(text, "\n## {}\n", experiment.name);
        match &first.experiment.preset {
            Preset::Systematic(_) => text.push_str(&systematic(&seeds)),
            Preset::Depth(_) => {
                text.push_str(&depth(&seeds));
                for choice in RunChoice::ALL {
                    let _ = writeln!(text, "\n### Beside an independent replication: {choice}\n");
                    let rows: Vec<_> = seeds
                        .iter()
                        .map(|(seed, outcome)| (*seed, replication::rows(&outcome.evidence, choice)))
                        .collect();
                    text.push_str(&replication::markdown(&rows));
                }
            }
        }
        text.push_str(&hashes(of_name));
    }
    text
}

fn conditions(study: &Study) -> String {
    let of = study.experiments.iter().map(|experiment| {
        let seeds: Vec<String> = experiment.seeds.iter().map(u64::to_string).collect();
        format!("{}: {} seeds ({})", experiment.name, seeds.len(), seeds.join(", "))
    });
    of.collect::<Vec<_>>().join("; ")
}

fn counts(findings: &[Finding]) -> String {
    let of = |verdict: Verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    format!(
        "**{} criteria: {} confirmed, {} refuted, {} undecided.**\n",
        findings.len(),
        of(Verdict::Confirmed),
        of(Verdict::Refuted),
        of(Verdict::Undecided)
    )
}

fn verdicts(findings: &[Finding]) -> String {
    let mut text = String::from(
        "\n| claim | | verdict | seeds | mean (95 % over seeds) | each seed | confirms | refutes | source |\n\
         |---|---|---|---|---|---|---|---|---|\n",
    );
    for finding in findings {
        let _ = writeln!(
            text,
            "| {} | {} | **{}**{} | {} | {} | {} | {} | {} | {} |",
            finding.claim,
            finding.statement,
            finding.verdict,
            reason_text(finding.reason),
            votes(finding),
            mean(finding),
            each_seed(finding),
            finding.confirms,
            finding.refutes,
            finding.source
        );
    }
    text
}

/// What decided a verdict; nothing where the column of seeds says it already.
pub(super) fn reason_text(reason: Reason) -> &'static str {
    match reason {
        Reason::EverySeed | Reason::SeedsDiffer | Reason::Deviations | Reason::DeviationsAlike => "",
        Reason::IntervalOfMean => ", by the interval",
        Reason::TooFewSeeds => ", fewer than 3 seeds",
        Reason::SeedNotMeasured => ", a seed was not measured",
    }
}

/// `5 of 5 confirm`; of a spread its p.
pub(super) fn votes(finding: &Finding) -> String {
    if finding.is_spread {
        return or_dash(finding.p.map(|p| format!("p = {p:.3}")));
    }
    let n = finding.seeds.len();
    match (finding.confirming, finding.refuting) {
        (0, 0) => format!("none of {n} says"),
        (confirming, 0) => format!("{confirming} of {n} confirm"),
        (0, refuting) => format!("{refuting} of {n} refute"),
        (confirming, refuting) => format!("{confirming} of {n} confirm, {refuting} refute"),
    }
}

/// The mean over seeds with its interval.
pub(super) fn mean(finding: &Finding) -> String {
    match (finding.value, finding.interval) {
        (Some(value), Some((low, high))) => format!("{} ({} to {})", number(value), number(low), number(high)),
        (Some(value), None) if finding.is_spread => format!("ratio {}", number(value)),
        (Some(value), None) => number(value),
        (None, _) => "–".to_owned(),
    }
}

/// The number of each seed.
pub(super) fn each_seed(finding: &Finding) -> String {
    let of_seed = |values: &[Measured]| {
        let all: Vec<String> = values.iter().map(measured).collect();
        all.join(" / ")
    };
    let all: Vec<String> = finding.seeds.iter().map(|seed| of_seed(&seed.values)).collect();
    all.join(", ")
}

fn measured(measured: &Measured) -> String {
    match measured {
        Measured::Value(value) => number(*value),
        Measured::AtLeast(value) => format!("≥ {}", number(*value)),
        Measured::AtMost(value) => format!("≤ {}", number(*value)),
        Measured::Missing(reason) => format!("({reason})"),
    }
}

// Three digits after the point where it is not a whole number, which steps and hops are.
fn number(value: f64) -> String {
    if value == f64::INFINITY {
        "never".to_owned()
    } else if value.fract() == 0.0 {
        format!("{value}")
    } else {
        format!("{value:.3}")
    }
}

// A row for each run with a cell for each seed.
fn by_seed(seeds: &[(u64, &Outcome)], title: &str, cell: impl Fn(RunView) -> String) -> String {
    let mut text = format!("\n{title}\n\n| run |");
    for (seed, _) in seeds {
        let _ = write!(text, " seed {seed} |");
    }
    let _ = write!(text, "\n|---|{}\n", "---|".repeat(seeds.len()));
    let names: Vec<&str> = seeds.first().map_or(Vec::new(), |(_, outcome)| {
        outcome.evidence.runs().map(RunView::name).collect()
    });
    for name in names {
        let _ = write!(text, "| {name} |");
        for (_, outcome) in seeds {
            let run = outcome.evidence.runs().find(|run| run.name() == name);
            let _ = write!(text, " {} |", or_dash(run.map(&cell)));
        }
        text.push('\n');
    }
    text
}

fn systematic(seeds: &[(u64, &Outcome)]) -> String {
    let accuracy = |split: Split| {
        move |run: RunView| or_dash(run.final_accuracy(&split).map(|row| format!("{:.3}", row.accuracy)))
    };
    let stages = |run: RunView| {
        let reached = run.training().map(|training| {
            let steps = training.stages.iter().map(|outcome| {
                let reached = outcome.reached.as_ref();
                or_dash(reached.map(|reached| reached.step.to_string()))
            });
            steps.collect::<Vec<_>>().join(" / ")
        });
        or_dash(reached)
    };
    [
        by_seed(
            seeds,
            "OOD accuracy at the end of training, at the training iterations:",
            accuracy(Split::ood()),
        ),
        by_seed(seeds, "ID accuracy:", accuracy(Split::in_distribution())),
        by_seed(
            seeds,
            "Updates to the three stages (– where it was not reached):",
            stages,
        ),
        by_seed(
            seeds,
            "Seconds of training, of one of as many runs at once as there are cores:",
            |run| or_dash(run.training().map(|training| format!("{:.0}", training.seconds))),
        ),
    ]
    .concat()
}

fn depth(seeds: &[(u64, &Outcome)]) -> String {
    [
        by_seed(
            seeds,
            "Hops learned, and answered at some number of iterations:",
            |run| format!("{}, {}", run.learned(), run.answered_hops()),
        ),
        by_seed(seeds, "Updates until 2, 3, … hops were learned:", super::depth::updates),
    ]
    .concat()
}

fn hashes<'a>(replicates: impl Iterator<Item = &'a MeasuredReplicate>) -> String {
    let mut text = String::from("\nData and final checkpoints:\n\n");
    for on in replicates.map(MeasuredReplicate::provenance) {
        let ends: Vec<String> = on
            .checkpoints
            .iter()
            .map(|(run, hash)| format!("{run} {hash}"))
            .collect();
        let _ = writeln!(
            text,
            "- seed {}: data {}; {}",
            on.seed,
            on.data.join(", "),
            ends.join(", ")
        );
    }
    text
}
