//! Probe specs: what to measure, as data.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::files;
use crate::graph::{Position, Split, Target, Token};
use crate::model::Point;

/// A probe, as a TOML file in `probes/` says it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProbeSpec {
    /// Short name, for tables and files.
    pub name: String,
    /// What a figure calls it.
    pub title: String,
    /// What is to be decoded: `head`, `bridge` (`bridge1`, …), `target`, `relation1`, `relation2`, …, or `entity`, the one
    /// that the chain has come to at the probed position.
    pub label: Target,
    /// The hops of the chains that are looked at.
    #[serde(default = "two")]
    pub hops: usize,
    /// The hook point whose state is probed.
    #[serde(default = "resid_post")]
    pub site: Point,
    /// Where: `head`, `r1`, `r2`, …, or `readout`, where the answer is read.
    pub positions: Vec<Position>,
    /// Which iterations, from 1; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iterations: Option<Vec<usize>>,
    /// Which layers of the block, from 1; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layers: Option<Vec<usize>>,
    /// The split whose rows the probe is fitted on.
    #[serde(default = "Split::train")]
    pub fit: Split,
    /// The splits it is tested on, each without what it was fitted on.
    pub test: Vec<Split>,
    /// What fit and test set do not share.
    #[serde(default)]
    pub split: SplitBy,
    /// Share of the fit split's facts (or causal prefixes, as `split` says) that are kept for testing.
    #[serde(default = "three_tenths")]
    pub held_out: f64,
    /// The classifier.
    #[serde(default)]
    pub classifier: ClassifierKind,
    /// The classifier's L2 penalty per sample; chosen on a fifth of the fit set where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub penalty: Option<f64>,
    /// Causal prefixes in the fit set and in each test set, at most.
    #[serde(default = "four_thousand")]
    pub max_prefixes: usize,
}

/// What the fit set and a test set of a probe do not share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SplitBy {
    /// Neither a causal prefix nor a fact that yields the label: a probe that has memorized which label a fact yields
    /// gains nothing by it.
    #[default]
    Facts,
    /// Neither a causal prefix, nor a fact that yields the label, nor one that leads on from it: the target and r2 give a
    /// bridge away to whom knows the facts (b, r2) → t, though a state that holds these two need not hold the bridge.
    BothFacts,
    /// No causal prefix. The same fact may yield the label on both sides, so accuracy holds what a probe memorizes.
    Prefixes,
}

/// The linear classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ClassifierKind {
    /// Multinomial logistic regression, searched for until its gradient vanishes.
    #[default]
    Logistic,
    /// Linear discriminant analysis with a shrunken covariance, in closed form: a quick lower bound.
    Discriminant,
    /// Ridge regression on one-hot labels, in closed form: a quick lower bound. With many classes in few dimensions some
    /// hide behind others (masking), so it can stay far below what is linearly decodable.
    Ridge,
}

impl ClassifierKind {
    /// The name, as a spec has it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Logistic => "logistic",
            Self::Discriminant => "discriminant",
            Self::Ridge => "ridge",
        }
    }
}

fn two() -> usize {
    2
}
fn resid_post() -> Point {
    Point::ResidPost
}

fn three_tenths() -> f64 {
    0.3
}
fn four_thousand() -> usize {
    4000
}

impl ProbeSpec {
    /// Reads and checks a spec.
    ///
    /// # Errors
    /// When the file cannot be read, a key is unknown, or a value is impossible; the message names it.
    pub fn read(path: &Path) -> Result<Self> {
        Self::parse(&files::read_text(path)?).map_err(|e| Error::file(path, e))
    }

    /// The specs of `probes/`, by name.
    pub const SHIPPED: [(&str, &str); 6] = [
        ("bridge-at-r1", include_str!("../../../probes/bridge-at-r1.toml")),
        ("bridge-at-r2", include_str!("../../../probes/bridge-at-r2.toml")),
        ("target-at-r2", include_str!("../../../probes/target-at-r2.toml")),
        ("head-everywhere", include_str!("../../../probes/head-everywhere.toml")),
        ("relation2-at-r2", include_str!("../../../probes/relation2-at-r2.toml")),
        ("hops-done", include_str!("../../../probes/hops-done.toml")),
    ];

    /// What is probed where no spec is named: of two hops the bridge and the target, of chains by depth the entity after each hop.
    pub(super) fn usual(is_by_depth: bool) -> Result<Vec<Self>> {
        let names: &[&str] = if is_by_depth {
            &["hops-done"]
        } else {
            &["bridge-at-r1", "bridge-at-r2", "target-at-r2"]
        };
        let usual = Self::SHIPPED.iter().filter(|(name, _)| names.contains(name));
        usual.map(|(_, text)| Self::parse(text)).collect()
    }

