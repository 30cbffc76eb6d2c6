//! The circuits and controls of the suite: which graphs, rotations and levels of noise.

use std::path::Path;
use std::sync::Arc;

use candle_core::Device;
use rayon::prelude::*;

use super::control::{PERMUTED, TRAINED_PERMUTED, UNTRAINED, permuted, trained, untrained};
use super::marks::Limit;
use super::subject::{Kind, Queries, Subject};
use super::table::is_control;
use crate::checkpoint::Checkpoint;
use crate::circuit::{Circuit, Name, Settings, Truth};
use crate::error::{Error, Result};
use crate::files;
use crate::graph::{Chains, Dataset, Query, Systematic, Tails};
use crate::model::{ModelConfig, Weights};
use crate::train::answers;

/// Rotations of the residual stream by seed.
const ROTATIONS: [Option<u64>; 3] = [None, Some(1), Some(2)];

/// Levels of noise; at the highest one, circuits give the answer of their program to 99 of 100 queries.
const NOISE: [f64; 3] = [0.0, 0.003, 0.01];

/// The circuits whose architectures the controls have: of one and of several layers, and read at a position of its own.
const CONTROLS: [Name; 3] = [Name::HopPerIteration, Name::LateBridge, Name::HiddenBridge];

/// A graph of the suite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GraphKind {
    /// 2-hop chains over few entities with many facts each.
    Dense,
    /// 2-hop chains over more entities.
    Sparse,
    /// Chains of 2 to 4 hops.
    Deep,
}

impl GraphKind {
    fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Sparse => "sparse",
            Self::Deep => "deep",
        }
    }

    // The data for a circuit.
    fn data(self, name: Name) -> Result<Dataset> {
        // Of late-bridge a case has the chains of one pair of layers, a sixteenth of all; of suffix-reader those that the suffix
        // happens to answer right.
        let more = match name {
            Name::LateBridge => 3,
            Name::SuffixReader => 2,
            _ => 1,
        };
        let systematic = |entities, relations, seed| Systematic {
            entities,
            relations,
            out_degree: relations,
            ood_share: 0.1,
            held_out: 0.1,
            // About three quarters of the chains that there are.
            phi: 0.75 * relations as f64,
            test_rows: 500,
            seed,
        };
        match self {
            Self::Dense => systematic(12, 6 * more, 1).generate(),
            Self::Sparse => systematic(16, 5 * more, 2).generate(),
            Self::Deep => {
                let (entities, relations) = (12, 3 * more * if name == Name::LateBridge { more } else { 1 });
                let chains = entities * relations * relations;
                let test_rows = chains / 4;
                let settings = Chains {
                    entities,
                    relations,
                    hops: hops(name),
                    train_rows: (chains - test_rows).min(400),
                    test_rows,
                    seed: 3,
                    tails: tails(name),
                };
                settings.generate()
            }
        }
    }
}

// The longest chains of the deep graph: backup is a circuit of 2 hops, and those with a memory for each chain grow with
// their number.
fn hops(name: Name) -> usize {
    match name {
        Name::Backup | Name::LateBridge => 2,
        Name::DecoyBridge => 3,
        _ => 4,
    }
}

