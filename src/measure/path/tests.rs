//! Paths beside whole passes in which everything but the path is frozen.

use candle_core::{DType, Device, Tensor};

use super::receivers::Part;
use super::sweep::run;
use super::*;
use crate::measure::pairs::Sides;
use crate::model::{HeadInput, Hooks, Model, ModelConfig, Pass, Point, Rows, Sharing, Site, Weights};
use crate::random::Stream;

const VOCAB: usize = 11;

// Weights of which no term vanishes in a comparison.
fn weights(config: &ModelConfig) -> Weights {
    let mut index = 0;
    Weights::init(config, VOCAB, 3, &Device::Cpu)
        .unwrap()
        .map(|leaf| {
            index += 1;
            let mut stream = Stream::new(3, "test noise", index);
            let noise: Vec<f32> = (0..leaf.tensor.elem_count())
                .map(|_| 0.3 * stream.normal() as f32)
                .collect();
            Ok((&leaf.tensor + Tensor::from_vec(noise, leaf.tensor.shape(), &Device::Cpu)?)?)
        })
        .unwrap()
}

// A frozen or a live run by whole passes of candle's operations.
struct Reference {
    config: ModelConfig,
    weights: Weights,
    model: Model,
    rows: Rows,
    source: Hooks,
    base: Hooks,
}

impl Reference {
    fn new(config: &ModelConfig, sides: &[Sides]) -> Self {
        let weights = weights(config);
        let model = Model::new(config.clone(), VOCAB, &weights).unwrap().composed();
        let pack = |of: fn(&Sides) -> &[u32]| model.pack(sides.iter().map(of), Sharing::Nothing).unwrap();
        let all = [Point::Embed, Point::ResidPre, Point::Z, Point::MlpOut]
            .into_iter()
            .flat_map(|point| Site::all(point, config.iterations, config.layers));
        let record = || all.clone().fold(Hooks::none(), Hooks::record);
        let (source_rows, rows) = (pack(|sides| &sides.source), pack(|sides| &sides.base));
        Self {
            source: pass(&model, &source_rows, config.iterations, record()).1,
            base: pass(&model, &rows, config.iterations, record()).1,
            config: config.clone(),
            weights,
            model,
            rows,
        }
    }

    fn all_rows(&self) -> Vec<u32> {
        (0..self.rows.len() as u32).collect()
    }

    fn rows_at(&self, column: usize) -> Vec<u32> {
        (0..self.rows.queries())
            .map(|query| self.rows.of_query(query)[column])
            .collect()
    }

    // The base's state at a site with the rows of a column replaced by `values`.
    fn with(&self, site: Site, column: usize, values: &Tensor) -> Tensor {
        let state = self.base.recorded(site).unwrap();
        let mut parts: Vec<Tensor> = (0..state.dims()[0])
            .map(|row| state.narrow(0, row, 1).unwrap())
            .collect();
        for (index, row) in self.rows_at(column).into_iter().enumerate() {
            parts[row as usize] = values.narrow(0, index, 1).unwrap();
        }
        Tensor::cat(&parts, 0).unwrap()
    }

    fn at(&self, hooks: &Hooks, site: Site, column: usize) -> Tensor {
        let index = Tensor::new(self.rows_at(column), &Device::Cpu).unwrap();
        hooks.recorded(site).unwrap().index_select(&index, 0).unwrap()
    }

    // Hooks that freeze every head and MLP to the base, but for `live`, and let the sender write what it wrote in the source.
    fn frozen(&self, path: &DirectPath, live: Option<Site>) -> Hooks {
        let mut hooks = Hooks::none();
        for point in [Point::Z, Point::MlpOut] {
            for site in Site::all(point, self.config.iterations, self.config.layers) {
                let (of_source, of_base) = (
                    self.at(&self.source, site, path.source),
                    self.at(&self.base, site, path.source),
                );
                let state = match path.sender {
                    Sender::Head(head) if path.sender.site() == site => {
                        // One head is the source's, the others the base's.
                        let heads = (0..self.config.heads).map(|other| {
                            let from = if other + 1 == head.head { &of_source } else { &of_base };
                            from.narrow(1, other, 1).unwrap()
                        });
                        self.with(site, path.source, &Tensor::cat(&heads.collect::<Vec<_>>(), 1).unwrap())
                    }
                    Sender::Mlp(_) if path.sender.site() == site => self.with(site, path.source, &of_source),
                    _ => self.base.recorded(site).unwrap(),
                };
                if live != Some(site) {
                    hooks = hooks.replace(site, self.all_rows(), state);
                }
            }
        }
        // What is added to the stream once, and not at later injections.
        let entry = match path.sender {
            Sender::Embedding => Some(Site::new(Point::ResidPre, 0, 0)),
            Sender::Injection { iteration } => Some(Site::new(Point::ResidPre, iteration - 1, 0)),
            _ => None,
        };
        if let Some(entry) = entry {
            let embedding = |hooks| self.at(hooks, Site::embed(), path.source);
            let difference = (embedding(&self.source) - embedding(&self.base)).unwrap();
            let entered = (self.at(&self.base, entry, path.source) + difference).unwrap();
            hooks = hooks.replace(entry, self.rows_at(path.source), entered);
        }
        hooks
    }