    /// Parses and checks the text of a spec.
    ///
    /// # Errors
    /// When a key is unknown or a value is impossible; the message names it.
    pub fn parse(text: &str) -> Result<Self> {
        let spec: Self = toml::from_str(text).map_err(Error::input)?;
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<()> {
        let refuse = |text: String| Err(Error::input(text));
        if self.name.is_empty()
            || !self
                .name
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
        {
            return refuse(format!("name = {:?}; allowed: letters, digits, - and _", self.name));
        }
        if self.hops == 0 {
            return refuse("hops = 0; allowed: 1 or more".to_owned());
        }
        if !self.site.in_block() || self.site == Point::AttnPattern {
            return refuse(format!(
                "site = {:?}; allowed: resid_pre, z, attn_out, resid_mid, mlp_post, mlp_out, resid_post",
                self.site.name()
            ));
        }
        if self.positions.is_empty() || self.test.is_empty() {
            return refuse("positions and test must each name one or more".to_owned());
        }
        if !(self.held_out > 0.0 && self.held_out < 1.0) {
            return refuse(format!("held_out = {}; allowed: above 0 and below 1", self.held_out));
        }
        if self
            .penalty
            .is_some_and(|penalty| !(penalty.is_finite() && penalty > 0.0))
        {
            return refuse(format!(
                "penalty = {}; allowed: above 0",
                self.penalty.unwrap_or_default()
            ));
        }
        if self.max_prefixes < 10 {
            return refuse(format!("max_prefixes = {}; allowed: 10 or more", self.max_prefixes));
        }
        for (key, list) in [("iterations", &self.iterations), ("layers", &self.layers)] {
            if list.as_ref().is_some_and(|list| list.is_empty() || list.contains(&0)) {
                return refuse(format!("{key} count from 1; leave the key out for all"));
            }
        }
        for &position in &self.positions {
            if position.index(self.hops) > self.hops {
                // The names of a few; a spec may say any number of hops.
                let relations = match self.hops {
                    1 => "r1".to_owned(),
                    2 => "r1, r2".to_owned(),
                    hops => format!("r1 to r{hops}"),
                };
                return refuse(format!(
                    "position {:?}; allowed for {} hops: head, {relations}, readout",
                    position.to_string(),
                    self.hops
                ));
            }
            self.label(position)?;
        }
        Ok(())
    }

    /// What the label is at a position.
    pub(super) fn label(&self, position: Position) -> Result<Token> {
        self.label.in_chain(self.hops, position).ok_or_else(|| {
            let bridges = match self.hops {
                1 => String::new(),
                2 => "bridge, ".to_owned(),
                k => format!("bridge1 to bridge{}, ", k - 1),
            };
            Error::input(format!(
                "label = {:?}; allowed for {} hops: head, {bridges}target, entity, relation1 to relation{}",
                self.label.to_string(),
                self.hops,
                self.hops
            ))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<ProbeSpec> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spec.toml");
        std::fs::write(&path, text).unwrap();
        ProbeSpec::read(&path)
    }

    const GOOD: &str = "name = 'b'\ntitle = 'B'\nlabel = 'bridge'\npositions = ['r1']\ntest = ['train']\n";

    #[test]
    fn every_shipped_spec_is_read() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("probes");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|e| e == "toml") {
                let spec = ProbeSpec::read(&path).unwrap();
                assert_eq!(Some(spec.name.as_str()), path.file_stem().and_then(|s| s.to_str()));
                count += 1;
            }
        }
        assert!(count >= 5);
    }

    #[test]
    fn mistakes_are_named_with_what_is_allowed() {
        let refused = |text: &str| read(text).unwrap_err().to_string();
        assert!(read(GOOD).is_ok());
        assert!(refused(&GOOD.replace("'bridge'", "'bridges'")).contains("allowed: head, bridge, "));
        assert!(
            refused(&GOOD.replace("'bridge'", "'bridge2'"))
                .contains("head, bridge, target, entity, relation1 to relation2")
        );
        assert!(refused(&GOOD.replace("r1", "r3")).contains("head, r1, r2"));
        assert!(refused(&format!("{GOOD}site = 'logits'")).contains("resid_post"));
        assert!(refused(&format!("{GOOD}sites = 'logits'")).contains("sites"));
        assert!(refused(&format!("{GOOD}held_out = 1.0")).contains("below 1"));
        assert!(refused(&format!("{GOOD}split = 'queries'")).contains("`facts`, `both-facts`, `prefixes`"));
    }
}
