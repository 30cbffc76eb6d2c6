//! Which criterion made queries leave the loop.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Shares of queries by the criterion that made its rule fire: the one that was not met an iteration before. Absent where
/// it decided for no query.
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
    /// Of what decided for each query: a criterion's name, `together` or `end`.
    pub(super) fn of(decided: impl ExactSizeIterator<Item = &'static str>) -> Self {
        let one = 1.0 / decided.len() as f64;
        let mut shares = Self::default();
        for name in decided {
            if let Some(share) = shares.share_of(name) {
                *share = Some(share.unwrap_or(0.0) + one);
            }
        }
        shares
    }

    // Alphabetical, as text lists them.
    fn shares(&self) -> [(&'static str, Option<f64>); 11] {
        [
            ("argmax", self.decided_argmax),
            ("cosine", self.decided_cosine),
            ("end", self.never_met),
            ("entropy", self.decided_entropy),
            ("entropy-difference", self.decided_entropy_difference),
            ("kl", self.decided_kl),
            ("latent-difference", self.decided_latent_difference),
            ("min-p-kl", self.decided_min_p_kl),
            ("oracle", self.decided_oracle),
            ("second-difference", self.decided_second_difference),
            ("together", self.decided_together),
        ]
    }

    fn share_of(&mut self, name: &str) -> Option<&mut Option<f64>> {
        Some(match name {
            "kl" => &mut self.decided_kl,
            "entropy" => &mut self.decided_entropy,
            "second-difference" => &mut self.decided_second_difference,
            "entropy-difference" => &mut self.decided_entropy_difference,
            "latent-difference" => &mut self.decided_latent_difference,
            "min-p-kl" => &mut self.decided_min_p_kl,
            "argmax" => &mut self.decided_argmax,
            "cosine" => &mut self.decided_cosine,
            "oracle" => &mut self.decided_oracle,
            "together" => &mut self.decided_together,
            "end" => &mut self.never_met,
            _ => return None,
        })
    }
}

/// `end 0.042, entropy 0.958`.
impl fmt::Display for Decided {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let told = self
            .shares()
            .into_iter()
            .filter_map(|(name, share)| Some((name, share?)));
        let shares: Vec<String> = told.map(|(name, share)| format!("{name} {share:.3}")).collect();
        f.write_str(&shares.join(", "))
    }
}
