//! How faithful the circuit is that a method names by its site scores (Mueller et al. 2025, MIB, 2504.13151).
//!
//! Nodes are what is added to the residual stream: the embedding, and what attention and the MLP of each effective layer write,
//! at each position. Of a clean and a corrupt query, all nodes outside the circuit get the states of the corrupt run, and those
//! inside are computed. With the mean logit difference m between the clean and the corrupt answer, the faithfulness of a circuit
//! C among all nodes N is f(C) = (m(C) − m(∅)) / (m(N) − m(∅)).

use candle_core::Tensor;
use serde::{Deserialize, Serialize};

use super::checkpoint::LoadedCheckpoint;
use super::judged::{Claim, SiteScore};
use super::method::Method;
use super::output::{Extras, Output};
use super::pairs::{Pair, PairSet};
use super::patch::Patch;
use super::place::Place;
use super::population::Group;
use super::rows_of;
use super::statistics::mean;
use crate::error::Result;
use crate::graph::Position;
use crate::model::{Branch, Edit, Hooks, Model, Pass, Point, Sharing, Site, Write};

/// The sizes of circuits, as shares of all nodes (MIB, Section 3); those that round to equal numbers of nodes count once.
const SIZES: [f64; 11] = [0.0, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0];

/// Pairs, at most.
const MAX_PAIRS: usize = 48;

/// How faithful the circuits of all sizes are that a ranking of nodes gives.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Faithfulness {
    /// Hops of the queries.
    pub hops: usize,
    /// Nodes that are ranked.
    pub nodes: usize,
    /// The share of nodes in the circuit, and its faithfulness.
    pub curve: Vec<(f64, f64)>,
    /// Circuit performance ratio: the area under the curve, the higher the better.
    pub cpr: f64,
    /// Circuit-model distance: the area between the curve and 1, the lower the better.
    pub cmd: f64,
}

impl Faithfulness {
    fn of(hops: usize, nodes: usize, curve: Vec<(f64, f64)>) -> Self {
        Self {
            hops,
            nodes,
            cpr: area(&curve, |f| f),
            cmd: area(&curve, |f| (1.0 - f).abs()),
            curve,
        }
    }
}

// The area under a function of the faithfulness, by the trapezoidal rule between the sizes, as MIB has it.
fn area(curve: &[(f64, f64)], of: impl Fn(f64) -> f64) -> f64 {
    let strips = curve.windows(2).map(|pair| {
        let [(from, left), (to, right)] = [pair[0], pair[1]];
        (to - from) * f64::midpoint(of(left), of(right))
    });
    strips.sum()
}

/// The faithfulness, on the held-out queries of each number of hops, of the circuits that scores with [`Claim::Used`] name:
/// of those numbers of hops at which they rank every node, and at which the model tells clean from corrupt.
///
/// # Errors
/// When no pairs can be drawn, or the device fails.
pub(crate) fn faithfulness(checkpoint: &LoadedCheckpoint, scores: &[SiteScore]) -> Result<Vec<Faithfulness>> {
    let mut pairing = Patch::defaults()?.pairing;
    (pairing.pairs, pairing.correct_only) = (MAX_PAIRS, true);
    let checkpoints = std::slice::from_ref(checkpoint);
    pairing.resolve(super::Wants::HeldOutChains, checkpoints)?;
    let group = Group {
        data: &checkpoint.data,
        checkpoints: vec![checkpoint],
        seed: pairing.seed,
    };
    let mut out = Output::new("faithfulness", Extras::default(), checkpoints);
    pairing.each(&group, &mut out, |set, checkpoint, out: &mut Output<Faithfulness>| {
        let targets = pairing.corrupt.changes(set.hops());
        let is_meant =
            |score: &&SiteScore| score.claim == Claim::Used && score.hops == set.hops() && score.targets == targets;
        let ranked = ranking(&nodes(set, checkpoint), checkpoint, &scores.iter().filter(is_meant));
        if let Some(ranked) = ranked {
            out.rows.extend(curve(&checkpoint.model, set, &ranked)?);
        }
        Ok(())
    })?;
    Ok(out.rows)
}

// A node: where something is added to the residual stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Node {
    site: Site,
    column: usize,
    position: Position,
}

