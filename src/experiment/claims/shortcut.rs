//! Claim 10 and the fixed points of the loop: what of a chain is read, and where the states go.

use super::depth::plain;
use super::overthinking::injected;
use super::words::or_dash;
use super::{Criterion, Judgement};
use crate::experiment::{Evidence, Recurrence, RunView};
use crate::graph::{Position, Tails};
use crate::measure::{Interchange, Reach, ReachRow, Settle, SettleRow};
use crate::wording::counted;

/// A short suffix keeps the answers on many-to-one relations, and none does on permutations.
pub struct Shortcut {
    /// Runs that learned at least this many hops are held against it.
    pub min_learned: usize,
    /// Largest share of answers that may change where a suffix keeps them.
    pub tolerance: f64,
}

impl<'a> RunView<'a> {
    /// What becomes of the answers at the learned depth when tokens are interchanged like this.
    pub(super) fn interchanged(self, interchange: Interchange) -> impl Iterator<Item = &'a ReachRow> {
        let hops = self.depth();
        self.rows::<Reach>()
            .filter(move |row| row.hops == hops && row.interchange == interchange)
    }

    /// The relations of the shortest suffix that keeps the answers.
    pub(super) fn shortest_suffix(self) -> Option<usize> {
        self.interchanged(Interchange::Before)
            .find(|row| row.shortest)
            .map(|row| row.from_end)
    }
}

impl Shortcut {
    fn runs<'a>(&self, evidence: &'a Evidence) -> impl Iterator<Item = RunView<'a>> {
        let min = self.min_learned;
        evidence.runs().filter(move |run| run.learned() >= min)
    }

    fn line(run: RunView) -> Option<String> {
        let mut interchanged = run.interchanged(Interchange::One);
        let head = interchanged.find(|row| row.position == Some(Position::Head))?;
        let suffix = match run.shortest_suffix() {
            Some(n) => format!("shortest suffix that keeps the answer: {}", counted(n, "relation")),
            None => "no suffix keeps the answer".to_owned(),
        };
        Some(format!(
            "{}: {} hops, another head changes {:.3} ({:.3}–{:.3}, n = {}) of its answers and {:.3} of the true ones; {suffix}",
            run.name(),
            head.hops,
            head.changed,
            head.low,
            head.high,
            head.n,
            head.truth_changed
        ))
    }
}

impl Criterion<&Evidence> for Shortcut {
    fn text(&self) -> String {
        format!(
            "at the deepest learned chains, fewer than all relations at the end keep {:.2} of the answers on many-to-one data, and \
             no suffix does on permutations",
            1.0 - self.tolerance
        )
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let of_kind = |tails: Tails| self.runs(evidence).filter(move |run| run.role().tails == tails);
        let as_here = |run: RunView| {
            let result = run.get::<Reach>();
            result.is_some_and(|result| result.settings.tolerance == self.tolerance)
                && run.interchanged(Interchange::Before).next().is_some()
        };
        let measured = |tails: Tails| {
            let mut runs = of_kind(tails).peekable();
            runs.peek().is_some() && runs.all(as_here)
        };
        let is_short = |run: RunView| run.shortest_suffix().is_some_and(|n| n < run.depth());
        let met = of_kind(Tails::Random).all(is_short)
            && of_kind(Tails::Permutation).all(|run| run.shortest_suffix().is_none());
        Judgement {
            met: (measured(Tails::Random) && measured(Tails::Permutation)).then_some(met),
            numbers: self.runs(evidence).filter_map(Self::line).collect(),
        }
    }
}

/// The states after the block's layers come together without injection, and stay apart with it.
pub struct CommonState {
    /// The distance, as a share of the states' norm, below which they are together.
    pub max_apart: f64,
}

impl CommonState {
    // After the most iterations, on the deepest learned chains.
    fn end(run: RunView<'_>) -> Option<&SettleRow> {
        let hops = run.depth();
        let rows = run.rows::<Settle>().filter(|row| row.hops == hops);
        rows.max_by_key(|row| row.iteration)
    }

    fn line(row: &SettleRow) -> String {
        let share = |x: Option<f64>| or_dash(x.map(|x| format!("{x:.3}")));
        format!(
            "{}: {} hops, iteration {}: layers apart {}, step / state {:.3}, cosine of steps {}, state norm {:.1}, n = {}",
            row.origin.run,
            row.hops,
            row.iteration,
            share(row.apart),
            row.moved,
            share(row.cosine),
            row.state,
            row.n
        )
    }
}

impl Criterion<&Evidence> for CommonState {
    fn text(&self) -> String {
        format!(
            "after the most iterations, the states after the block's layers are less than {:.2} of their norm apart without \
             injection (largest fixed R), and more with it, both with their intervals",
            self.max_apart
        )
    }

    fn judge(&self, evidence: &Evidence) -> Judgement {
        let largest = plain(evidence, Recurrence::Fixed).pop();
        let without = largest.and_then(Self::end);
        let with = injected(evidence).first().copied().and_then(Self::end);
        let bounds = without
            .and_then(|row| row.apart_high)
            .zip(with.and_then(|row| row.apart_low));
        Judgement {
            met: bounds.map(|(without, with)| without < self.max_apart && with > self.max_apart),
            numbers: without.into_iter().chain(with).map(Self::line).collect(),
        }
    }
}
