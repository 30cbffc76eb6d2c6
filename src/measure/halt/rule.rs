//! When a query may leave the loop: criteria on what changes from one iteration to the next, and rules made of them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize, Serializer};

use crate::wording::did_you_mean;

/// A quantity that is watched from iteration to iteration. Each has the threshold that its source uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Criterion {
    /// KL(pₜ ‖ pₜ₋₁) in nats below 0.01 (Kohli et al. 2026); 0.001 in the Huginn models.
    Kl,
    /// Entropy of pₜ in nats below 3 (Kohli et al. 2026).
    Entropy,
    /// ‖δₜ − δₜ₋₁‖ / ‖xₜ‖ with δₜ = xₜ − xₜ₋₁, below its threshold at two iterations in a row (after 2509.23314).
    SecondDifference,
    /// |H(pₜ) − H(pₜ₋₁)| in nats below 0.001 (2502.05171, as the next ones).
    EntropyDifference,
    /// ‖xₜ − xₜ₋₁‖ / ‖xₜ‖ below 0.03.
    LatentDifference,
    /// KL in nats between the two distributions with every probability under a tenth of the largest put to one over the
    /// number of tokens, below 1e-5.
    MinPKl,
    /// The most likely token has been the same for 5 iterations.
    Argmax,
    /// 1 − cos(xₜ, xₜ₋₁) below 0.001.
    Cosine,
    /// The answer is right: no rule could halt a query earlier and be right.
    Oracle,
}

impl Criterion {
    /// All criteria.
    pub const ALL: [Self; 9] = [
        Self::Kl,
        Self::Entropy,
        Self::SecondDifference,
        Self::EntropyDifference,
        Self::LatentDifference,
        Self::MinPKl,
        Self::Argmax,
        Self::Cosine,
        Self::Oracle,
    ];

    /// The name that users type.
    pub fn name(self) -> &'static str {
        match self {
            Self::Kl => "kl",
            Self::Entropy => "entropy",
            Self::SecondDifference => "second-difference",
            Self::EntropyDifference => "entropy-difference",
            Self::LatentDifference => "latent-difference",
            Self::MinPKl => "min-p-kl",
            Self::Argmax => "argmax",
            Self::Cosine => "cosine",
            Self::Oracle => "oracle",
        }
    }

    /// The threshold where none is given.
    pub fn usual(self) -> f64 {
        match self {
            Self::Kl => 0.01,
            Self::Entropy => 3.0,
            Self::SecondDifference => 0.05,
            Self::EntropyDifference | Self::Cosine => 1e-3,
            Self::LatentDifference => 0.03,
            Self::MinPKl => 1e-5,
            Self::Argmax => 5.0,
            Self::Oracle => 0.0,
        }
    }

    /// The thresholds of a sweep: from nearly always met to nearly never.
    pub fn sweep(self) -> Vec<f64> {
        match self {
            Self::Oracle => Vec::new(),
            Self::Argmax => (1..=10).map(f64::from).collect(),
            // 10 to 1e-7, two a decade.
            _ => (-2..=14).map(|i| libm::pow(10.0, -f64::from(i) / 2.0)).collect(),
        }
    }
}

/// What one iteration did to one query.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    /// The iteration, from 1.
    pub(super) iteration: usize,
    pub(super) kl: f64,
    pub(super) min_p_kl: f64,
    pub(super) entropy: f64,
    pub(super) entropy_difference: f64,
    pub(super) latent_difference: f64,
    /// This iteration's and the last one's.
    pub(super) second_difference: [f64; 2],
    pub(super) cosine: f64,
    /// Iterations for which the answer has been what it is, this one included.
    pub(super) stable: usize,
    pub(super) answer: u32,
    pub(super) right: bool,
}

impl Criterion {
    /// Whether it is met.
    pub(super) fn met(self, threshold: f64, change: &Change) -> bool {
        // One distribution is not yet a change.
        let changed = change.iteration >= 2;
        match self {
            Self::Kl => changed && change.kl < threshold,
            Self::Entropy => changed && change.entropy < threshold,
            Self::SecondDifference => change.second_difference.iter().all(|&x| x < threshold),
            Self::EntropyDifference => changed && change.entropy_difference < threshold,
            Self::LatentDifference => changed && change.latent_difference < threshold,
            Self::MinPKl => changed && change.min_p_kl < threshold,
            Self::Argmax => change.stable as f64 >= threshold,
            Self::Cosine => changed && change.cosine < threshold,
            Self::Oracle => change.right,
        }
    }
}

/// What made a query leave the loop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DecidedBy {
    /// The one criterion of the rule that was not met an iteration before.
    Criterion(Criterion),
    /// Several of them at once.
    Together,
    /// None: the rule was never met, and this was the last iteration.
    Never,
}