fn nodes(set: &PairSet, checkpoint: &LoadedCheckpoint) -> Vec<Node> {
    let layers = checkpoint.info.layers;
    let written = [Point::AttnOut, Point::MlpOut].map(|point| Site::all(point, set.iterations, layers));
    let sites: Vec<Site> = std::iter::once(Site::embed()).chain(written.concat()).collect();
    let positions = set.positions(&checkpoint.model);
    let of_site = |&site: &Site| {
        let of = positions.iter().enumerate();
        of.map(move |(column, &position)| Node { site, column, position })
    };
    sites.iter().flat_map(of_site).collect()
}

// The nodes, those with the highest scores first; `None` where one has no score.
fn ranking<'s>(
    nodes: &[Node],
    checkpoint: &LoadedCheckpoint,
    scores: &(impl Iterator<Item = &'s SiteScore> + Clone),
) -> Option<Vec<Node>> {
    let score = |node: &Node| {
        let place = Place::of(node.site, checkpoint.info.layers);
        let is_of = |score: &&SiteScore| {
            (score.point, score.position, score.place, score.head) == (node.site.point(), node.position, place, None)
        };
        scores.clone().filter(is_of).map(|score| score.score).reduce(f64::max)
    };
    let scored: Option<Vec<(Node, f64)>> = nodes.iter().map(|node| Some((*node, score(node)?))).collect();
    let mut scored = scored?;
    scored.sort_by(|(_, one), (_, other)| other.total_cmp(one));
    Some(scored.into_iter().map(|(node, _)| node).collect())
}

// The faithfulness of the first nodes of a ranking, for each size; `None` where the corrupt run is as far as the clean one.
fn curve(model: &Model, set: &PairSet, ranked: &[Node]) -> Result<Option<Faithfulness>> {
    let mut sizes: Vec<usize> = SIZES
        .iter()
        .map(|size| (size * ranked.len() as f64).round() as usize)
        .collect();
    sizes.dedup();
    let corrupt = Corrupted::of(model, set, ranked)?;
    let branches = sizes.iter().flat_map(|&size| {
        let of_pair = (0..set.pairs.len()).map(move |query| (query, size));
        of_pair.map(|(query, size)| Branch {
            query,
            edits: ranked[size..].iter().map(|node| corrupt.edit(node, query)).collect(),
        })
    });
    let branches: Vec<Branch> = branches.collect();
    let clean: Vec<&[u32]> = set.pairs.iter().map(|pair| &*pair.clean.tokens).collect();
    let found = rows_of(&model.intervene(&clean, &branches, set.iterations)?.edited)?;
    let difference = |(logits, pair): (&Vec<f32>, &Pair)| {
        f64::from(logits[pair.clean.target as usize]) - f64::from(logits[pair.corrupt.target as usize])
    };
    let means: Vec<f64> = found
        .chunks(set.pairs.len())
        .map(|logits| mean(logits.iter().zip(&set.pairs).map(difference)))
        .collect();
    let (Some(&none), Some(&all)) = (means.first(), means.last()) else {
        return Ok(None);
    };
    let of_size = sizes.iter().zip(&means).map(|(&size, &m)| {
        let faithfulness = (m - none) / (all - none);
        (size as f64 / ranked.len() as f64, faithfulness)
    });
    let curve = of_size.collect();
    Ok((all > none).then(|| Faithfulness::of(set.hops(), ranked.len(), curve)))
}

// The states of the corrupt queries at every node.
struct Corrupted<'n> {
    nodes: &'n [Node],
    // By node, then by pair.
    states: Vec<Vec<Vec<f32>>>,
}

impl<'n> Corrupted<'n> {
    fn of(model: &Model, set: &PairSet, nodes: &'n [Node]) -> Result<Self> {
        let rows = model.pack(set.pairs.iter().map(|pair| &*pair.corrupt.tokens), Sharing::Nothing)?;
        let hooks = nodes.iter().fold(Hooks::none(), |hooks, node| hooks.record(node.site));
        let mut pass = Pass {
            hooks,
            ..Pass::default()
        };
        model.forward(&rows, set.iterations, &mut pass)?;
        let of_node = |node: &Node| {
            let of_pair = (0..rows.queries()).map(|query| rows.of_query(query)[node.column]);
            let index = Tensor::new(of_pair.collect::<Vec<u32>>(), model.device())?;
            rows_of(&pass.hooks.recorded(node.site)?.index_select(&index, 0)?)
        };
        Ok(Self {
            nodes,
            states: nodes.iter().map(of_node).collect::<Result<_>>()?,
        })
    }

