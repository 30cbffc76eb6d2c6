//! Which criterion made queries leave the loop.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::rule::{Criterion, DecidedBy, Rule};
use crate::measure::quantity::{Quantity, quantities};

/// Shares of queries by the criterion that made its rule fire: the one that was not met an iteration before. Absent for
/// criteria that are not of the rule.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Decided {
    /// The criterion `kl`.
    pub decided_kl: Option<f64>,
    /// The criterion `entropy`.
    pub decided_entropy: Option<f64>,
    /// The criterion `second-difference`.
    pub decided_second_difference: Option<f64>,
    /// The criterion `entropy-difference`.
    pub decided_entropy_difference: Option<f64>,
    /// The criterion `latent-difference`.
    pub decided_latent_difference: Option<f64>,
    /// The criterion `min-p-kl`.
    pub decided_min_p_kl: Option<f64>,
    /// The criterion `argmax`.
    pub decided_argmax: Option<f64>,
    /// The criterion `cosine`.
    pub decided_cosine: Option<f64>,
    /// The criterion `oracle`.
    pub decided_oracle: Option<f64>,
    /// Several criteria of a rule were met for the first time at once.
    pub decided_together: Option<f64>,
    /// The rule was never met; these queries left after the last iteration.
    pub never_met: Option<f64>,
}

impl Decided {
    /// Its fields.
    pub(super) const QUANTITIES: &'static [Quantity] = quantities![
        share decided_kl, share decided_entropy, share decided_second_difference, share decided_entropy_difference,
        share decided_latent_difference, share decided_min_p_kl, share decided_argmax, share decided_cosine,
        share decided_oracle, share decided_together, share never_met,
    ];

    /// Of what decided for each query under a rule.
    pub(super) fn of(rule: &Rule, decided: &[DecidedBy]) -> Self {
        let mut shares = Self::default();
        for by in Self::possible(rule) {
            let count = decided.iter().filter(|&&other| other == by).count();
            *shares.share_of(by) = Some(count as f64 / decided.len() as f64);
        }
        shares
    }

    // What can decide under a rule.
    fn possible(rule: &Rule) -> Vec<DecidedBy> {
        let criteria = rule
            .criteria()
            .iter()
            .map(|&(criterion, _)| DecidedBy::Criterion(criterion));
        let several = (rule.criteria().len() > 1).then_some(DecidedBy::Together);
        criteria.chain(several).chain([DecidedBy::Never]).collect()
    }

    fn share_of(&mut self, by: DecidedBy) -> &mut Option<f64> {
        match by {
            DecidedBy::Criterion(Criterion::Kl) => &mut self.decided_kl,
            DecidedBy::Criterion(Criterion::Entropy) => &mut self.decided_entropy,
            DecidedBy::Criterion(Criterion::SecondDifference) => &mut self.decided_second_difference,
            DecidedBy::Criterion(Criterion::EntropyDifference) => &mut self.decided_entropy_difference,
            DecidedBy::Criterion(Criterion::LatentDifference) => &mut self.decided_latent_difference,
            DecidedBy::Criterion(Criterion::MinPKl) => &mut self.decided_min_p_kl,
            DecidedBy::Criterion(Criterion::Argmax) => &mut self.decided_argmax,
            DecidedBy::Criterion(Criterion::Cosine) => &mut self.decided_cosine,
            DecidedBy::Criterion(Criterion::Oracle) => &mut self.decided_oracle,
            DecidedBy::Together => &mut self.decided_together,
            DecidedBy::Never => &mut self.never_met,
        }
    }
}

/// `end 0.042, entropy 0.958`.
impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let all = Criterion::ALL.map(DecidedBy::Criterion);
        let mut shares: Vec<(&str, f64)> = all
            .into_iter()
            .chain([DecidedBy::Together, DecidedBy::Never])
            .filter_map(|by| Some((by.name(), (*self.clone().share_of(by))?)))
            .filter(|(_, share)| *share > 0.0)
            .collect();
        shares.sort_unstable_by_key(|(name, _)| *name);
        let texts: Vec<String> = shares
            .iter()
            .map(|(name, share)| format!("{name} {share:.3}"))
            .collect();
        f.write_str(&texts.join(", "))
    }
}