impl DecidedBy {
    /// What tables call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Criterion(criterion) => criterion.name(),
            Self::Together => "together",
            Self::Never => "end",
        }
    }
}

impl Serialize for DecidedBy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// Criteria that must all be met: `kl+entropy`, `kl=0.001`, `argmax=3`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Rule(Vec<(Criterion, f64)>);

impl Rule {
    /// One criterion with this threshold.
    pub fn of(criterion: Criterion, threshold: f64) -> Self {
        Self(vec![(criterion, threshold)])
    }

    /// This rule, where another criterion with this threshold must be met too.
    #[must_use]
    pub fn and(mut self, criterion: Criterion, threshold: f64) -> Self {
        self.0.push((criterion, threshold));
        self
    }

    /// Its criteria with their thresholds.
    pub fn criteria(&self) -> &[(Criterion, f64)] {
        &self.0
    }

    pub(super) fn met(&self, change: &Change) -> bool {
        self.0
            .iter()
            .all(|&(criterion, threshold)| criterion.met(threshold, change))
    }

    /// What made the rule fire now: the criterion that was not met an iteration ago, or several at once.
    pub(super) fn decided(&self, before: Option<&Change>, now: &Change) -> DecidedBy {
        let was_met =
            |(criterion, threshold): &(Criterion, f64)| before.is_some_and(|before| criterion.met(*threshold, before));
        debug_assert!(self.met(now));
        let mut late = self.0.iter().filter(|criterion| !was_met(criterion));
        match (late.next(), late.next()) {
            (Some((criterion, _)), None) => DecidedBy::Criterion(*criterion),
            _ => DecidedBy::Together,
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, &(criterion, threshold)) in self.0.iter().enumerate() {
            let plus = if i > 0 { "+" } else { "" };
            write!(f, "{plus}{}", criterion.name())?;
            if criterion != Criterion::Oracle {
                write!(f, "={threshold}")?;
            }
        }
        Ok(())
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let criterion = |part: &str| {
            let (name, threshold) = match part.split_once('=') {
                Some((name, threshold)) => (name, Some(threshold)),
                None => (part, None),
            };
            let known = || Criterion::ALL.map(Criterion::name);
            let criterion = Criterion::ALL
                .into_iter()
                .find(|criterion| criterion.name() == name.trim())
                .ok_or_else(|| {
                    format!(
                        "no criterion `{name}`; allowed: {}, joined by +, each perhaps with =THRESHOLD{}",
                        known().join(", "),
                        did_you_mean(name, known())
                    )
                })?;
            let threshold = match threshold {
                None => criterion.usual(),
                Some(text) => text
                    .trim()
                    .parse::<f64>()
                    .ok()
                    .filter(|x| x.is_finite() && *x > 0.0 && criterion != Criterion::Oracle)
                    .ok_or_else(|| {
                        format!("the threshold `{text}` of {name}; allowed: a number above 0 (none for oracle)")
                    })?,
            };
            Ok((criterion, threshold))
        };
        Ok(Self(text.split('+').map(criterion).collect::<Result<_, String>>()?))
    }
}

impl TryFrom<String> for Rule {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Rule> for String {
    fn from(rule: Rule) -> Self {
        rule.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_they_are_written() {
        for text in ["kl=0.01+entropy=3", "argmax=5", "oracle", "min-p-kl=0.00001"] {
            assert_eq!(text.parse::<Rule>().unwrap().to_string(), text);
        }
        assert_eq!("kl+entropy".parse::<Rule>().unwrap().to_string(), "kl=0.01+entropy=3");
        for (bad, says) in [
            ("kll", "no criterion `kll`"),
            ("kl=x", "threshold `x`"),
            ("kl=-1", "above 0"),
            ("oracle=1", "none for oracle"),
            ("", "no criterion"),
        ] {
            assert!(bad.parse::<Rule>().unwrap_err().contains(says), "{bad}");
        }
    }

    #[test]
    fn the_criterion_that_came_last_decides() {
        let change = |kl, entropy| Change {
            iteration: 3,
            kl,
            min_p_kl: 1.0,
            entropy,
            entropy_difference: 1.0,
            latent_difference: 1.0,
            second_difference: [1.0; 2],
            cosine: 1.0,
            stable: 1,
            answer: 0,
            right: false,
        };
        let rule: Rule = "kl+entropy".parse().unwrap();
        let now = change(0.001, 1.0);
        assert!(rule.met(&now) && !rule.met(&change(0.1, 1.0)));
        assert_eq!(
            rule.decided(Some(&change(0.1, 1.0)), &now),
            DecidedBy::Criterion(Criterion::Kl)
        );
        assert_eq!(
            rule.decided(Some(&change(0.001, 4.0)), &now),
            DecidedBy::Criterion(Criterion::Entropy)
        );
        assert_eq!(rule.decided(Some(&change(0.1, 4.0)), &now), DecidedBy::Together);
    }
}
