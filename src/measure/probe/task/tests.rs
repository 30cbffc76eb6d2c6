//! The control task and the chosen layer, on states that are known.

use super::*;
use crate::measure::SplitBy;
use crate::measure::probe::split::partition;
use crate::measure::probe::split::tests::data;

const R2: Position = Position::Relation(2);

// States that say which fact (h, r1) a chain begins with and nothing else: the bridge can be had from them by memory
// alone.
fn one_hot(task: &Task) -> States {
    let state = |samples: &[Sample]| {
        let mut x = Array2::zeros((samples.len(), 20 * 10));
        for (mut row, sample) in x.rows_mut().into_iter().zip(samples) {
            let [head, relation] = [sample.query.tokens[0], sample.query.tokens[1]];
            // Tokens: a pad, 20 entities, 10 relations.
            row[(head - 1) as usize * 10 + (relation - 21) as usize] = 1.0;
        }
        x
    };
    States {
        fit: state(&task.partition.fit),
        test: task.partition.test.iter().map(|(_, samples)| state(samples)).collect(),
    }
}

fn accuracies(by: SplitBy) -> [f64; 3] {
    let spec: ProbeSpec = toml::from_str(
        "name = 'x'\ntitle = 'X'\nlabel = 'bridge'\npositions = ['r2']\ntest = ['train']\npenalty = 1e-4",
    )
    .unwrap();
    let spec = ProbeSpec { split: by, ..spec };
    let data = data();
    let task = Task::new(&spec, R2, partition(&spec, R2, &data, 1).unwrap(), 1);
    let states = one_hot(&task);
    [&task.labels, &task.control, &task.shuffled].map(|labels| {
        let decoded = task.decode(&states, labels, 1e-4).unwrap();
        assert!(decoded.classifier.fit.converged, "{:?}", decoded.classifier.fit);
        decoded.accuracy(0)
    })
}

#[test]
fn the_control_task_measures_memory_where_facts_are_shared_and_is_at_chance_where_none_are() {
    let [bridge, control, shuffled] = accuracies(SplitBy::Prefixes);
    assert!(bridge > 0.95 && control > 0.95, "{bridge} {control}");
    // 1 / 20 by chance; labels that were drawn anew on both sides cannot say that facts were memorized.
    assert!(shuffled < 0.2, "{shuffled}");
    let [bridge, control, shuffled] = accuracies(SplitBy::Facts);
    assert!(
        bridge < 0.2 && control < 0.2 && shuffled < 0.2,
        "{bridge} {control} {shuffled}"
    );
}
