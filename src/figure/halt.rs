//! Adaptive halting (Kohli et al. 2026, Figures 9 and 10).

use super::kit::{Axis, Colour, Content, Figure, Panel, Point, Series, Title, UNIT};
use super::{Draw, Populations, column_title, conditions, cycled_line, intervals, sample_size, several_runs, wrapped};
use crate::graph::Split;
use crate::measure::{CheckpointSummary, Criterion, Halt, HaltRow, Report, Rule};

impl Draw for Halt {
    /// A column a checkpoint. For each family of splits (the depths of one data set, or a split by itself): accuracy and
    /// iterations by hops, a line a rule, and, from a sweep or where all chains have the same hops, what every rule and threshold
    /// buys.
    fn draw(report: &Report<Self>) -> Figure {
        let rules = &report.settings.rules;
        let populations = Populations::of(&report.rows, |row| (&row.split, row.hops));
        let families = populations.families();
        let mut panels: Vec<Vec<Panel>> = families
            .iter()
            .flat_map(|family| rows_of_family(report, rules, family))
            .collect();
        if report.checkpoints.len() == 1 {
            panels = wrapped(panels.into_iter().flatten().collect());
        }
        let max = report.settings.iterations.max(1);
        let entry = |(place, rule): (usize, &Rule)| (rule.to_string(), line_of(place, rule));
        Figure {
            title: "Adaptive halting".to_owned(),
            conditions: vec![
                conditions(&report.checkpoints),
                format!(
                    "at most {max} iterations; {}; bands and bars: {}{}{}",
                    sample_size(&report.rows, |row| (&row.split, row.hops, row.n)),
                    intervals(&report.rows, |row| (&row.split, row.interval)),
                    if report.settings.sweep {
                        "; against mean iterations: points are the rules as named, lines every threshold of each rule with one \
                     criterion"
                    } else {
                        ""
                    },
                    if report.settings.sweep && families.iter().any(|family| family.len() > 1) {
                        "; over chains of several hops without intervals"
                    } else {
                        ""
                    }
                ),
            ],
            legend: rules.iter().enumerate().map(entry).collect(),
            panels,
        }
    }
}

// The rows of panels of one family, a column a checkpoint.
fn rows_of_family(report: &Report<Halt>, rules: &[Rule], family: &[(&Split, usize)]) -> Vec<Vec<Panel>> {
    let several = several_runs(&report.checkpoints);
    let max = report.settings.iterations.max(1) as f64;
    let hops = |ends: fn(&[(&Split, usize)]) -> Option<usize>| ends(family).unwrap_or(1) as f64;
    let deepest = hops(|family| family.iter().map(|(_, hops)| *hops).max());
    let shallowest = hops(|family| family.iter().map(|(_, hops)| *hops).min());
    let by_hops = Axis {
        label: "hops".to_owned(),
        range: (shallowest - 0.2, deepest + 0.2),
        log: false,
        layers: None,
    };
    let by_mean = Axis {
        label: "mean iterations".to_owned(),
        range: (0.0, max + 0.2),
        log: false,
        layers: None,
    };
    let name = match family {
        [(split, _), rest @ ..] if rest.iter().all(|(other, _)| other == split) => split.title().to_owned(),
        _ => "all depths".to_owned(),
    };
    let panel = |checkpoint: &CheckpointSummary, x: &Axis, y_label: &str, y_range, series| Panel {
        title: Title::new(name.clone(), column_title(checkpoint, several)),
        content: Content::Lines {
            x: x.clone(),
            y_label: y_label.to_owned(),
            y_range,
            series,
            marks: Vec::new(),
        },
    };
    let lines = |checkpoint: &CheckpointSummary, of: fn(&HaltRow) -> Point| -> Vec<Series> {
        let line = |(place, rule): (usize, &Rule)| {
            let mut points: Vec<Point> = of_family(report, checkpoint, family)
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
            let panel = |checkpoint| panel(checkpoint, &by_hops, y_label, y_range, lines(checkpoint, of));
            report.checkpoints.iter().map(panel).collect()
        };
        rows.push(row("accuracy", UNIT, accuracy));
        rows.push(row("iterations used", (0.0, max), used));
    }
    if report.settings.sweep || deepest == shallowest {
        let panel = |checkpoint| {
            panel(
                checkpoint,
                &by_mean,
                "accuracy",
                UNIT,
                frontier(report, checkpoint, family),
            )
        };
        rows.push(report.checkpoints.iter().map(panel).collect());
    }
    rows
}

// The oracle needs the right answer, so it is drawn unlike the rules that can be used.
fn line_of(place: usize, rule: &Rule) -> Series {
    if let &[(Criterion::Oracle, _)] = rule.criteria() {
        return Series::new(Colour::GREY);
    }
    cycled_line(place)
}

fn of_family<'a>(
    report: &'a Report<Halt>,
    checkpoint: &'a CheckpointSummary,
    family: &'a [(&Split, usize)],
) -> impl Iterator<Item = &'a HaltRow> {
    let is_of_family = |row: &&HaltRow| family.contains(&(&row.split, row.hops));
    report
        .rows
        .iter()
        .filter(|row| checkpoint.owns(&row.origin))
        .filter(is_of_family)
}

