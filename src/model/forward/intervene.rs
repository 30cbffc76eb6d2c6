//! Interventions of any kind, many at once: queries whose states are edited at some sites and columns.

use candle_core::{DType, Tensor};

use super::{Model, Pass};
use crate::error::{Error, Result};
use crate::model::branches::{Branch, Cut, Edit, EditPlan, Loop, Record, Step};
use crate::model::budget::Budget;
use crate::model::hooks::{By, Hooks, check_head};
use crate::model::rows::{Rows, Sharing};
use crate::model::site::{Point, Site};
use crate::model::write::Write;

/// What comes out of queries and of their branches.
pub struct Intervened {
    /// The logits of the queries as they are, `[queries, vocab]`.
    pub base: Tensor,
    /// The logits of the branches, `[branches, vocab]`.
    pub edited: Tensor,
    /// For each place that was asked for, the state of the branches, `[branches, …]` as the point is shaped; a pattern with fewer
    /// ancestors than the longest query has is padded with zeros.
    pub recorded: Vec<Tensor>,
    /// Rows that were computed, times the effective layers of each.
    pub row_layers: u64,
}

impl Model {
    /// The logits of queries, and of branches of them: each is one of the queries with some states edited. Queries may differ in
    /// length.
    ///
    /// The CPU kernels compute a branch from the effective layer on in which it differs from its query, at the columns that can
    /// see an edit; everything else is shared with the query. `budget`: the number of iterations, or a [`Budget`].
    ///
    /// ```
    /// # use loopscope::Device;
    /// use std::sync::Arc;
    /// use loopscope::model::{Branch, Edit, Model, ModelConfig, Point, Site, Weights, Write};
    ///
    /// # fn main() -> loopscope::Result<()> {
    /// let config = ModelConfig::new(1, 4, 32, 2);
    /// let model = Model::new(config.clone(), 10, &Weights::init(&config, 10, 1, &Device::Cpu)?)?;
    /// // Head 1 silenced at every iteration at the last column, and the state there scaled after iteration 2.
    /// let zero = Write::Apply(Arc::new(|z: &mut [f32]| z.fill(0.0)));
    /// let silence = |site| Edit { head: Some(1), ..Edit::new(site, 2, zero.clone()) };
    /// let scale = Write::Apply(Arc::new(|state: &mut [f32]| state.iter_mut().for_each(|x| *x *= 0.5)));
    /// let branches = [
    ///     Branch { query: 0, edits: Site::all(Point::Z, 4, 1).into_iter().map(silence).collect() },
    ///     Branch { query: 0, edits: vec![Edit::new(Site::new(Point::ResidPost, 1, 0), 2, scale)] },
    /// ];
    /// let found = model.intervene(&[&[1, 5, 6]], &branches, 4)?;
    /// assert_eq!((found.base.dims(), found.edited.dims()), (&[1, 10][..], &[2, 10][..]));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When a query does not fit the model, an edit is at no state of the loop or does not fit it, or the device fails.
    pub fn intervene(&self, queries: &[&[u32]], branches: &[Branch], budget: impl Into<Budget>) -> Result<Intervened> {
        self.intervene_recording(queries, branches, &[], budget)
    }

    /// [`Model::intervene`], which also records the states of every branch at `places`: what arrives there of an edit elsewhere.
    ///
    /// # Errors
    /// As [`Model::intervene`], and when a place is outside a branch's query or at no state of the loop.
    pub fn intervene_recording(
        &self,
        queries: &[&[u32]],
        branches: &[Branch],
        places: &[Cut],
        budget: impl Into<Budget>,
    ) -> Result<Intervened> {
        let budget = budget.into();
        if queries.is_empty() {
            return Err(Error::input("an intervention needs at least one query"));
        }
        if budget.iterations == 0 {
            return Err(Error::input("iterations = 0; the block must run at least once"));
        }
        let rows = self.pack(queries.iter().copied(), Sharing::Nothing)?;
        for branch in branches {
            if branch.query >= queries.len() {
                return Err(Error::input(format!(
                    "a branch is of query {}; allowed: 0 to {}",
                    branch.query,
                    queries.len() - 1
                )));
            }
            let of_query = rows.of_query(branch.query);
            for edit in &branch.edits {
                self.check_place(edit.site, edit.column, of_query.len(), budget.iterations)?;
                self.check_edit(edit, rows.ancestors(of_query[edit.column] as usize).len())?;
            }
            for place in places {
                self.check_place(place.site, place.column, of_query.len(), budget.iterations)?;
            }
        }
        if self.is_fused {
            self.intervene_fused(&rows, branches, places, budget)
        } else {
            self.intervene_by_hooks(&rows, queries, branches, places, budget)
        }
    }

