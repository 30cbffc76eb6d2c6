//! The text of a page: what was run and how, what came of it, the claims, and where every number comes from.

use askama::Template;

use super::data::PageData;
use super::{PageRun, PageSettings};
use crate::error::{Error, Result};
use crate::figure::FoundMethod;
use crate::files;
use crate::graph::Split;
use crate::report::HeldClaims;
use crate::wording::shell_word;

/// The template of a page, which escapes what is put in.
#[derive(Template)]
#[template(path = "page.html")]
pub(super) struct Text<'a> {
    title: &'a str,
    loopscope: &'static str,
    command: &'a str,
    summary: Vec<String>,
    runs: Vec<RunText<'a>>,
    claims: Vec<HeldClaims>,
    notes: Vec<String>,
    methods: Vec<MethodText<'a>>,
    // Methods that nothing was found of, with the command that would make it.
    missing: Vec<Missing>,
    n_queries: usize,
    css: &'static str,
    js: &'static str,
    data: String,
}

struct RunText<'a> {
    name: &'a str,
    kind: String,
    facts: Vec<(&'static str, String)>,
}

struct MethodText<'a> {
    name: &'a str,
    about: &'a str,
    sources: Vec<SourceText>,
}

struct SourceText {
    path: String,
    command: String,
    notes: Vec<String>,
}

struct Missing {
    name: &'static str,
    command: String,
}

impl<'a> Text<'a> {
    pub(super) fn of(
        runs: &'a [PageRun],
        settings: &'a PageSettings,
        found: &'a [FoundMethod],
        n_queries: usize,
        notes: Vec<String>,
    ) -> Result<Self> {
        let targets: Vec<String> = runs
            .iter()
            .map(|run| shell_word(&run.checkpoints[0].path.folder.to_string_lossy()))
            .collect();
        let is_missing = |name: &&str| {
            found
                .iter()
                .all(|method| method.name != *name || method.figures.is_empty())
        };
        let missing = ["eval", "lens", "patch"]
            .into_iter()
            .filter(is_missing)
            .map(|name| Missing {
                name,
                command: format!("loopscope {name} {}", targets.join(" ")),
            });
        Ok(Self {
            title: &settings.title,
            loopscope: env!("CARGO_PKG_VERSION"),
            command: &settings.command,
            summary: runs.iter().map(sentence_of).collect(),
            runs: runs.iter().map(RunText::of).collect(),
            claims: held_claims(runs, settings)?,
            notes,
            methods: found
                .iter()
                .filter(|method| !method.figures.is_empty())
                .map(MethodText::of)
                .collect(),
            missing: missing.collect(),
            n_queries,
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

// The claims of experiments that ended in all of these runs' last checkpoints.
fn held_claims(runs: &[PageRun], settings: &PageSettings) -> Result<Vec<HeldClaims>> {
    let mut found: Vec<HeldClaims> = Vec::new();
    for path in crate::figure::result_files(&settings.results)? {
        if path.file_name().is_none_or(|name| name != "claims.json") {
            continue;
        }
        let held: HeldClaims = files::read_json(&path)?;
        let hash = |run: &PageRun| {
            run.last()
                .map(|checkpoint| checkpoint.info.origin.checkpoint_hash.clone())
        };
        let is_of = |run: &PageRun| hash(run).is_some_and(|hash| held.checkpoints.values().any(|known| *known == hash));
        if runs.iter().all(is_of) && !found.contains(&held) {
            found.push(held);
        }
    }
    Ok(found)
}

// In plain words with numbers: when the run reached its stages, and how it ended.
fn sentence_of(run: &PageRun) -> String {
    let summary = &run.summary;
    let reached: Vec<String> = summary
        .stages
        .iter()
        .filter_map(|outcome| {
            let reached = outcome.reached.as_ref()?;
            Some(format!("{} at step {}", outcome.stage.name, reached.step))
        })
        .collect();
    let stages = match (reached.is_empty(), summary.stages.len()) {
        (_, 0) => "has no stages".to_owned(),
        (true, _) => "reached none of its stages".to_owned(),
        (false, count) => format!("reached {} of {count} stages ({})", reached.len(), reached.join(", ")),
    };
    let named = [Split::in_distribution(), Split::ood()];
    let ends: Vec<String> = named
        .iter()
        .filter_map(|split| Some(format!("{} {:.3}", split.title(), summary.accuracy.get(split)?)))
        .collect();
    let learned = summary
        .learned_hops
        .map(|hops| format!("learned chains of up to {hops} hops"));
    let mut parts = vec![stages];
    parts.extend(learned);
    if !ends.is_empty() {
        parts.push(format!("accuracy at step {}: {}", summary.steps, ends.join(", ")));
    }
    format!("{} ({}) {}.", run.name, run.kind(), parts.join("; "))
}

impl<'a> RunText<'a> {
    fn of(run: &'a PageRun) -> Self {
        let (config, summary, data) = (&run.config, &run.summary, run.data());
        let seeds = config.seeds();
        let splits: Vec<String> = data
            .splits
            .iter()
            .map(|(split, rows)| format!("{split} {}", rows.len()))
            .collect();
        let checkpoints: Vec<String> = run
            .checkpoints
            .iter()
            .map(|it| format!("{} {}", it.info.origin.checkpoint, it.info.origin.checkpoint_hash))
            .collect();
        Self {
            name: &run.name,
            kind: run.kind(),
            facts: vec![
                ("model", model_text(run)),
                (
                    "training",
                    format!(
                        "{} steps, batch {}, seeds: weights {}, order {}",
                        summary.steps, config.train.batch, seeds.init, seeds.order
                    ),
                ),
                ("data", format!("{} ({} facts)", data.hash, data.graph.facts().len())),
                ("splits (rows)", splits.join(", ")),
                ("checkpoints", checkpoints.join(", ")),
                ("seconds of training", format!("{:.0}", summary.seconds)),
            ],
        }
    }
}

fn model_text(run: &PageRun) -> String {
    let model = &run.summary.model;
    format!(
        "{} layers × {} iterations, d_model {}, {} heads, {} weights, {:.2} MFLOP a query",
        model.layers,
        model.iterations,
        model.d_model,
        model.heads,
        run.summary.parameters,
        run.summary.forward_flops as f64 / 1e6
    )
}

impl<'a> MethodText<'a> {
    fn of(found: &'a FoundMethod) -> Self {
        let source = |source: &crate::figure::FoundSource| SourceText {
            path: source.path.display().to_string(),
            command: source
                .command
                .iter()
                .map(|word| shell_word(word))
                .collect::<Vec<_>>()
                .join(" "),
            notes: source.notes.clone(),
        };
        Self {
            name: found.name,
            about: found.about,
            sources: found.sources.iter().map(source).collect(),
        }
    }
}
