//! Adaptive halting (Kohli et al. 2026, Figures 9 and 10).

use super::kit::{Axis, Colour, Content, Figure, Panel, Point, Series, Stroke, UNIT};
use super::{column_title, conditions, cycled_line, several_runs};
use crate::measure::{Criterion, Halt, HaltRow, Report, Rule, SubjectInfo};

/// A column a checkpoint: accuracy and iterations by hops, a line a rule, and, from a sweep, what every threshold buys.
pub fn halt(report: &Report<Halt, HaltRow>) -> Figure {
    let several = several_runs(&report.subjects);
    let rules: Vec<String> = report.settings.rules.iter().map(ToString::to_string).collect();
    let most = report.settings.most as f64;
    let deepest = report.rows.iter().map(|row| row.hops).max().unwrap_or(1) as f64;
    let shallowest = report.rows.iter().map(|row| row.hops).min().unwrap_or(1) as f64;
    let hops = || Axis {
        label: "hops".to_owned(),
        range: (shallowest - 0.2, deepest + 0.2),
        log: false,
    };
    let by_hops = |subject: &SubjectInfo, of: &dyn Fn(&HaltRow) -> Point| -> Vec<Series> {
        let line = |(place, rule): (usize, &String)| {
            let mut points: Vec<Point> = of_subject(report, subject)
                .filter(|row| !row.swept && row.rule == *rule)
                .map(of)
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            line_of(place, rule).points(points)
        };
        rules.iter().enumerate().map(line).collect()
    };
    let panel = |subject: &SubjectInfo, x: Axis, y_label: &str, y_range, series| Panel {
        title: column_title(subject, several),
        content: Content::Lines {
            x,
            y_label: y_label.to_owned(),
            y_range,
            series,
            marks: Vec::new(),
        },
    };
    let accuracy = report.subjects.iter().map(|subject| {
        let series = by_hops(subject, &|row| {
            (row.hops as f64, row.accuracy, Some((row.low, row.high)))
        });
        panel(subject, hops(), "accuracy", UNIT, series)
    });
    let used = report.subjects.iter().map(|subject| {
        let series = by_hops(subject, &|row| (row.hops as f64, row.mean, None));
        panel(subject, hops(), "iterations used", (0.0, most), series)
    });
    let mut panels = vec![accuracy.collect(), used.collect()];
    if report.settings.sweep {
        let frontier = report.subjects.iter().map(|subject| {
            let x = Axis {
                label: "mean iterations, over all hops".to_owned(),
                range: (0.0, most + 0.2),
                log: false,
            };
            panel(subject, x, "accuracy", UNIT, frontier(report, subject))
        });
        panels.push(frontier.collect());
    }
    let entry = |(place, rule): (usize, &String)| (rule.clone(), line_of(place, rule));
    Figure {
        title: "Adaptive halting".to_owned(),
        conditions: vec![
            conditions(&report.subjects, &report.data_hash),
            format!(
                "at most {most} iterations; bands: 95 % intervals (Wilson){}",
                if report.settings.sweep {
                    "; last row: every threshold of each rule with one criterion, and the oracle"
                } else {
                    ""
                }
            ),
        ],
        legend: rules.iter().enumerate().map(entry).collect(),
        panels,
    }
}

// The oracle is no rule that one could use, and looks like none.
fn line_of(place: usize, rule: &str) -> Series {
    if rule == Criterion::Oracle.name() {
        return Series::new(Colour::GREY);
    }
    cycled_line(place)
}

fn of_subject<'a>(
    report: &'a Report<Halt, HaltRow>,
    subject: &'a SubjectInfo,
) -> impl Iterator<Item = &'a HaltRow> + use<'a> {
    report.rows.iter().filter(|row| subject.owns(row))
}

// Mean iterations and accuracy over all hops, by threshold, in the colours of the rules.
fn frontier(report: &Report<Halt, HaltRow>, subject: &SubjectInfo) -> Vec<Series> {
    let pooled = |rule: &str, swept: bool| -> Option<Point> {
        let rows: Vec<&HaltRow> = of_subject(report, subject)
            .filter(|row| row.swept == swept && row.rule == rule)
            .collect();
        let n: usize = rows.iter().map(|row| row.n).sum();
        let total = |of: fn(&HaltRow) -> f64| rows.iter().map(|row| of(row) * row.n as f64).sum::<f64>() / n as f64;
        (n > 0).then(|| (total(|row| row.mean), total(|row| row.accuracy), None))
    };
    let line = |(place, rule): (usize, &Rule)| {
        let own = line_of(place, &rule.to_string());
        match rule.criteria() {
            [(criterion, _)] if *criterion != Criterion::Oracle => {
                let thresholds = criterion.sweep().into_iter();
                let points = thresholds.filter_map(|x| pooled(&Rule::of(*criterion, x).to_string(), true));
                match own.stroke {
                    Stroke::Marked => own.stroke(Stroke::Solid),
                    _ => own,
                }
                .points(points)
            }
            _ => own.points(pooled(&rule.to_string(), false)),
        }
    };
    report.settings.rules.iter().enumerate().map(line).collect()
}
