//! What the replication measured (30 M parameters, width 768, 4 layers), and where a number of one's own is the same.

use super::measured::{
    MAX_HOPS, after_arrival, all_queries, angle_of_steps, answered, at_iteration, bridge_read, epochs, hard_stages,
    hops_an_iteration, jumped, later_motion, of_settle, rises, turns,
};
use super::{Bounds, Quantity, Series};
use crate::experiment::claims::Source;
use crate::graph::Position;

const REPLICATION: Source = Source {
    paper: "2608.03263, 2608.16085",
    part: "",
};

// The iterations in which the turn of the state was measured, the first and the last.
const FIRST: usize = 1;
const EIGHTH: usize = 8;

const fn between(min: f64, max: f64) -> Bounds {
    Bounds {
        min: Some(min),
        max: Some(max),
    }
}

const fn at_most(max: f64) -> Bounds {
    Bounds {
        min: None,
        max: Some(max),
    }
}

const fn at_least(min: f64) -> Bounds {
    Bounds {
        min: Some(min),
        max: None,
    }
}

/// All that was measured in both, in the order of the table.
pub static QUANTITIES: &[Quantity] = &[
    Quantity {
        name: "epochs to pass 2 hops",
        definition: "passes over the training rows of the stage (facts and 2-hop chains) until the curriculum passes 2 hops; known \
                     to the interval of evaluations. The same: half to twice theirs",
        source: REPLICATION,
        theirs: "2,808",
        series: Series::Single,
        decimals: 0,
        same: between(1404.0, 5616.0),
        why: "Not expected: with a quarter of the paper's facts and 20 times its learning rate the first composition comes sooner.",
        measure: |run| epochs(run, 2).into_iter().collect(),
    },
    Quantity {
        name: "hard stages from 2 to 10 hops",
        definition: "stages of the curriculum that take at least 0.1 of the epochs of its longest stage; a stage in which training \
                     ended counts with the epochs that it had",
        source: REPLICATION,
        theirs: "2 (2 hops: 2,808 epochs; 5 hops: 1,099)",
        series: Series::Single,
        decimals: 0,
        same: between(2.0, 2.0),
        why: "2 hops are expected to be hard at any size, since nothing before them asks for composition; at which later depth a \
              plateau lies, if at any, differs from seed to seed in theirs and here.",
        measure: hard_stages,
    },
    Quantity {
        name: "epochs to pass each of 6 to 10 hops",
        definition: "passes over the training rows of the stage until the curriculum passes it, from the step at which the one \
                     before was passed; known to the interval of evaluations",
        source: REPLICATION,
        theirs: "2, 1, 1, 1, 2",
        series: Series::Hops,
        decimals: 1,
        same: at_most(2.0),
        why: "Expected as long as the iterations of training suffice: once the loop composes, one hop more asks for no new weights; \
              not expected beyond the depth that R iterations can reach.",
        measure: |run| (6..=MAX_HOPS).filter_map(|hops| epochs(run, hops)).collect(),
    },
    Quantity {
        name: "first iteration at which the answer is right",
        definition: "median, over the test chains of k hops that are answered right after some iteration, of the first such \
                     iteration; k from 2 to the deepest learned, at most 10",
        source: REPLICATION,
        theirs: "1 to 4 for k = 1 to 10",
        series: Series::Hops,
        decimals: 0,
        same: between(1.0, 4.0),
        why: "Not expected of a block of 2 layers: where a layer looks up one fact, an iteration of theirs, of 4 layers, goes up to 4 \
              hops, one of ours up to 2, and 10 hops take 5 iterations or more.",
        measure: |run| rises(run, |rise| rise.hit, |rise| rise.hit_low.zip(rise.hit_high), answered),
    },
    Quantity {
        name: "hops an iteration",
        definition: "the deepest learned number of hops, at most 10, over the median first iteration at which these are answered \
                     right; theirs from their 10 hops in 4 iterations",
        source: REPLICATION,
        theirs: "2.5",
        series: Series::Single,
        decimals: 2,
        same: at_least(2.0),
        why: "Not expected of a block of 2 layers, for which 2 hops an iteration are the most where a layer looks up one fact.",
        measure: hops_an_iteration,
    },
    Quantity {
        name: "margin jump at the first right answer (logits)",
        definition: "mean, over the test chains of k hops that are first answered right after a later iteration than the first, of \
                     the rise of the logit margin (target minus best other) within that iteration; k from 2 to the deepest learned, \
                     at most 10",
        source: REPLICATION,
        theirs: "5.8 to 8.0 (n = 274)",
        series: Series::Hops,
        decimals: 1,
        same: between(5.8, 8.0),
        why: "A jump within one iteration is expected, since a hop is a retrieval; its size is not: the scale of logits depends on \
              width, weight decay and how long training went on.",
        measure: |run| {
            rises(
                run,
                |rise| rise.hit_jump,
                |rise| rise.hit_jump_low.zip(rise.hit_jump_high),
                jumped,
            )
        },
    },
    Quantity {
        name: "largest margin jump in one iteration (logits)",
        definition: "the other reading of theirs: mean, over all test chains of k hops, right or not, of the largest rise of the \
                     logit margin within one iteration after the first; k from 2 to the deepest learned, at most 10",
        source: REPLICATION,
        theirs: "5.8 to 8.0 (n = 274)",
        series: Series::Hops,
        decimals: 1,
        same: between(5.8, 8.0),
        why: "As for the jump at the first right answer: within one iteration, but at a scale of its own.",
        measure: |run| {
            rises(
                run,
                |rise| rise.jump,
                |rise| rise.jump_low.zip(rise.jump_high),
                all_queries,
            )
        },
    },
    Quantity {
        name: "turn of the state in iteration 1 (°)",
        definition: "mean angle between the residual stream before (the embedding) and after iteration 1, at the readout position, \
                     on test chains of k hops, k from 2 to the deepest learned, at most 10; how theirs is defined is not known. The \
                     same: half to twice theirs",
        source: REPLICATION,
        theirs: "52.9",
        series: Series::Hops,
        decimals: 1,
        same: between(26.45, 105.8),
        why: "Expected to be large at any size: the first iteration has to replace the embedding of a relation; how large depends on \
              the norm of embeddings against that of the block's output.",
        measure: |run| turns(run, FIRST),
    },
    Quantity {
        name: "turn of the state in iteration 8 (°)",
        definition: "as in iteration 1, between the states before and after iteration 8. The same: at most twice theirs",
        source: REPLICATION,
        theirs: "1.2",
        series: Series::Hops,
        decimals: 1,
        same: at_most(2.4),
        why: "Not expected on deep chains: theirs have arrived after 4 iterations, a block of 2 layers still retrieves in the eighth; \
              on shallow ones expected, since what a pre-norm block adds shrinks beside a state that grows.",
        measure: |run| turns(run, EIGHTH),
    },
    Quantity {
        name: "angle between successive steps in iteration 8 (°)",
        definition: "the other reading of theirs: the angle whose cosine is the mean cosine of the steps of iterations 8 and 7, at \
                     the readout position. The same: at most twice theirs",
        source: REPLICATION,
        theirs: "1.2",
        series: Series::Hops,
        decimals: 1,
        same: at_most(2.4),
        why: "Expected only where nothing is retrieved any more and the loop drifts along one direction: not on deep chains here.",
        measure: |run| at_iteration(run, EIGHTH, angle_of_steps),
    },
    Quantity {
        name: "radial share of later motion",
        definition: "mean share of the squared step that is along the state before it, at the readout position, after iteration 8, on \
                     test chains of the deepest learned number of hops, at most 10; theirs may be a cosine, of which 0.961 is a share \
                     of 0.924",
        source: REPLICATION,
        theirs: "0.961",
        series: Series::Iteration,
        decimals: 3,
        same: between(0.9, 1.0),
        why: "Expected where the loop goes on writing the same answer into a state that already holds it; not where it was trained to \
              retrieve on, or overthinks.",
        measure: later_motion,
    },
    Quantity {
        name: "turn of the state 4 iterations after the first right answer (°)",
        definition: "theirs counted from arrival, since their 10 hops are answered in iteration 4 and the turn is told of iteration 8: \
                     as in iteration 8, in the fourth iteration after the median first one with a right answer. The same: at most \
                     twice theirs",
        source: REPLICATION,
        theirs: "1.2",
        series: Series::Hops,
        decimals: 1,
        same: at_most(2.4),
        why: "Expected at any size: once nothing is retrieved any more, what a pre-norm block adds shrinks beside a state that grows.",
        measure: |run| after_arrival(run, |row| of_settle(row, row.angle, row.angle_low.zip(row.angle_high))),
    },
    Quantity {
        name: "radial share 4 iterations after the first right answer",
        definition: "as the radial share of later motion, in the fourth iteration after the median first one with a right answer",
        source: REPLICATION,
        theirs: "0.961",
        series: Series::Hops,
        decimals: 3,
        same: between(0.9, 1.0),
        why: "Expected at any size, as the small turn: the block goes on writing the answer that the state already holds.",
        measure: |run| {
            after_arrival(run, |row| {
                of_settle(row, row.radial, row.radial_low.zip(row.radial_high))
            })
        },
    },
    Quantity {
        name: "bridge read at the readout position",
        definition: "relay: the largest share, over bridges and effective layers, of test chains of the deepest learned number of \
                     hops of which the tied output has the bridge on top at the position of the answer; the interval counts for the \
                     choice of the layer, not of the bridge. The same: at most 0.05 (chance is 1 / entities)",
        source: REPLICATION,
        theirs: "0.00",
        series: Series::Single,
        decimals: 3,
        same: at_most(0.05),
        why: "Expected: only the target is trained to be readable there, and every hop is looked up at the position of its relation.",
        measure: |run| bridge_read(run, |position, _, readout| position == readout),
    },
    Quantity {
        name: "bridge read at the position of its own relation",
        definition: "as at the readout position, each bridge at the position of the relation that leads to it; where theirs looked \
                     is not known. The same: at most 0.05",
        source: REPLICATION,
        theirs: "0.00",
        series: Series::Single,
        decimals: 3,
        same: at_most(0.05),
        why: "Not expected: a k-hop chain is the prefix of a longer one and is answered at that very position, so that the loss \
              itself makes its answer readable there.",
        measure: |run| bridge_read(run, |position, hop, _| position == Position::Relation(hop)),
    },
];
