//! A split of a data set: its published name, and what that name says of the rows.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The name of the split that holds every row of `train.json`.
pub const TRAIN: &str = "train";
/// The name of the split that holds every row of `valid.json`.
pub const VALID: &str = "valid";
/// The published name and type of sampled atomic facts.
pub(super) const ATOMIC_FACTS: &str = "atomic_facts";

const DEPTH_TEST: &str = "hop_test";

/// What the rows of a split are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Everything that is trained on: atomic facts and composed chains.
    Train,
    /// Rows of `valid.json`.
    Validation,
    /// Composed chains that were trained on (`train_inferred`).
    TrainChains,
    /// Held-out chains of facts that training composes elsewhere (`test_inferred_iid`).
    InDistribution,
    /// Chains of facts that training never composes (`test_inferred_ood`): systematic generalization.
    Ood,
    /// Atomic facts whose chains are trained on (`id_atomic`).
    InDistributionFacts,
    /// Atomic facts that no trained chain uses (`ood_atomic`).
    OodFacts,
    /// A sample of all atomic facts (`atomic_facts`).
    Facts,
    /// Held-out chains of one depth (`2hop_test`, `3hop_test`, …).
    DepthTest,
    /// A split of another name, of someone's own data.
    Other,
}

/// A split by name; equal names are equal splits. Tables and JSON hold the name alone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Split {
    name: Arc<str>,
    role: Role,
    hops: Option<usize>,
}

impl Split {
    /// Every row of `train.json`.
    pub fn train() -> Self {
        TRAIN.into()
    }

    /// Every row of `valid.json`.
    pub fn valid() -> Self {
        VALID.into()
    }

    /// Trained chains of the systematic task.
    pub fn train_chains() -> Self {
        "train_inferred".into()
    }

    /// Held-out chains of the systematic task, in distribution.
    pub fn in_distribution() -> Self {
        "test_inferred_iid".into()
    }

    /// Chains of the systematic task that are out of distribution.
    pub fn ood() -> Self {
        "test_inferred_ood".into()
    }

    /// The held-out chains of this many hops of the depth task.
    pub fn depth_test(hops: usize) -> Self {
        format!("{hops}{DEPTH_TEST}").into()
    }

    /// The published name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its rows are for.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The number of hops that all its rows have, where the name says so; rows of other splits may differ.
    pub fn hops(&self) -> Option<usize> {
        self.hops
    }

    /// The depth of held-out chains of one depth; `None` for any other split.
    pub fn depth(&self) -> Option<usize> {
        self.hops.filter(|_| self.role == Role::DepthTest)
    }

    /// Whether its rows were trained on.
    pub fn is_trained_on(&self) -> bool {
        matches!(self.role, Role::Train | Role::TrainChains | Role::InDistributionFacts)
    }

    /// The order in legends: what is trained on, then held-out facts and chains, chains by their hops.
    pub fn order_in_legends(&self) -> impl Ord + use<> {
        (self.role != Role::Train, self.depth())
    }

    /// The order in comparisons, in which what says most is first: OOD chains, ID chains, chains by their hops, then what is
    /// trained on.
    pub fn order_in_comparisons(&self) -> impl Ord + use<> {
        let rank = match self.role {
            Role::Ood => 0,
            Role::InDistribution => 1,
            _ if self.is_trained_on() => 3,
            _ => 2,
        };
        (rank, self.depth())
    }

    /// What legends and tables call it: `ID test`, `OOD test`, …; the name where nothing shorter says as much.
    pub fn title(&self) -> &str {
        match self.role {
            Role::TrainChains => "train chains",
            Role::InDistribution => "ID test",
            Role::Ood => "OOD test",
            Role::InDistributionFacts => "ID facts",
            Role::OodFacts => "OOD facts",
            _ => &self.name,
        }
    }
}

impl From<&str> for Split {
    fn from(name: &str) -> Self {
        let (role, hops) = match name {
            TRAIN => (Role::Train, None),
            VALID => (Role::Validation, None),
            "train_inferred" => (Role::TrainChains, Some(2)),
            "test_inferred_iid" => (Role::InDistribution, Some(2)),
            "test_inferred_ood" => (Role::Ood, Some(2)),
            "id_atomic" => (Role::InDistributionFacts, Some(1)),
            "ood_atomic" => (Role::OodFacts, Some(1)),
            ATOMIC_FACTS => (Role::Facts, Some(1)),
            _ => match depth_of(name) {
                Some(hops) => (Role::DepthTest, Some(hops)),
                None => (Role::Other, None),
            },
        };
        Self {
            name: name.into(),
            role,
            hops,
        }
    }
}

// The hops in the name of a split that holds chains of one depth.
fn depth_of(name: &str) -> Option<usize> {
    let digits = name.strip_suffix(DEPTH_TEST)?;
    digits.parse().ok().filter(|hops: &usize| digits == hops.to_string())
}

impl AsRef<str> for Split {
    fn as_ref(&self) -> &str {
        &self.name
    }
}

impl From<String> for Split {
    fn from(name: String) -> Self {
        name.as_str().into()
    }
}

impl From<Split> for String {
    fn from(split: Split) -> Self {
        split.name.as_ref().to_owned()
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_role_and_the_hops() {
        assert_eq!(Split::depth_test(12).depth(), Some(12));
        assert_eq!(Split::from("12hop_test"), Split::depth_test(12));
        for other in ["012hop_test", "hop_test", "+1hop_test", "2hop_train", "mixed"] {
            assert_eq!(Split::from(other).role(), Role::Other, "{other}");
            assert_eq!(Split::from(other).hops(), None, "{other}");
        }
        assert_eq!((Split::ood().role(), Split::ood().hops()), (Role::Ood, Some(2)));
        assert_eq!(Split::ood().depth(), None);
        assert!(Split::train_chains().is_trained_on() && !Split::in_distribution().is_trained_on());
    }

    #[test]
    fn legends_begin_with_training_and_comparisons_with_what_says_most() {
        let names = [
            "2hop_test",
            "10hop_test",
            "id_atomic",
            "test_inferred_iid",
            "test_inferred_ood",
            "train",
        ];
        let splits = names.map(Split::from);
        let mut of_legend = splits.clone();
        of_legend.sort_by_key(Split::order_in_legends);
        let expected = [
            "train",
            "id_atomic",
            "test_inferred_iid",
            "test_inferred_ood",
            "2hop_test",
            "10hop_test",
        ];
        assert_eq!(of_legend, expected.map(Split::from));
        let mut of_comparison = splits;
        of_comparison.sort_by_key(Split::order_in_comparisons);
        let expected = [
            "test_inferred_ood",
            "test_inferred_iid",
            "2hop_test",
            "10hop_test",
            "id_atomic",
            "train",
        ];
        assert_eq!(of_comparison, expected.map(Split::from));
    }

    #[test]
    fn tables_hold_the_name_alone() {
        let text = serde_json::to_string(&Split::ood()).unwrap();
        assert_eq!(text, "\"test_inferred_ood\"");
        assert_eq!(serde_json::from_str::<Split>(&text).unwrap(), Split::ood());
    }
}