    // Puts the corrupt state into a node of the clean query of a pair.
    fn edit(&self, node: &Node, pair: usize) -> Edit {
        let index = self.nodes.iter().position(|other| other == node).unwrap_or_default();
        Edit::new(node.site, node.column, Write::Set(self.states[index][pair].clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::untrained_checkpoint;
    use super::*;
    use crate::measure::Setting;

    #[test]
    fn areas_are_those_by_hand() {
        // Half of the nodes give all; too much is as far from 1 as too little.
        let found = Faithfulness::of(2, 4, vec![(0.0, 0.0), (0.5, 1.0), (1.0, 1.0)]);
        assert_eq!((found.cpr, found.cmd), (0.25 + 0.5, 0.25));
        let over = Faithfulness::of(2, 4, vec![(0.0, 0.0), (0.25, 1.5), (1.0, 1.0)]);
        assert!((over.cpr - (0.25 * 0.75 + 0.75 * 1.25)).abs() < 1e-12, "{over:?}");
        assert!((over.cmd - (0.25 * 0.75 + 0.75 * 0.25)).abs() < 1e-12, "{over:?}");
        let negative = Faithfulness::of(2, 4, vec![(0.0, 0.0), (0.5, -1.0), (1.0, 1.0)]);
        assert_eq!((negative.cpr, negative.cmd), (-0.25, 0.75 + 0.5));
    }

    #[test]
    fn all_nodes_are_the_model_none_the_corrupt_run_and_a_ranking_needs_every_node() {
        let checkpoint = untrained_checkpoint(false);
        let setting = Setting {
            layers: 1,
            heads: 1,
            hops: vec![2, 3, 4],
            iterations: 4,
            reads_apart: false,
            answers_right: false,
        };
        let checkpoints = [checkpoint];
        let reports: Vec<_> = Patch::to_verify(&setting).unwrap();
        let reports: Vec<_> = reports
            .into_iter()
            .map(|patch| patch.run(&checkpoints).unwrap())
            .collect();
        let scores: Vec<SiteScore> = reports.iter().flat_map(Patch::site_scores).collect();
        let [checkpoint] = &checkpoints;
        let mut pairing = Patch::defaults().unwrap().pairing;
        pairing.pairs = 10;
        pairing
            .resolve(super::super::Wants::HeldOutChains, &checkpoints)
            .unwrap();
        let group = Group {
            data: &checkpoint.data,
            checkpoints: vec![checkpoint],
            seed: 1,
        };
        let mut out: Output<Faithfulness> = Output::new("test", Extras::default(), &checkpoints);
        let mut seen = 0;
        let each = pairing.each(&group, &mut out, |set, checkpoint, _| {
            let nodes = nodes(set, checkpoint);
            // Four iterations of two layers, attention and MLP, and the embedding.
            assert_eq!(nodes.len(), (4 * 2 * 2 + 1) * (set.hops() + 1));
            let of_hops = scores
                .iter()
                .filter(|score| score.claim == Claim::Used && score.hops == set.hops());
            let ranked = ranking(&nodes, checkpoint, &of_hops).unwrap();
            let without_mlp = of_hops.filter(|score| score.point != Point::MlpOut);
            assert!(ranking(&nodes, checkpoint, &without_mlp).is_none());
            // Every node corrupt is the corrupt query.
            let corrupt = Corrupted::of(&checkpoint.model, set, &ranked)?;
            let edits = ranked.iter().map(|node| corrupt.edit(node, 0)).collect();
            let queries = [&*set.pairs[0].clean.tokens, &*set.pairs[0].corrupt.tokens];
            let found = checkpoint
                .model
                .intervene(&queries, &[Branch { query: 0, edits }], set.iterations)?;
            let (base, edited) = (rows_of(&found.base)?, rows_of(&found.edited)?);
            for (as_edited, as_run) in edited[0].iter().zip(&base[1]) {
                assert!((as_edited - as_run).abs() < 1e-4, "{as_edited}, not {as_run}");
            }
            if let Some(found) = curve(&checkpoint.model, set, &ranked)? {
                assert_eq!(found.curve.first(), Some(&(0.0, 0.0)));
                assert_eq!(found.curve.last(), Some(&(1.0, 1.0)));
            }
            seen += 1;
            Ok(())
        });
        each.unwrap();
        assert_eq!(seen, 3);
    }
}
