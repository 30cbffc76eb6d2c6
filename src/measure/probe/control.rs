//! Control labels: what a probe can decode that the model need not have computed.

use super::split::{Partition, Sample};
use crate::random::Stream;

/// The control task (Hewitt & Liang 2019): each fact gets one random label, the same in fit and test set, drawn from the
/// labels of the fit set as often as they occur there.
///
/// Where fit and test share facts, a probe that memorizes them is right: the control measures memory. Where they share
/// none, it must be at chance, or something leaks.
pub(super) struct ControlTask {
    seed: u64,
    purpose: String,
    drawn_from: Vec<usize>,
}

impl ControlTask {
    /// The control task of a probe's split; `probe` names the probe and its position.
    pub(super) fn new(seed: u64, probe: &str, partition: &Partition) -> Self {
        Self {
            seed,
            purpose: format!("control task {probe}"),
            drawn_from: partition.labels(&partition.fit),
        }
    }

    /// The labels of `samples`.
    pub(super) fn labels(&self, samples: &[Sample]) -> Vec<usize> {
        let label = |sample: &Sample| {
            let purpose = sample
                .fact
                .iter()
                .fold(self.purpose.clone(), |text, token| format!("{text} {token}"));
            self.drawn_from[Stream::new(self.seed, &purpose, 0).below(self.drawn_from.len())]
        };
        samples.iter().map(label).collect()
    }
}

/// Shuffled labels: the labels of `samples` in another order, drawn anew on each side. A sanity check: above chance it
/// says that classifier or test are broken, and never anything about the model.
pub(super) fn shuffled(mut labels: Vec<usize>, seed: u64, probe: &str, side: &str) -> Vec<usize> {
    Stream::new(seed, &format!("shuffled labels {probe} {side}"), 0).shuffle(&mut labels);
    labels
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Bridges, Ids, Query};

    #[test]
    fn a_fact_has_one_control_label_in_fit_and_test_and_all_follow_the_labels_of_the_fit_set() {
        let query = Query {
            tokens: Ids::from_slice(&[0, 0]),
            target: 0,
            bridges: Bridges::Unknown,
        };
        // Of the labels 7 and 9, the first occurs three times as often.
        let sample = |fact: u32, label: u32| Sample {
            row: 0,
            query: &query,
            label,
            fact: Ids::from_slice(&[fact, fact / 2]),
            next: None,
        };
        let fit: Vec<Sample> = (0..4000).map(|i| sample(i, if i % 4 == 0 { 9 } else { 7 })).collect();
        let partition = Partition {
            inner: 3000,
            test: Vec::new(),
            classes: vec![7, 9],
            notes: Vec::new(),
            fit,
        };
        let task = ControlTask::new(1, "x", &partition);
        let of_fit = task.labels(&partition.fit);
        let reversed: Vec<Sample> = partition.fit.iter().rev().cloned().collect();
        let mut again = task.labels(&reversed);
        again.reverse();
        assert_eq!(of_fit, again);
        let second = of_fit.iter().filter(|&&label| label == 1).count();
        // Four standard errors.
        assert!((900..1100).contains(&second), "{second}");
        let agree = of_fit
            .iter()
            .zip(partition.labels(&partition.fit))
            .filter(|(a, b)| *a == b)
            .count();
        // 0.75² + 0.25² by chance
        assert!((2350..2650).contains(&agree), "{agree}");
    }
}