// Mean iterations and accuracy over all chains of the family: each rule as named is a point, and, from a sweep, a rule with
// one criterion a line over its thresholds in the same colour.
fn frontier(report: &Report<Halt>, checkpoint: &CheckpointSummary, family: &[(&Split, usize)]) -> Vec<Series> {
    let pooled = |rule: &Rule, swept: bool| -> Option<Point> {
        let rows: Vec<&HaltRow> = of_family(report, checkpoint, family)
            .filter(|row| row.swept == swept && row.rule == *rule)
            .collect();
        let n: usize = rows.iter().map(|row| row.n).sum();
        let total = |of: fn(&HaltRow) -> f64| rows.iter().map(|row| of(row) * row.n as f64).sum::<f64>() / n as f64;
        // The intervals of several rows do not tell that of all their chains together.
        let interval = match rows.as_slice() {
            [one] => Some((one.low, one.high)),
            _ => None,
        };
        (n > 0).then(|| (total(|row| row.mean), total(|row| row.accuracy), interval))
    };
    let of_rule = |(place, rule): (usize, &Rule)| -> Vec<Series> {
        let own = line_of(place, rule);
        let mut series = Vec::new();
        if report.settings.sweep
            && let &[(criterion, _)] = rule.criteria()
        {
            let thresholds = criterion.sweep().into_iter();
            let points = thresholds.filter_map(|x| pooled(&Rule::of(criterion, x), true));
            let line = own.clone().stroke(own.stroke);
            series.push(line.points(points));
        }
        series.push(own.points(pooled(rule, false)));
        series
    };
    report.settings.rules.iter().enumerate().flat_map(of_rule).collect()
}

#[cfg(test)]
mod tests {
    use super::super::kit::Stroke;
    use super::super::tests::{origin, report};
    use super::*;
    use crate::measure::statistics::Clustering;
    use crate::measure::{Decided, Iterations};

    fn row(split: impl Into<Split>, hops: usize, rule: Rule, swept: bool) -> HaltRow {
        HaltRow {
            origin: origin(),
            split: split.into(),
            hops,
            rule,
            swept,
            max_iterations: 8,
            n: 50,
            accuracy: 0.5,
            low: 0.4,
            high: 0.6,
            interval: Clustering::Independent,
            mean: 3.0,
            median: 3.0,
            std: 1.0,
            work: (!swept).then_some(0.5),
            decided: Decided::default(),
        }
    }

    // One family with one number of hops, and one with two, by nine rules: more than there are colours.
    fn drawn(sweep: bool) -> Figure {
        let rules =
            "kl+entropy,argmax=5,oracle,kl=1,cosine=1,entropy=1,latent-difference=1,min-p-kl=1,second-difference=1";
        let rules: Vec<Rule> = rules.split(',').map(|rule| rule.parse().unwrap()).collect();
        let settings = Halt {
            splits: Vec::new(),
            rules: rules.clone(),
            iterations: Iterations::up_to(8),
            sweep,
        };
        let mut rows = Vec::new();
        for (split, hops) in [("test_inferred_ood", 2), ("mixed", 2), ("mixed", 3)] {
            rows.extend(rules.iter().map(|rule| row(split, hops, rule.clone(), false)));
            if sweep {
                let of_sweep = (1..=10).map(|n| row(split, hops, Rule::of(Criterion::Argmax, f64::from(n)), true));
                rows.extend(of_sweep);
            }
        }
        Halt::draw(&report(settings, rows))
    }

    #[test]
    fn every_rule_of_the_legend_has_a_mark_in_every_panel() {
        for sweep in [false, true] {
            let figure = drawn(sweep);
            let panels: Vec<&Panel> = figure.panels.iter().flatten().collect();
            assert_eq!(panels.len(), if sweep { 4 } else { 3 });
            for panel in panels {
                let Content::Lines { series, .. } = &panel.content else {
                    panic!("{panel:?}");
                };
                for (rule, entry) in &figure.legend {
                    let is_mark = |line: &&Series| line.looks_like(entry) && !line.points.is_empty();
                    let marks = series.iter().filter(is_mark).count();
                    assert_eq!(marks, 1, "{rule}, {}", panel.title.whole());
                }
            }
        }
    }

    #[test]
    fn a_point_against_mean_iterations_has_its_interval_and_its_sweep_a_line_beside_it() {
        let of_argmax = |sweep| -> Vec<Series> {
            let figure = drawn(sweep);
            let panels: Vec<&Panel> = figure.panels.iter().flatten().collect();
            let is_frontier = |panel: &&&Panel| match &panel.content {
                Content::Lines { x, .. } => x.label == "mean iterations" && panel.title.whole().starts_with("OOD test"),
                Content::Cells(_) | Content::Estimates { .. } => false,
            };
            let Some(Content::Lines { series, .. }) = panels.iter().find(is_frontier).map(|panel| &panel.content)
            else {
                panic!("no panel against mean iterations");
            };
            let of_colour = |line: &&Series| {
                line.colour == line_of(1, &Rule::of(Criterion::Argmax, 5.0)).colour && line.stroke != Stroke::Dashed
            };
            series.iter().filter(of_colour).cloned().collect()
        };
        let point = [(3.0, 0.5, Some((0.4, 0.6)))];
        let alone = of_argmax(false);
        assert_eq!(alone.len(), 1);
        assert_eq!(alone[0].points, point);
        let beside = of_argmax(true);
        assert_eq!(beside.len(), 2);
        assert_eq!((beside[0].stroke, beside[0].points.len()), (Stroke::Solid, 10));
        assert_eq!(beside[1].points, point);
    }
}
