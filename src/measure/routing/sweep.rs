//! All runs of a set of pairs: patterns, values or both put in at every place.

use candle_core::Tensor;

use super::mix::{Gathered, gather};
use super::{AttentionPatch, Carried, Donor};
use crate::error::Result;
use crate::measure::BATCH;
use crate::measure::checkpoint::LoadedCheckpoint;
use crate::measure::pairs::{Direction, PairSet, Runs, Sides};
use crate::model::{Branch, Budget, Edit, Intervened, Model, Point, Site, Write};

/// What is put in, each with the site of the pattern that it changes.
pub(super) struct Sweep<'a> {
    model: &'a Model,
    column: usize,
    budget: Budget,
    /// Into base queries, from their sources.
    pub(super) from_source: Vec<(AttentionPatch, Site)>,
    /// Into clean queries, from their own other iterations.
    pub(super) from_itself: Vec<(AttentionPatch, Site)>,
}

impl<'a> Sweep<'a> {
    /// Everything that can be put in at a column.
    pub(super) fn new(checkpoint: &'a LoadedCheckpoint, column: usize, budget: Budget) -> Self {
        Self {
            model: &checkpoint.model,
            column,
            budget,
            from_source: patches(checkpoint, budget.iterations, Donor::Source),
            from_itself: patches(checkpoint, budget.iterations, Donor::Own),
        }
    }

    /// The runs with each patch from the sources of `set`, and with each from the query itself; `own`: the same pairs, the clean
    /// query being the base.
    ///
    /// # Errors
    /// When the queries do not fit the model, or the device fails.
    pub(super) fn run(&self, set: &PairSet, own: &PairSet) -> Result<[Runs; 2]> {
        let mut runs = [Runs::new(self.from_source.len()), Runs::new(self.from_itself.len())];
        let at_once = self.pairs_at_once(set);
        for (sides, own) in set.sides.chunks(at_once).zip(own.sides.chunks(at_once)) {
            let base: Vec<&[u32]> = sides.iter().map(|sides| &*sides.base).collect();
            let source: Vec<&[u32]> = sides.iter().map(|sides| &*sides.source).collect();
            let of_base = gather(self.model, &base, self.column, self.budget.iterations)?;
            let of_source = gather(self.model, &source, self.column, self.budget.iterations)?;
            let unedited = self.model.intervene(&source, &[], self.budget)?.base;
            let between_queries = self.intervene(&base, &self.from_source, [&of_base, &of_source])?;
            let (clean, of_clean, corrupt) = match set.direction {
                Direction::Denoise => (&source, &of_source, &between_queries.base),
                Direction::Noise => (&base, &of_base, &unedited),
            };
            let between_iterations = self.intervene(clean, &self.from_itself, [of_clean, of_clean])?;
            let [from_source, from_itself] = &mut runs;
            extend(from_source, sides, &unedited, &between_queries)?;
            extend(from_itself, own, corrupt, &between_iterations)?;
        }
        Ok(runs)
    }

    // The pairs whose patterns, values, branches and logits are within the budget.
    fn pairs_at_once(&self, set: &PairSet) -> usize {
        let config = self.model.config();
        let sites = self.budget.iterations * config.layers;
        let columns = set.positions(self.model).len();
        let gathered = sites * columns * (3 * config.d_model + 2 * config.heads);
        let patches = self.from_source.len() + self.from_itself.len();
        let branches = patches * (config.d_model + 2 * self.model.vocab());
        self.budget.at_once((gathered + branches) * size_of::<f32>()).min(BATCH)
    }

    // Every patch of every query, the queries of each patch one after the other.
    fn intervene(
        &self,
        queries: &[&[u32]],
        patches: &[(AttentionPatch, Site)],
        [base, donor]: [&[Gathered]; 2],
    ) -> Result<Intervened> {
        let branches = patches.iter().flat_map(|&(patch, site)| {
            (0..queries.len()).map(move |query| Branch {
                query,
                edits: vec![edit(patch, site, self.column, [&base[query], &donor[query]])],
            })
        });
        self.model
            .intervene(queries, &branches.collect::<Vec<_>>(), self.budget)
    }
}

fn extend(runs: &mut Runs, sides: &[Sides], source: &Tensor, found: &Intervened) -> Result<()> {
    let of_patch = |first| found.edited.narrow(0, first, sides.len());
    let patches = (0..found.edited.dim(0)?).step_by(sides.len());
    let edited: Vec<_> = patches.map(of_patch).collect::<candle_core::Result<_>>()?;
    runs.extend(sides, source, &found.base, &edited)
}

/// Everything of a donor that can be put in, site by site.
pub(super) fn patches(checkpoint: &LoadedCheckpoint, iterations: usize, donor: Donor) -> Vec<(AttentionPatch, Site)> {
    let heads = checkpoint.model.config().heads;
    let of_site = |site: Site| {
        let mut found = Vec::new();
        for from_iteration in 1..=iterations {
            let is_same = from_iteration == site.iteration() + 1;
            // A query's own pattern and values at the same iteration change nothing.
            if donor == Donor::Own && is_same {
                continue;
            }
            let is_crossed = donor == Donor::Source && is_same && heads > 1;
            for crossed in [false, true].into_iter().filter(|crossed| is_crossed || !crossed) {
                for attention_head in std::iter::once(None).chain((1..=heads).map(Some)) {
                    found.extend(Carried::ALL.map(|carried| AttentionPatch {
                        carried,
                        donor,
                        from_iteration,
                        attention_head,
                        crossed,
                    }));
                }
            }
        }
        found.into_iter().map(move |patch| (patch, site))
    };
    let sites = Site::all(Point::AttnPattern, iterations, checkpoint.info.layers);
    sites.into_iter().flat_map(of_site).collect()
}

/// The edit of the base's pattern, or of its z.
pub(super) fn edit(patch: AttentionPatch, site: Site, column: usize, [base, donor]: [&Gathered; 2]) -> Edit {
    let from = Site::new(site.point(), patch.from_iteration - 1, site.layer());
    let heads = match patch.attention_head {
        Some(head) => head - 1..head,
        None => 0..base.heads(),
    };
    let mixed = heads.flat_map(|head| {
        let from_head = (head + usize::from(patch.crossed)) % base.heads();
        match patch.carried {
            Carried::Routing => donor.pattern(from, from_head).to_vec(),
            Carried::Content => Gathered::z(base.pattern(site, head), donor.values(from, from_head)),
            Carried::Both => Gathered::z(donor.pattern(from, from_head), donor.values(from, from_head)),
        }
    });
    let point = match patch.carried {
        Carried::Routing => Point::AttnPattern,
        Carried::Content | Carried::Both => Point::Z,
    };
    Edit {
        site: Site::new(point, site.iteration(), site.layer()),
        column,
        head: patch.attention_head.map(|head| head - 1),
        write: Write::Set(mixed.collect()),
    }
}
