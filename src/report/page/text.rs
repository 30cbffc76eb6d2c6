//! The text of a page: what was run and how, what came of it, the claims, and what its pictures are of.

use std::path::Path;

use askama::Template;

use super::claims::{ClaimText, held_claims, note};
use super::data::PageData;
use super::facts::facts;
use super::moments::Moment;
use super::pictures::Pictures;
use super::places::{MethodText, PlaceText, places, query_places};
use super::queries::Queries;
use super::summary::Paragraph;
use super::{PageRun, PageSettings};
use crate::error::{Error, Result};
use crate::figure::FoundMethod;
use crate::wording::shell_word;

/// The template of a page, which escapes what is put in.
#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct Text<'a> {
    title: &'a str,
    footer: String,
    warnings: Vec<String>,
    summary: Vec<Paragraph>,
    runs: Vec<RunText<'a>>,
    common: Vec<Fact>,
    differing: Vec<DifferingFact>,
    claims: Vec<ClaimText>,
    claims_note: String,
    training_about: &'static str,
    training_places: Vec<PlaceText>,
    moments: &'a [Moment],
    methods_missing: String,
    methods: Vec<MethodText<'a>>,
    query: Option<QueryText>,
    sets: Vec<PlaceText>,
    points: Vec<PlaceText>,
    is_sweep: bool,
    /// Whether there is anything to choose of runs and checkpoints.
    has_choice: bool,
    notes: &'a [String],
    css: &'static str,
    js: String,
    data: String,
}

struct RunText<'a> {
    name: &'a str,
    kind: String,
}

/// A term with its value.
pub(super) struct Fact {
    pub(super) term: &'static str,
    pub(super) value: String,
}

struct DifferingFact {
    term: &'static str,
    by_run: Vec<String>,
}

/// The section of single queries.
struct QueryText {
    first: String,
    iterations: usize,
    trained: usize,
    groups: Vec<QueryGroup>,
    places: Vec<PlaceText>,
}

struct QueryGroup {
    label: String,
    options: Vec<QueryOption>,
}

struct QueryOption {
    words: String,
    text: String,
}

/// What a page is made of.
pub(super) struct Parts<'a> {
    pub(super) runs: &'a [PageRun],
    pub(super) settings: &'a PageSettings,
    pub(super) found: Vec<(&'a FoundMethod, &'a Pictures)>,
    pub(super) training: &'a Pictures,
    pub(super) moments: &'a [Moment],
    pub(super) queries: Option<&'a Queries<'a>>,
    pub(super) summary: Vec<Paragraph>,
    pub(super) warnings: Vec<String>,
}

/// What the page of a sweep is made of.
pub(super) struct SweepParts<'a> {
    pub(super) folder: &'a Path,
    pub(super) settings: &'a PageSettings,
    pub(super) facts: Vec<Fact>,
    pub(super) summary: Vec<Paragraph>,
    pub(super) claims: Vec<ClaimText>,
    pub(super) claims_note: String,
    pub(super) training: &'a Pictures,
    pub(super) sets: &'a Pictures,
    pub(super) points: &'a Pictures,
    pub(super) moments: &'a [Moment],
    pub(super) groups: &'a [&'a str],
    pub(super) methods: Vec<MethodText<'a>>,
    /// Whether results over seeds are among them.
    pub(super) has_over_seeds: bool,
    pub(super) notes: &'a [String],
    pub(super) warnings: Vec<String>,
}

impl<'a> Text<'a> {
    pub(super) fn of(mut parts: Parts<'a>) -> Self {
        let (runs, settings) = (parts.runs, parts.settings);
        let facts = facts(runs, settings);
        let (common, differing): (Vec<_>, Vec<_>) = facts
            .into_iter()
            .partition(|(_, by_run)| by_run.iter().all(|value| *value == by_run[0]));
        let held = held_claims(runs, &settings.files, &mut parts.warnings);
        let names: Vec<&str> = runs.iter().map(|run| run.name.as_str()).collect();
        Self {
            title: &settings.title,
            footer: footer(settings),
            warnings: parts.warnings,
            summary: parts.summary,
            runs: runs.iter().map(RunText::of).collect(),
            common: common
                .into_iter()
                .filter_map(|(term, by_run)| {
                    let value = by_run.into_iter().next()?;
                    Some(Fact { term, value })
                })
                .collect(),
            differing: differing
                .into_iter()
                .map(|(term, by_run)| DifferingFact { term, by_run })
                .collect(),
            claims_note: note(&held),
            claims: held.into_iter().flat_map(ClaimText::of).collect(),
            training_about: "Accuracy by split and training loss against steps, on the same axes for all runs; vertical lines are the steps at \
                             which stages were reached.",
            training_places: places("Training", parts.training, &names),
            moments: parts.moments,
            methods_missing: format!(
                "No result of these checkpoints lies below {}: {} measures them.",
                folders(settings),
                measuring_command(runs)
            ),
            methods: parts
                .found
                .iter()
                .map(|&(method, pictures)| MethodText::of(method, pictures, &names))
                .collect(),
            query: parts.queries.map(|queries| QueryText::of(queries, &names)),
            sets: Vec::new(),
            points: Vec::new(),
            is_sweep: false,
            has_choice: true,
            notes: &[],
            css: include_str!("page.css"),
            js: script(),
            data: String::new(),
        }
    }

