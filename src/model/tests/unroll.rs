//! The loop one iteration at a time.

use super::*;

#[test]
fn unrolled_iterations_give_the_states_of_one_pass_also_of_the_queries_that_stay() {
    let stay = [1, 4, 5, 9];
    let queries = queries(21);
    let chains: Vec<&[u32]> = queries.iter().map(Vec::as_slice).collect();
    for injection in [false, true] {
        let config = ModelConfig { injection, ..tiny() };
        on_every_backend(|backend| {
            for change in [|model| model, Model::composed] {
                let model = change(untrained(&config, 21, backend));
                let rows = model.pack(chains.iter().copied(), Sharing::Prefixes).unwrap();
                let expected = |iterations: usize, queries: &[usize]| {
                    let (logits, _) = forward_within(&model, &rows, iterations, Hooks::none()).unwrap();
                    let queries: Vec<u32> = queries.iter().map(|&query| query as u32).collect();
                    logits
                        .index_select(&Tensor::new(queries, &Device::Cpu).unwrap(), 0)
                        .unwrap()
                };
                let all: Vec<usize> = (0..queries.len()).collect();
                let mut unrolled = model.unroll(chains.clone()).unwrap();
                for iterations in 1..=5 {
                    let present = if iterations <= 2 { &all[..] } else { &stay[..] };
                    if iterations == 3 {
                        unrolled.keep(&stay).unwrap();
                    }
                    let logits = model.unembed(&unrolled.iterate().unwrap()).unwrap();
                    assert!(relative_difference(&logits, &expected(iterations, present)) < 1e-5);
                }
            }
        });
    }
}
