//! Halting against straightforward computations.

use super::*;
use crate::measure::tests::untrained_checkpoint;

#[test]
fn queries_that_leave_the_batch_halt_where_those_that_stay_would() {
    for injection in [false, true] {
        let checkpoint = untrained_checkpoint(injection);
        let data = &checkpoint.data;
        let queries: Vec<&Query> = data.splits[1..].iter().flat_map(|(_, rows)| rows).collect();
        let traces = traces(&checkpoint, &queries, 12).unwrap();
        // Thresholds that some queries pass at the third iteration and some do not.
        let median = |of: &dyn Fn(&Change) -> f64| {
            let mut values: Vec<f64> = traces.iter().map(|trace| of(&trace[2])).collect();
            values.sort_by(f64::total_cmp);
            values[values.len() / 2]
        };
        let kl = median(&|change| change.kl);
        let entropy = median(&|change| change.entropy);
        let latent = median(&|change| change.latent_difference);
        let second = median(&|change| change.second_difference[0]);
        let cosine = median(&|change| change.cosine);
        for text in [
            format!("kl={kl}+entropy={entropy}"),
            format!("latent-difference={latent}"),
            format!("second-difference={second}"),
            format!("cosine={cosine}"),
            "argmax=3".to_owned(),
            "oracle".to_owned(),
        ] {
            let rule: Rule = text.parse().unwrap();
            let (exits, work) = halted(&checkpoint, &queries, &rule, 12).unwrap();
            let expected: Vec<Exit> = traces.iter().map(|trace| exit(&rule, trace)).collect();
            assert_eq!(exits, expected, "{text}");
            let early = exits.iter().filter(|exit| exit.iterations < 12).count();
            assert!((early > 0) == (work < 1.0), "{text}: {early} halt early, work {work}");
            assert!(early > 0 || text == "oracle", "{text} halts no query");
        }
    }
}

#[test]
fn a_sweep_takes_each_criterion_once() {
    let halt = Halt {
        splits: Vec::new(),
        rules: ["kl", "argmax", "kl=0.001", "kl+entropy", "oracle"]
            .map(|text| text.parse().unwrap())
            .into(),
        iterations: Iterations::up_to(4),
        sweep: true,
    };
    assert_eq!(
        halt.swept().len(),
        Criterion::Kl.sweep().len() + Criterion::Argmax.sweep().len()
    );
}

// By the book, from the probabilities of separate runs of every length.
#[test]
fn kl_and_entropy_halt_as_a_straight_implementation_does() {
    let checkpoint = untrained_checkpoint(false);
    let data = &checkpoint.data;
    let queries: Vec<&Query> = data.split("3hop_test").unwrap().iter().collect();
    let model = &checkpoint.model;
    let probabilities = |iterations| {
        let tokens = queries.iter().map(|query| &*query.tokens);
        let rows = model.pack(tokens, crate::model::Sharing::Nothing).unwrap();
        let logits = model
            .forward(&rows, iterations, &mut crate::model::Pass::default())
            .unwrap();
        let logits = logits.to_vec2::<f32>().unwrap();
        let softmax = |logits: Vec<f32>| -> Vec<f64> {
            let all: Vec<f64> = logits.iter().map(|&x| f64::from(x).exp()).collect();
            let sum: f64 = all.iter().sum();
            all.into_iter().map(|x| x / sum).collect()
        };
        logits.into_iter().map(softmax).collect::<Vec<_>>()
    };
    let p: Vec<Vec<Vec<f64>>> = (1..=12).map(probabilities).collect();
    let kl = |q: usize, t: usize| {
        let (now, before): (&[f64], &[f64]) = (&p[t][q], &p[t - 1][q]);
        now.iter().zip(before).map(|(a, b)| a * (a / b).ln()).sum::<f64>()
    };
    let entropy = |q: usize, t: usize| -p[t][q].iter().map(|a| a * a.ln()).sum::<f64>();
    let median = |f: &dyn Fn(usize, usize) -> f64| {
        let mut values: Vec<f64> = (0..queries.len()).map(|q| f(q, 4)).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let (epsilon, max_entropy) = (median(&kl), median(&entropy));
    let halts = |q: usize, t: usize| kl(q, t) < epsilon && entropy(q, t) < max_entropy;
    let expected: Vec<usize> = (0..queries.len())
        .map(|q| (1..12).find(|&t| halts(q, t)).unwrap_or(11) + 1)
        .collect();
    let rule: Rule = format!("kl={epsilon}+entropy={max_entropy}").parse().unwrap();
    let (exits, _) = halted(&checkpoint, &queries, &rule, 12).unwrap();
    let got: Vec<usize> = exits.iter().map(|exit| exit.iterations).collect();
    assert_eq!(got, expected);
    assert!(
        got.iter().any(|&n| n < 12) && got.iter().any(|&n| n != got[0]),
        "{got:?}"
    );
}
