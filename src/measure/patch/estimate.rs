//! Attribution patching: the effect of every patch estimated to first order from one backward pass (Nanda 2023; Syed et al.
//! 2023, 2310.10348).

use std::collections::BTreeSet;

use candle_core::Tensor;

use super::sites::{JointPatch, State};
use crate::error::Result;
use crate::measure::pairs::Sides;
use crate::measure::states::{States, slices};
use crate::measure::{dot, minus};
use crate::model::{Hooks, Model, Sharing, Site};

/// What each run would add to the logit difference between the clean and the corrupt answer of each base query, to first order:
/// Σ (source − base) · gradient over its states. `[run][pair]`
pub(super) fn estimates(
    model: &Model,
    sides: &[Sides],
    source: &States,
    runs: &[JointPatch],
    iterations: usize,
) -> Result<Vec<Vec<f64>>> {
    let sites: BTreeSet<Site> = runs
        .iter()
        .flat_map(|run| run.states.iter().map(|state| state.site))
        .collect();
    // Without sharing: a row that queries share would have the sum of their gradients.
    let rows = model.pack(sides.iter().map(|sides| &*sides.base), Sharing::Nothing)?;
    let answers = |of: fn(&Sides) -> u32| sides.iter().map(of).collect::<Vec<u32>>();
    let (clean, corrupt) = (
        answers(|sides| sides.clean_answer),
        answers(|sides| sides.corrupt_answer),
    );
    let hooks = sites.iter().copied().fold(Hooks::none(), Hooks::record_with_gradient);
    let (_, hooks) = model.gradients(&rows, iterations, hooks, |logits| {
        let of = |answers: &[u32]| -> Result<Tensor> {
            let index = Tensor::new(answers, logits.device())?.unsqueeze(1)?;
            Ok(logits.contiguous()?.gather(&index, 1)?)
        };
        Ok((of(&clean)? - of(&corrupt)?)?.sum_all()?)
    })?;
    let mut found = vec![vec![0.0; sides.len()]; runs.len()];
    for (run, found) in runs.iter().zip(&mut found) {
        for &State { site, column, head } in &run.states {
            let of_base = |recorded| slices(&rows, &recorded, site.point(), column, head);
            let (base, gradient) = (of_base(hooks.recorded(site)?)?, of_base(hooks.gradient(site)?)?);
            let source = source.states(site, column, head)?;
            for (pair, sum) in found.iter_mut().enumerate() {
                *sum += dot(&minus(&source[pair], &base[pair]), &gradient[pair]);
            }
        }
    }
    Ok(found)
}
