//! Interchanges, and queries that have none.

use super::*;
use crate::graph::{Chains, Tails, TokenKind};

#[test]
fn interchanges_change_what_they_say_and_permutations_never_collide_at_one_relation_s_head() {
    let data = Chains {
        entities: 10,
        relations: 4,
        hops: 4,
        train_rows: 50,
        test_rows: 30,
        seed: 1,
        tails: Tails::Permutation,
    };
    let data = data.generate().unwrap();
    let mut stream = Stream::new(1, "test", 0);
    for query in data.split("4hop_test").unwrap() {
        for place in 0..=4 {
            let (tokens, _) = another(query, place..place + 1, &data.graph, &mut stream).unwrap();
            let differing: Vec<usize> = (0..5).filter(|&i| tokens[i] != query.tokens[i]).collect();
            assert_eq!(differing, [place]);
        }
        // Another head through the same permutations ends elsewhere.
        let (_, answer) = another(query, 0..1, &data.graph, &mut stream).unwrap();
        assert_ne!(answer, query.target);
        let (tokens, _) = another(query, 0..3, &data.graph, &mut stream).unwrap();
        assert_eq!(tokens[3..], query.tokens[3..]);
    }
}

#[test]
fn queries_without_an_interchange_are_left_out_and_noted() {
    let mut checkpoint = crate::measure::tests::untrained_checkpoint(false);
    let mut data = (*checkpoint.data).clone();
    let vocab = data.vocab.clone();
    let of_kind = |kind| {
        (0..vocab.len() as u32)
            .filter(|&id| vocab.kind(id) == kind)
            .collect::<Vec<u32>>()
    };
    let entities = of_kind(TokenKind::Entity);
    let relations = of_kind(TokenKind::Relation);
    let mut graph = Graph::default();
    // By index: two heads through the relations 0 and 1, another relation at either place, and one chain through 2 and 3.
    for (head, relation, tail) in [
        (0, 0, 1),
        (1, 1, 2),
        (3, 0, 4),
        (4, 1, 5),
        (0, 2, 6),
        (6, 1, 7),
        (1, 3, 8),
        (2, 2, 3),
        (3, 3, 7),
    ] {
        graph.insert(entities[head], relations[relation], entities[tail]);
    }
    let query = |head: usize, first: usize, second: usize, target: usize| {
        let tokens = [entities[head], relations[first], relations[second]];
        Query::new(&tokens, entities[target], &graph)
    };
    let split = Split::depth_test(2);
    let (whole, lonely) = (query(0, 0, 1, 2), query(2, 2, 3, 7));
    let mut run = |queries: Vec<Query>| {
        data.splits = vec![(split.clone(), queries)];
        data.graph = graph.clone();
        checkpoint.data = std::sync::Arc::new(data.clone());
        let mut reach = Reach::defaults().unwrap();
        reach.sampling.splits = vec![split.clone()];
        reach.run(std::slice::from_ref(&checkpoint))
    };
    let found = run(vec![whole.clone(), lonely.clone()]).unwrap();
    assert!(found.rows.iter().all(|row| row.n == 1), "{:?}", found.rows);
    assert!(
        found.notes[0].contains("1 queries of 2 hops left out"),
        "{:?}",
        found.notes
    );
    assert_eq!(run(vec![whole]).unwrap().notes, [""; 0]);
    let error = run(vec![lonely]).unwrap_err().to_string();
    assert!(
        error.contains("no other chain of 2 hops that differs at head alone"),
        "{error}"
    );
}
