//! The text of a page: what was run and how, what came of it, the claims, and what its pictures are of.

use askama::Template;

use super::data::PageData;
use super::facts::{facts, sentence_of};
use super::moments::Moment;
use super::pictures::{Pictures, Place};
use super::queries::Queries;
use super::{PageRun, PageSettings};
use crate::error::{Error, Result};
use crate::figure::{FoundMethod, result_files};
use crate::files;
use crate::report::HeldClaims;
use crate::wording::shell_word;

/// The template of a page, which escapes what is put in.
#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct Text<'a> {
    title: &'a str,
    footer: String,
    warnings: Vec<String>,
    summary: Vec<String>,
    runs: Vec<RunText<'a>>,
    common: Vec<Fact>,
    differing: Vec<DifferingFact>,
    claims: Vec<ClaimText>,
    claims_note: String,
    training_missing: &'static str,
    training_places: Vec<PlaceText>,
    moments: &'a [Moment],
    methods_missing: String,
    methods: Vec<MethodText<'a>>,
    queries_missing: &'static str,
    query_first: String,
    query_iterations: usize,
    query_trained: usize,
    query_groups: Vec<QueryGroup>,
    query_places: Vec<PlaceText>,
    css: &'static str,
    js: &'static str,
    data: String,
}

struct RunText<'a> {
    name: &'a str,
    kind: String,
}

struct Fact {
    term: &'static str,
    value: String,
}

struct DifferingFact {
    term: &'static str,
    by_run: Vec<String>,
}

struct ClaimText {
    name: String,
    verdict: String,
    kind: &'static str,
    criterion: String,
    evidence: Vec<String>,
}

struct MethodText<'a> {
    name: &'a str,
    title: String,
    about: &'a str,
    misleads: &'a str,
    has_cells: bool,
    has_negative: bool,
    places: Vec<PlaceText>,
}

struct PlaceText {
    k: String,
    title: String,
    pictures: Vec<PictureText>,
}

struct PictureText {
    run: String,
    title: String,
    caption: String,
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
    pub(super) warnings: Vec<String>,
}

impl<'a> Text<'a> {
    pub(super) fn of(mut parts: Parts<'a>) -> Result<Self> {
        let (runs, settings) = (parts.runs, parts.settings);
        let facts = facts(runs, settings);
        let (common, differing): (Vec<_>, Vec<_>) = facts
            .into_iter()
            .partition(|(_, by_run)| by_run.iter().all(|value| *value == by_run[0]));
        let held = held_claims(runs, settings, &mut parts.warnings)?;
        let queries = parts.queries;
        Ok(Self {
            title: &settings.title,
            footer: format!(
                "loopscope {}; numbers are those of result files below {}",
                env!("CARGO_PKG_VERSION"),
                folders(settings)
            ),
            warnings: parts.warnings,
            summary: runs.iter().map(sentence_of).collect(),
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
            claims_note: claims_note(&held),
            claims: held.into_iter().flat_map(claim_texts).collect(),
            training_missing: "No evaluation has been recorded yet.",
            training_places: places("Training", parts.training, runs),
            moments: parts.moments,
            methods_missing: format!(
                "No result of these checkpoints lies below {}: {} measures them.",
                folders(settings),
                measuring_command(runs)
            ),
            methods: parts
                .found
                .iter()
                .map(|&(method, pictures)| MethodText::of(method, pictures, runs))
                .collect(),
            queries_missing: "The data of these runs has no chains to look at.",
            query_first: queries
                .and_then(|queries| queries.choices.first())
                .map_or(String::new(), |choice| choice.words.clone()),
            query_iterations: queries.map_or(1, |queries| queries.max_iterations),
            query_trained: queries.map_or(1, |queries| queries.trained),
            query_groups: queries.map_or(Vec::new(), groups),
            query_places: query_places(runs),
            css: include_str!("page.css"),
            js: include_str!("page.js"),
            data: String::new(),
        })
    }