    pub(super) fn check_place(&self, site: Site, column: usize, columns: usize, iterations: usize) -> Result<()> {
        self.check_state(site, iterations)?;
        if column >= columns {
            return Err(Error::input(format!(
                "column {column} is outside a query of {} columns; allowed: 0 to {}",
                columns,
                columns - 1
            )));
        }
        Ok(())
    }

    // Refuses a site that is not a state of the loop.
    fn check_state(&self, site: Site, iterations: usize) -> Result<()> {
        let is_in_loop = site.iteration() < iterations && site.layer() < self.config.layers;
        if site.point() == Point::Embed || (site.point().in_block() && is_in_loop) {
            return Ok(());
        }
        Err(Error::input(format!(
            "{site} is not a state of the loop's layers; allowed: iterations 0 to {} and layers 0 to {}",
            iterations.saturating_sub(1),
            self.config.layers - 1
        )))
    }

    fn check_edit(&self, edit: &Edit, ancestors: usize) -> Result<()> {
        let heads = self.config.heads;
        if let Some(head) = edit.head {
            check_head(edit.site, head, heads)?;
        }
        let whole: usize = edit.site.point().state_shape(&self.config, ancestors).iter().product();
        let width = if edit.head.is_some() { whole / heads } else { whole };
        match &edit.write {
            Write::Set(numbers) if numbers.len() != width => Err(Error::input(format!(
                "an edit of column {} sets {} at {} numbers; {width} are needed",
                edit.column,
                edit.site,
                numbers.len()
            ))),
            _ => Ok(()),
        }
    }

    // Batches of branches by the kernels.
    fn intervene_fused(&self, rows: &Rows, branches: &[Branch], places: &[Cut], budget: Budget) -> Result<Intervened> {
        let model = Loop::new(&self.config, budget.iterations);
        let plan = EditPlan {
            rows,
            branches,
            places,
            model,
        };
        let columns = rows.max_ancestors() + 1;
        // About the numbers of a row in the buffers of its layers, of its plan, and of the logits of every last column.
        let numbers =
            24 * self.config.d_model + (2 * self.config.heads + 3) * columns + 2 * self.vocab.div_ceil(columns);
        let max_rows = budget.at_once(numbers * size_of::<f32>());
        let shape = |place: &Cut| place.site.point().state_shape(&self.config, rows.max_ancestors());
        let shapes: Vec<Vec<usize>> = places.iter().map(shape).collect();
        let record = |shape: &Vec<usize>| Record::new(branches.len(), shape.iter().product());
        let records: Vec<Record> = shapes.iter().map(record).collect();
        let mut base = vec![0.0; rows.queries() * self.vocab];
        let mut edited = vec![0.0; branches.len() * self.vocab];
        let (steps, mut done, mut row_layers) = (plan.steps(), 0, 0);
        while done < steps.len() {
            let (batch, taps, count) = plan.batch(&steps[done..], max_rows, &records);
            row_layers += batch.row_layers(model.effective_layers());
            let (logits, outcomes) = self.run_branches(rows, batch, &taps, budget.iterations)?;
            let logits: Vec<f32> = logits.flatten_all()?.to_vec1()?;
            for (Step { query, branch }, &outcome) in steps[done..].iter().zip(&outcomes) {
                let to = match branch {
                    None => &mut base[query * self.vocab..],
                    Some(branch) => &mut edited[branch * self.vocab..],
                };
                to[..self.vocab].copy_from_slice(&logits[outcome as usize * self.vocab..][..self.vocab]);
            }
            done += count;
        }
        let tensor = |numbers, shape: &[usize]| Tensor::from_vec(numbers, shape, &self.device);
        let recorded = records.into_iter().zip(shapes).map(|(record, shape)| {
            let shape: Vec<usize> = [branches.len()].into_iter().chain(shape).collect();
            Ok(tensor(record.into_numbers(), &shape)?)
        });
        Ok(Intervened {
            recorded: recorded.collect::<Result<_>>()?,
            base: tensor(base, &[rows.queries(), self.vocab])?,
            edited: tensor(edited, &[branches.len(), self.vocab])?,
            row_layers,
        })
    }