    fn logits(&self, path: &DirectPath) -> Tensor {
        let iterations = self.config.iterations;
        let run = |hooks| pass(&self.model, &self.rows, iterations, hooks);
        let mut hooks = Hooks::none();
        for part in path.receivers.parts() {
            let columns = part.destinations(path.source, self.rows.of_query(0).len());
            let columns = columns.filter(|column| path.destination.is_none_or(|one| one == *column));
            match part {
                Part::Logits => return run(self.frozen(path, None)).0,
                Part::Mlp(at) => {
                    let site = at.site(Point::MlpOut);
                    let (_, found) = run(self.frozen(path, Some(site)).record(site));
                    for column in columns {
                        hooks = hooks.replace(site, self.rows_at(column), self.at(&found, site, column));
                    }
                }
                Part::Head(head, inputs) => {
                    let before = head.at.site(Point::ResidPre);
                    let (_, found) = run(self.frozen(path, None).record(before));
                    let changed = found.recorded(before).unwrap();
                    for column in columns {
                        let z = self.naive_z(column, head, &inputs, &changed);
                        for (row, z) in self.rows_at(column).into_iter().zip(z) {
                            let write = move |state: &mut [f32]| state.copy_from_slice(&z);
                            hooks = hooks.edit_head(head.at.site(Point::Z), vec![row], head.head - 1, write);
                        }
                    }
                }
            }
        }
        run(hooks).0
    }

    // One head at a column, number by number in double precision: some inputs from the stream `changed`, the others from the base's.
    fn naive_z(&self, column: usize, head: HeadAt, inputs: &[HeadInput], changed: &Tensor) -> Vec<Vec<f32>> {
        let numbers = |x: &Tensor| -> Vec<Vec<f64>> { x.to_dtype(DType::F64).unwrap().to_vec2().unwrap() };
        let (base, changed) = (
            numbers(&self.base.recorded(head.at.site(Point::ResidPre)).unwrap()),
            numbers(changed),
        );
        let weight = |name: &str| {
            let name = format!("blocks.{}.{name}", head.at.layer - 1);
            self.weights.get(&name).unwrap().to_dtype(DType::F64).unwrap()
        };
        let vector = |name| -> Vec<f64> { weight(name).to_vec1().unwrap() };
        let (scale, shift, bias) = (vector("ln_1.weight"), vector("ln_1.bias"), vector("attn.c_attn.bias"));
        let matrix: Vec<Vec<f64>> = weight("attn.c_attn.weight").to_vec2().unwrap();
        let d = self.config.d_model;
        let d_head = d / self.config.heads;
        let project = |part: usize, of: HeadInput, row: u32| -> Vec<f64> {
            let x = if inputs.contains(&of) { &changed } else { &base };
            let x = &x[row as usize];
            let mean = x.iter().sum::<f64>() / d as f64;
            let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / d as f64;
            let normed: Vec<f64> = (0..d)
                .map(|i| (x[i] - mean) / (variance + 1e-5).sqrt() * scale[i] + shift[i])
                .collect();
            let column = |j: usize| part * d + (head.head - 1) * d_head + j;
            (0..d_head)
                .map(|j| bias[column(j)] + (0..d).map(|i| normed[i] * matrix[i][column(j)]).sum::<f64>())
                .collect()
        };
        let z = self.rows_at(column).into_iter().map(|row| {
            let query = project(0, HeadInput::Query, row);
            let ancestors = self.rows.ancestors(row as usize);
            let score = |&row: &u32| {
                let key = project(1, HeadInput::Key, row);
                let product: f64 = key.iter().zip(&query).map(|(k, q)| k * q).sum();
                (product / (d_head as f64).sqrt()).exp()
            };
            let scores: Vec<f64> = ancestors.iter().map(score).collect();
            let total: f64 = scores.iter().sum();
            let values: Vec<Vec<f64>> = ancestors.iter().map(|&row| project(2, HeadInput::Value, row)).collect();
            (0..d_head)
                .map(|j| {
                    scores
                        .iter()
                        .zip(&values)
                        .map(|(score, value)| score * value[j])
                        .sum::<f64>()
                        / total
                })
                .map(|x| x as f32)
                .collect()
        });
        z.collect()
    }
}