    /// The page with its data.
    pub(super) fn render(mut self, data: &PageData) -> Result<String> {
        let json = serde_json::to_string(data).map_err(|e| Error::failed(format!("the page's data: {e}")))?;
        // In JSON `<` stands in strings alone: so nothing in the data ends the block that it is in.
        self.data = json.replace('<', "\\u003c");
        Template::render(&self).map_err(|e| Error::failed(format!("the page: {e}")))
    }
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

// The claims of experiments that ended in the last checkpoints of all these runs. A file that cannot be read is a warning.
fn held_claims(runs: &[PageRun], settings: &PageSettings, warnings: &mut Vec<String>) -> Result<Vec<HeldClaims>> {
    let mut found: Vec<HeldClaims> = Vec::new();
    for path in result_files(&settings.results)? {
        if path.file_name().is_none_or(|name| name != "claims.json") {
            continue;
        }
        let held: HeldClaims = match files::read_json(&path) {
            Ok(held) => held,
            Err(error) => {
                warnings.push(format!("claims are left out: {error}"));
                continue;
            }
        };
        let is_of = |run: &PageRun| {
            let hash = run.last().map(|checkpoint| &checkpoint.info.origin.checkpoint_hash);
            hash.is_some_and(|hash| held.checkpoints.values().any(|known| known == hash))
        };
        if runs.iter().all(is_of) && !found.contains(&held) {
            found.push(held);
        }
    }
    Ok(found)
}

fn claims_note(held: &[HeldClaims]) -> String {
    let of = held.iter().map(|held| {
        let runs: Vec<&str> = held.checkpoints.keys().map(String::as_str).collect();
        format!(
            "{} (loopscope {}; runs {})",
            held.experiment,
            held.loopscope,
            runs.join(", ")
        )
    });
    format!("Held against one seed each: {}.", of.collect::<Vec<_>>().join("; "))
}

fn claim_texts(held: HeldClaims) -> Vec<ClaimText> {
    let text = |claim: crate::report::HeldClaim| ClaimText {
        kind: match claim.verdict.as_str() {
            "reproduced" => "yes",
            "not reproduced" => "no",
            _ => "open",
        },
        name: claim.claim,
        verdict: claim.verdict,
        criterion: format!("{} Source: {}.", claim.criterion, claim.source),
        evidence: claim.numbers,
    };
    held.claims.into_iter().map(text).collect()
}

impl<'a> RunText<'a> {
    fn of(run: &'a PageRun) -> Self {
        Self {
            name: &run.name,
            kind: run.kind(),
        }
    }
}

impl<'a> MethodText<'a> {
    fn of(found: &'a FoundMethod, pictures: &Pictures, runs: &[PageRun]) -> Self {
        let title = found
            .figures
            .first()
            .map_or(found.name.to_owned(), |found| found.figure.title().to_owned());
        Self {
            name: found.name,
            about: found.about,
            misleads: found.misleads,
            has_cells: pictures.places.iter().any(|place| place.has_cells),
            has_negative: pictures.places.iter().any(|place| place.has_negative),
            places: places(title.split(':').next().unwrap_or(&title), pictures, runs),
            title,
        }
    }
}

fn places(method: &str, pictures: &Pictures, runs: &[PageRun]) -> Vec<PlaceText> {
    let text = |(k, place): (usize, &Place)| PlaceText {
        k: k.to_string(),
        title: place.title.clone(),
        pictures: picture_texts(&[method, &place.name].join(", "), runs),
    };
    pictures.places.iter().enumerate().map(text).collect()
}

fn query_places(runs: &[PageRun]) -> Vec<PlaceText> {
    let headings = [
        ("grid", "Lens: the top-1 token"),
        ("attention", "Attention by head at the chosen iteration"),
        ("answer", "Probability of the target by iteration"),
        ("margin", "Margin of the target by iteration"),
    ];
    let text = |(k, title): (&str, &str)| PlaceText {
        k: k.to_owned(),
        title: title.to_owned(),
        pictures: picture_texts(title, runs),
    };
    headings.map(text).into_iter().collect()
}

fn picture_texts(title: &str, runs: &[PageRun]) -> Vec<PictureText> {
    let text = |(index, run): (usize, &PageRun)| PictureText {
        run: index.to_string(),
        title: format!("{title}, {}", run.name),
        caption: run.name.clone(),
    };
    runs.iter().enumerate().map(text).collect()
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