// Suffixes decide where relations are many-to-one; over permutations they are at chance.
fn tails(name: Name) -> Tails {
    match name {
        Name::SuffixReader => Tails::Random,
        _ => Tails::Permutation,
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Variant {
    graph: GraphKind,
    rotate: Option<u64>,
    noise: f64,
}

impl Variant {
    // Nine in which each pair of graph and rotation, graph and noise, rotation and noise occurs once; or one.
    fn all(short: bool) -> Vec<Self> {
        let graphs = [GraphKind::Dense, GraphKind::Sparse, GraphKind::Deep];
        let square = graphs.into_iter().enumerate().flat_map(|(i, graph)| {
            ROTATIONS.into_iter().enumerate().map(move |(j, rotate)| Self {
                graph,
                rotate,
                noise: NOISE[(i + j) % NOISE.len()],
            })
        });
        // Rotated and noisy.
        let is_chosen = |variant: &Self| !short || (variant.graph == GraphKind::Dense && variant.rotate == Some(1));
        square.filter(is_chosen).collect()
    }

    fn label(self) -> String {
        let rotation = match self.rotate {
            None => String::new(),
            Some(seed) => format!(", rotated {seed}"),
        };
        format!("{}{rotation}, noise {}", self.graph.name(), self.noise)
    }
}

/// The circuits with their variants, then the controls. `short`: one variant of each.
///
/// # Errors
/// When a circuit cannot be built.
pub(super) fn subjects(short: bool) -> Result<Vec<Subject>> {
    let variants = Variant::all(short);
    let all: Vec<(Name, usize, Variant)> = Name::all()
        .iter()
        .flat_map(|&name| variants.iter().enumerate().map(move |(i, &variant)| (name, i, variant)))
        .collect();
    let built = all.into_par_iter().map(|(name, index, variant)| {
        // Each architecture is a control in every third variant.
        let is_control = CONTROLS[index % CONTROLS.len()] == name;
        subjects_of(name, variant, is_control, index as u64)
    });
    let built: Vec<Vec<Subject>> = built.collect::<Result<_>>()?;
    Ok(built.into_iter().flatten().collect())
}

// A circuit in one variant, with its controls where they are asked for.
fn subjects_of(name: Name, variant: Variant, with_controls: bool, seed: u64) -> Result<Vec<Subject>> {
    let data = Arc::new(variant.graph.data(name)?);
    let settings = Settings {
        rotate: variant.rotate,
        noise: variant.noise,
        ..Settings::of(name)
    };
    let circuit = Circuit::build(&settings, &data)?;
    let config = &circuit.info.model;
    let answered = |query: &Query| Ok(query.target);
    let queries = Arc::new(Queries::of(&circuit.truth, &data, Some(&circuit), &answered)?);
    let names = (&*name.to_string(), &*variant.label());
    let mut subjects = vec![Subject::new(
        names,
        Kind::Circuit,
        (config, &circuit.weights),
        &queries,
    )?];
    if with_controls {
        subjects.extend(controls(names.1, (config, &circuit.weights), seed, &queries)?);
    }
    // On each of its graphs with splits as those of real data.
    if with_controls && name == Name::HopPerIteration && variant.graph != GraphKind::Deep {
        let (config, weights) = trained(&data, seed)?;
        let other = permuted(&data, &weights, seed)?;
        let names = (TRAINED_PERMUTED, names.1);
        subjects.push(Subject::new(names, Kind::Control, (&config, &other), &queries)?);
    }
    Ok(subjects)
}

// The controls of a model.
fn controls(
    variant: &str,
    (config, weights): (&ModelConfig, &Weights),
    seed: u64,
    queries: &Arc<Queries>,
) -> Result<[Subject; 2]> {
    let data = &queries.data;
    let new = untrained(config, data.vocab.len(), seed)?;
    let other = permuted(data, weights, seed)?;
    let control = |name, weights| Subject::new((name, variant), Kind::Control, (config, weights), queries);
    Ok([control(UNTRAINED, &new)?, control(PERMUTED, &other)?])
}

/// Someone's checkpoint with the truth about it, then its controls; and the limits that the truth states.
///
/// # Errors
/// When a file cannot be read, or the truth does not fit the checkpoint or the data.
pub(super) fn of_checkpoint(path: &Path, data: &Path, truth: &Path) -> Result<(Vec<Subject>, Vec<Limit>)> {
    let checkpoint = Checkpoint::read(path, &Device::Cpu)?;
    let data = Dataset::read(data)?;
    checkpoint.check_vocab(path, &data.vocab)?;
    let known: Truth = files::read_json(truth)?;
    if is_control(&known.circuit) {
        return Err(Error::file(
            truth,
            format!(
                "circuit {:?} is the name of a control; allowed: any other",
                known.circuit
            ),
        ));
    }
    let limits = known.limits.iter().map(|limit| Limit {
        method: limit.method.clone(),
        claim: limit.claim,
        circuits: vec![known.circuit.clone()],
        reason: limit.reason.clone(),
    });
    let limits = limits.collect();
    let config = &checkpoint.info.model;
    known
        .check(config, &checkpoint.hash, &data)
        .map_err(|reason| Error::file(truth, reason))?;
    let model = checkpoint.model()?;
    let answered = |query: &Query| Ok(answers(&model, [&*query.tokens], config.iterations)?[0]);
    let queries = Queries::of(&known, &data, None, &answered).map_err(|error| Error::file(truth, error.to_string()))?;
    let queries = Arc::new(queries);
    let variant = path.display().to_string();
    let weights = (config, &checkpoint.weights);
    let mut subjects = vec![Subject::new(
        (&known.circuit, &variant),
        Kind::Circuit,
        weights,
        &queries,
    )?];
    subjects.extend(controls(&variant, weights, 1, &queries)?);
    Ok((subjects, limits))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_two_of_graph_rotation_and_noise_meet_once() {
        let all = Variant::all(false);
        assert_eq!(all.len(), 9);
        for (i, one) in all.iter().enumerate() {
            for other in &all[..i] {
                let same = [
                    one.graph == other.graph,
                    one.rotate == other.rotate,
                    one.noise == other.noise,
                ];
                assert!(same.iter().filter(|&&same| same).count() <= 1, "{one:?} {other:?}");
            }
        }
        let [short] = Variant::all(true)[..] else {
            panic!("one variant")
        };
        assert!(short.rotate.is_some() && short.noise > 0.0);
    }
}