    /// The text of a sweep's page; sets of values take the place of runs.
    pub(super) fn of_sweep(parts: SweepParts<'a>) -> Self {
        let SweepParts { settings, groups, .. } = parts;
        let run = |name: &&'a str| RunText {
            name,
            kind: String::new(),
        };
        Self {
            title: &settings.title,
            footer: footer(settings),
            warnings: parts.warnings,
            summary: parts.summary,
            runs: groups.iter().map(run).collect(),
            common: parts.facts,
            differing: Vec::new(),
            claims: parts.claims,
            claims_note: parts.claims_note,
            training_about: "Accuracy by split against steps. Thin: each run, a seed each; thick: the median of a set of values over its seeds, \
                             where all of them have been evaluated. Pictures say the medians; the tables under them have every run.",
            training_places: places("Training", parts.training, &[]),
            moments: parts.moments,
            methods_missing: format!(
                "There are no results over seeds yet: loopscope report {} --measure measures eval, lens and patch on the end of training of \
                 every finished point, which takes a while.",
                shell_word(&parts.folder.to_string_lossy())
            ),
            methods: parts.methods,
            query: None,
            sets: places("Sets", parts.sets, &[]),
            points: places("Points", parts.points, &[]),
            is_sweep: true,
            has_choice: parts.has_over_seeds,
            notes: parts.notes,
            css: include_str!("page.css"),
            js: script(),
            data: String::new(),
        }
    }

    /// The page with its data.
    pub(super) fn render(mut self, data: &PageData) -> Result<String> {
        let json = serde_json::to_string(data).map_err(|e| Error::failed(format!("the page's data: {e}")))?;
        // In JSON `<` stands in strings alone: so nothing in the data ends the block that it is in.
        self.data = json.replace('<', "\\u003c");
        Template::render(&self).map_err(|e| Error::failed(format!("the page: {e}")))
    }
}

// The script as a page carries it: without what stands in it for its readers alone.
fn script() -> String {
    let lines = include_str!("page.js").lines().map(str::trim_start);
    let kept: Vec<&str> = lines
        .filter(|line| !line.is_empty() && !line.starts_with("//"))
        .collect();
    kept.join("\n")
}

fn footer(settings: &PageSettings) -> String {
    format!(
        "loopscope {}; numbers are those of result files below {}",
        env!("CARGO_PKG_VERSION"),
        folders(settings)
    )
}

fn folders(settings: &PageSettings) -> String {
    let all: Vec<String> = settings
        .results
        .iter()
        .map(|folder| folder.display().to_string())
        .collect();
    if all.is_empty() {
        "figures".to_owned()
    } else {
        all.join(", ")
    }
}

fn measuring_command(runs: &[PageRun]) -> String {
    let folders = runs
        .iter()
        .map(|run| shell_word(&run.checkpoints[0].path.folder.to_string_lossy()));
    format!("loopscope report {} --measure", folders.collect::<Vec<_>>().join(" "))
}

impl<'a> RunText<'a> {
    fn of(run: &'a PageRun) -> Self {
        Self {
            name: &run.name,
            kind: run.kind(),
        }
    }
}

impl QueryText {
    fn of(queries: &Queries, names: &[&str]) -> Self {
        let first = queries.choices.first();
        Self {
            first: first.map_or(String::new(), |choice| choice.words.clone()),
            iterations: queries.max_iterations,
            trained: queries.trained,
            groups: groups(queries),
            places: query_places(names),
        }
    }
}

fn groups(queries: &Queries) -> Vec<QueryGroup> {
    let mut groups: Vec<QueryGroup> = Vec::new();
    for choice in &queries.choices {
        let option = QueryOption {
            words: choice.words.clone(),
            text: choice.text.clone(),
        };
        match groups.iter_mut().find(|group| group.label == choice.group) {
            Some(group) => group.options.push(option),
            None => groups.push(QueryGroup {
                label: choice.group.clone(),
                options: vec![option],
            }),
        }
    }
    groups
}
