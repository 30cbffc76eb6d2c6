//! Adaptive halting (Kohli et al. 2026, Figures 9 and 10).

use super::kit::{Axis, Colour, Content, Figure, Panel, Point, Series, Stroke, UNIT};
use super::{
    Populations, column_title, conditions, cycled_line, intervals, sample_size, several_runs, split_name, wrapped,
};
use crate::measure::{Criterion, Halt, HaltRow, Report, Rule, SubjectInfo};

/// A column a checkpoint. For each family of splits (the depths of one data set, or a split by itself): accuracy and
/// iterations by hops, a line a rule, and, from a sweep or where all chains have the same hops, what every rule and threshold
/// buys.
pub fn halt(report: &Report<Halt, HaltRow>) -> Figure {
    let rules: Vec<String> = report.settings.rules.iter().map(ToString::to_string).collect();
    let populations = Populations::of(&report.rows, |row| (&row.split, row.hops));
    let families = populations.families();
    let mut panels: Vec<Vec<Panel>> = families
        .iter()
        .flat_map(|family| rows_of_family(report, &rules, family))
        .collect();
    if report.subjects.len() == 1 {
        panels = wrapped(panels.into_iter().flatten().collect());
    }
    let most = report.settings.most;
    let entry = |(place, rule): (usize, &String)| (rule.clone(), line_of(place, rule));
    Figure {
        title: "Adaptive halting".to_owned(),
        conditions: vec![
            conditions(&report.subjects),
            format!(
                "at most {most} iterations; {}; bands: {}{}",
                sample_size(&report.rows, |row| (&row.split, row.hops, row.n)),
                intervals(&report.rows, |row| (&row.split, row.interval)),
                if report.settings.sweep {
                    "; against mean iterations: every threshold of each rule with one criterion, and the oracle"
                } else {
                    ""
                }
            ),
        ],
        legend: rules.iter().enumerate().map(entry).collect(),
        panels,
    }
}

// The rows of panels of one family, a column a checkpoint.
fn rows_of_family(report: &Report<Halt, HaltRow>, rules: &[String], family: &[(&str, usize)]) -> Vec<Vec<Panel>> {
    let several = several_runs(&report.subjects);
    let most = report.settings.most as f64;
    let hops = |ends: fn(&[(&str, usize)]) -> Option<usize>| ends(family).unwrap_or(1) as f64;
    let deepest = hops(|family| family.iter().map(|(_, hops)| *hops).max());
    let shallowest = hops(|family| family.iter().map(|(_, hops)| *hops).min());
    let by_hops = Axis {
        label: "hops".to_owned(),
        range: (shallowest - 0.2, deepest + 0.2),
        log: false,
    };
    let by_mean = Axis {
        label: "mean iterations".to_owned(),
        range: (0.0, most + 0.2),
        log: false,
    };
    let name = match family {
        [(split, _), rest @ ..] if rest.iter().all(|(other, _)| other == split) => split_name(split),
        _ => "all depths".to_owned(),
    };
    let panel = |subject: &SubjectInfo, x: &Axis, y_label: &str, y_range, series| Panel {
        title: format!("{name}: {}", column_title(subject, several)),
        content: Content::Lines {
            x: x.clone(),
            y_label: y_label.to_owned(),
            y_range,
            series,
            marks: Vec::new(),
        },
    };
    let lines = |subject: &SubjectInfo, of: fn(&HaltRow) -> Point| -> Vec<Series> {
        let line = |(place, rule): (usize, &String)| {
            let mut points: Vec<Point> = of_family(report, subject, family)
                .filter(|row| !row.swept && row.rule == *rule)
                .map(of)
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            line_of(place, rule).points(points)
        };
        rules.iter().enumerate().map(line).collect()
    };
    let mut rows = Vec::new();
    if deepest > shallowest {
        let accuracy = |row: &HaltRow| (row.hops as f64, row.accuracy, Some((row.low, row.high)));
        let used = |row: &HaltRow| (row.hops as f64, row.mean, None);
        let row = |y_label, y_range, of: fn(&HaltRow) -> Point| -> Vec<Panel> {
            let panel = |subject| panel(subject, &by_hops, y_label, y_range, lines(subject, of));
            report.subjects.iter().map(panel).collect()
        };
        rows.push(row("accuracy", UNIT, accuracy));
        rows.push(row("iterations used", (0.0, most), used));
    }
    if report.settings.sweep || deepest == shallowest {
        let panel = |subject| panel(subject, &by_mean, "accuracy", UNIT, frontier(report, subject, family));
        rows.push(report.subjects.iter().map(panel).collect());
    }
    rows
}

// The oracle is no rule that one could use, and looks like none.
fn line_of(place: usize, rule: &str) -> Series {
    if rule == Criterion::Oracle.name() {
        return Series::new(Colour::GREY);
    }
    cycled_line(place)
}

fn of_family<'a>(
    report: &'a Report<Halt, HaltRow>,
    subject: &'a SubjectInfo,
    family: &'a [(&str, usize)],
) -> impl Iterator<Item = &'a HaltRow> {
    let is_of_family = |row: &&HaltRow| family.contains(&(row.split.as_str(), row.hops));
    report
        .rows
        .iter()
        .filter(|row| subject.owns(&row.origin))
        .filter(is_of_family)
}

// Mean iterations and accuracy over all chains of the family, by threshold, in the colours of the rules.
fn frontier(report: &Report<Halt, HaltRow>, subject: &SubjectInfo, family: &[(&str, usize)]) -> Vec<Series> {
    let pooled = |rule: &str, swept: bool| -> Option<Point> {
        let rows: Vec<&HaltRow> = of_family(report, subject, family)
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