fn pass(model: &Model, rows: &Rows, iterations: usize, hooks: Hooks) -> (Tensor, Hooks) {
    let mut pass = Pass {
        hooks,
        ..Pass::default()
    };
    let logits = model.forward(rows, iterations, &mut pass).unwrap();
    (logits, pass.hooks)
}

fn relative_difference(found: &Tensor, expected: &Tensor) -> f32 {
    let numbers = |x: &Tensor| x.flatten_all().unwrap().to_vec1::<f32>().unwrap();
    let (found, expected) = (numbers(found), numbers(expected));
    let scale = expected.iter().fold(1e-6_f32, |max, x| max.max(x.abs()));
    let off = found.iter().zip(&expected).map(|(a, b)| (a - b).abs() / scale);
    off.fold(0.0, f32::max)
}

fn sides() -> Vec<Sides> {
    let mut stream = Stream::new(1, "test pairs", 0);
    let mut query = || (0..3).map(|_| 1 + stream.below(10) as u32).collect();
    let pair = |_| Sides {
        source: query(),
        base: query(),
        source_answer: 1,
        clean_answer: 1,
        corrupt_answer: 2,
    };
    (0..4).map(pair).collect()
}

#[test]
fn a_path_is_a_whole_pass_in_which_everything_else_is_frozen() {
    let plain = r#"{"layers":2,"iterations":2,"d_model":8,"heads":2,"positions":"none","init":1.0"#;
    for (more, columns) in [
        ("", 3),
        (r#","injection":true"#, 3),
        (r#","readout":"last-column","columns":4"#, 4),
    ] {
        let config: ModelConfig = serde_json::from_str(&format!("{plain}{more}}}")).unwrap();
        let model = Model::new(config.clone(), VOCAB, &weights(&config)).unwrap();
        let sides = sides();
        let reference = Reference::new(&config, &sides);
        let receivers = [
            "logits",
            "1.1.mlp",
            "2.1.mlp",
            "1.2.1.q",
            "2.1.2.q",
            "2.2.1.k",
            "2.1.1.k",
            "1.2.2.v",
            "2.1.1.v",
            "1.2.1.v+1.2.2.v",
            "2.1.1.q+2.1.1.k+2.1.2.v",
            "1.2.1.q+2.1.mlp+2.2.1.k",
        ]
        .map(|text| text.parse::<Receivers>().unwrap());
        let mut paths = Vec::new();
        for receivers in &receivers {
            for source in receivers.columns_read(columns, columns == 4) {
                let all = receivers.destinations(source, columns).map(Some);
                for destination in std::iter::once(None).chain(all) {
                    let senders = Sender::all(&config, config.iterations).into_iter();
                    let before = senders.filter(|sender| receivers.follow(*sender, config.layers));
                    paths.extend(before.map(|sender| DirectPath {
                        sender,
                        receivers,
                        source,
                        destination,
                    }));
                }
            }
        }
        let found = run(&model, &sides, &paths, config.iterations.into()).unwrap();
        let mut moved = 0;
        for (path, found_logits) in paths.iter().zip(&found.patched) {
            let difference = relative_difference(found_logits, &reference.logits(path));
            assert!(difference < 1e-5, "{path:?}{more}: {difference}");
            moved += usize::from(relative_difference(found_logits, &found.base) > 1e-3);
        }
        // Not because nothing happens: only paths whose destination is not the readout may end without effect.
        assert!(moved > paths.len() / 3, "{moved} of {}", paths.len());
    }
}