    /// The logits of a pass with these hooks, and the hooks with what they recorded.
    pub(super) fn run_hooked(&self, rows: &Rows, iterations: usize, hooks: Hooks) -> Result<(Tensor, Hooks)> {
        let mut pass = Pass {
            hooks,
            ..Pass::default()
        };
        let logits = self.forward(rows, iterations, &mut pass)?;
        Ok((logits, pass.hooks))
    }

    // Whole passes over the queries of all branches: on devices and for models without the kernels, and what tests hold these
    // to.
    fn intervene_by_hooks(
        &self,
        rows: &Rows,
        queries: &[&[u32]],
        branches: &[Branch],
        places: &[Cut],
        budget: Budget,
    ) -> Result<Intervened> {
        let columns = rows.max_ancestors() + 1;
        // About the numbers of a row that candle's operations hold at a time, most of them keys and values of ancestors.
        let bytes = columns * (32 + 6 * columns) * self.config.d_model * size_of::<f32>();
        let at_once = budget.at_once(bytes);
        let mut row_count = 0;
        let mut base = Vec::new();
        for queries in queries.chunks(at_once) {
            let rows = self.pack(queries.iter().copied(), Sharing::Nothing)?;
            base.push(self.run_hooked(&rows, budget.iterations, Hooks::none())?.0);
            row_count += rows.len();
        }
        let mut edited = vec![Tensor::zeros((0, self.vocab), DType::F32, &self.device)?];
        let state_shape = |place: &Cut| place.site.point().state_shape(&self.config, rows.max_ancestors());
        let empty = |place: &Cut| -> Result<Vec<Tensor>> {
            let shape = [vec![0], state_shape(place)].concat();
            Ok(vec![Tensor::zeros(shape, DType::F32, &self.device)?])
        };
        let mut recorded: Vec<Vec<Tensor>> = places.iter().map(empty).collect::<Result<_>>()?;
        for branches in branches.chunks(at_once) {
            let part = self.pack(branches.iter().map(|branch| queries[branch.query]), Sharing::Nothing)?;
            let hooks = hooks_of(&part, branches, places);
            let (logits, hooks) = self.run_hooked(&part, budget.iterations, hooks)?;
            edited.push(logits.to_dtype(DType::F32)?);
            let mut begins = std::collections::BTreeMap::new();
            for (place, recorded) in places.iter().zip(&mut recorded) {
                let begin = begins.entry(place.site).or_insert(0);
                let state = hooks.recorded(place.site)?.narrow(0, *begin, branches.len())?;
                *begin += branches.len();
                let state = state.to_dtype(DType::F32)?;
                let is_pattern = place.site.point() == Point::AttnPattern;
                recorded.push(if is_pattern {
                    state.pad_with_zeros(2, 0, rows.max_ancestors() - part.max_ancestors())?
                } else {
                    state
                });
            }
            row_count += part.len();
        }
        Ok(Intervened {
            base: Tensor::cat(&base, 0)?.to_dtype(DType::F32)?,
            edited: Tensor::cat(&edited, 0)?,
            recorded: recorded
                .iter()
                .map(|parts| Ok(Tensor::cat(parts, 0)?))
                .collect::<Result<_>>()?,
            row_layers: (row_count * budget.iterations * self.config.layers) as u64,
        })
    }
}

// The hooks of a pass over the queries of `branches`: the states of all branches at each of the places of a site, one place after
// the other.
fn hooks_of(rows: &Rows, branches: &[Branch], places: &[Cut]) -> Hooks {
    let mut hooks = Hooks::none();
    for (index, branch) in branches.iter().enumerate() {
        for edit in &branch.edits {
            let row = rows.of_query(index)[edit.column];
            hooks = hooks.change(edit.site, vec![row], edit.head, By::Write(edit.write.clone()));
        }
    }
    for place in places {
        let of_site = places.iter().filter(|other| other.site == place.site);
        let recorded = of_site.flat_map(|place| (0..branches.len()).map(|index| rows.of_query(index)[place.column]));
        hooks = hooks.record_rows(place.site, recorded.collect());
    }
    hooks
}
