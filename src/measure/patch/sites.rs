//! Which states are put in together: one at each place of a sweep, those of several effective layers, or a list of the user's.

use std::fmt;
use std::str::FromStr;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::Patch;
use crate::error::{Error, Result};
use crate::graph::Position;
use crate::model::{Point, Site};
use crate::wording::choices;

/// A site at which a state is put in, `POSITION@ITERATION.LAYER`, where iteration and layer count from 1; with a head,
/// `POSITION@ITERATION.LAYER.HEAD`; at another hook point than that of the settings, `HOOK:POSITION@ITERATION.LAYER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SiteAt {
    /// The hook point; that of the settings where it is absent.
    pub hook: Option<Point>,
    /// The position.
    pub position: Position,
    /// The iteration, from 1.
    pub iteration: usize,
    /// The layer, from 1.
    pub layer: usize,
    /// The attention head, from 1; all of them where it is absent.
    pub attention_head: Option<usize>,
}

/// Places whose states are put in together, joined by `+`: `r1@1.1+r2@2.1`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct JointSites(pub Vec<SiteAt>);

impl fmt::Display for SiteAt {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        if let Some(hook) = self.hook {
            write!(f, "{}:", hook.name())?;
        }
        write!(f, "{}@{}.{}", self.position, self.iteration, self.layer)?;
        self.attention_head.map_or(Ok(()), |head| write!(f, ".{head}"))
    }
}

impl FromStr for SiteAt {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let refuse = || {
            format!(
                "site {text:?}; allowed: POSITION@ITERATION.LAYER or POSITION@ITERATION.LAYER.HEAD, as in r1@2.1, perhaps after HOOK:"
            )
        };
        let (hook, site) = match text.split_once(':') {
            Some((hook, site)) => (Some(hook_point(hook)?), site),
            None => (None, text),
        };
        let (position, numbers) = site.split_once('@').ok_or_else(refuse)?;
        let numbers: Option<Vec<usize>> = numbers
            .split('.')
            .map(|number| number.parse().ok().filter(|&n| n > 0))
            .collect();
        let (iteration, layer, attention_head) = match numbers.as_deref() {
            Some(&[iteration, layer]) => (iteration, layer, None),
            Some(&[iteration, layer, head]) => (iteration, layer, Some(head)),
            _ => return Err(refuse()),
        };
        Ok(Self {
            hook,
            position: position.parse()?,
            iteration,
            layer,
            attention_head,
        })
    }
}

fn hook_point(name: &str) -> std::result::Result<Point, String> {
    let points = Point::value_variants();
    points
        .iter()
        .copied()
        .find(|point| point.name() == name)
        .ok_or_else(|| {
            let names: Vec<&str> = points.iter().map(|point| point.name()).collect();
            format!("hook {name:?}; allowed: {}", choices(name, &names))
        })
}

impl fmt::Display for JointSites {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let sites: Vec<String> = self.0.iter().map(SiteAt::to_string).collect();
        f.write_str(&sites.join("+"))
    }
}

impl FromStr for JointSites {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        text.split('+')
            .map(str::parse)
            .collect::<std::result::Result<_, _>>()
            .map(Self)
    }
}

impl From<JointSites> for String {
    fn from(sites: JointSites) -> Self {
        sites.to_string()
    }
}

impl TryFrom<String> for JointSites {
    type Error = String;

    fn try_from(text: String) -> std::result::Result<Self, String> {
        text.parse()
    }
}

/// One state of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct State {
    pub(super) site: Site,
    pub(super) column: usize,
    /// From 0; all of them where it is absent.
    pub(super) head: Option<usize>,
}

/// The states that one run gets together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct JointPatch {
    /// One or more.
    pub(super) states: Vec<State>,
    /// The sites by name, where the user listed them.
    pub(super) listed: Option<String>,
}

/// What of a model and its queries the sites must fit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds<'a> {
    pub(super) iterations: usize,
    pub(super) layers: usize,
    pub(super) heads: usize,
    /// By column.
    pub(super) positions: &'a [Position],
}

impl Patch {
    /// Everything that is put in, a run each.
    ///
    /// # Errors
    /// When a listed site or the window is outside the model or its queries, or a first-order estimate is asked for of several
    /// states together.
    pub(super) fn together(&self, of: Bounds) -> Result<Vec<JointPatch>> {
        let all = self.joint_patches(of)?;
        if self.attribution && all.iter().any(|run| run.states.len() > 1) {
            // A state that is put in blocks the path of an earlier one through it; the gradient at the earlier one has that path.
            return Err(Error::input(
                "--attribution: several states are put in together, and the estimate is of one; allowed: without --window, \
                 --whole-iteration and sites joined by +",
            ));
        }
        Ok(all)
    }

    fn joint_patches(&self, of: Bounds) -> Result<Vec<JointPatch>> {
        if !self.sites.is_empty() {
            return self.sites.iter().map(|joint| self.listed(joint, of)).collect();
        }
        let sites = Site::all(self.hook, of.iterations, of.layers);
        let window = if self.whole_iteration { of.layers } else { self.window };
        if self.hook == Point::Embed && window > 1 {
            return Err(Error::input(
                "hook embed: there is one embedding; allowed: without --window and --whole-iteration",
            ));
        }
        if window > sites.len() {
            return Err(Error::input(format!(
                "--window {window}; allowed: 1 to {}, the effective layers of the model",
                sites.len()
            )));
        }
        let step = if self.whole_iteration { of.layers } else { 1 };
        let by_head = self.hook.has_heads();
        let heads: Vec<Option<usize>> = std::iter::once(None)
            .chain((0..of.heads).map(Some).filter(|_| by_head && of.heads > 1))
            .collect();
        let together = |sites: &[Site]| -> Vec<JointPatch> {
            let at = |head: Option<usize>, column: usize| JointPatch {
                states: sites.iter().map(|&site| State { site, column, head }).collect(),
                listed: None,
            };
            let columns = 0..of.positions.len();
            columns
                .flat_map(|column| heads.iter().map(move |&head| at(head, column)))
                .collect()
        };
        Ok(sites.windows(window).step_by(step).flat_map(together).collect())
    }

    fn listed(&self, joint: &JointSites, of: Bounds) -> Result<JointPatch> {
        let state = |at: &SiteAt| -> Result<State> {
            let refuse = |what: &str, max: usize| Err(Error::input(format!("site {at}: {what}; allowed: 1 to {max}")));
            if at.iteration > of.iterations {
                return refuse("there is no such iteration", of.iterations);
            }
            if at.layer > of.layers {
                return refuse("there is no such layer", of.layers);
            }
            let hook = at.hook.unwrap_or(self.hook);
            if !hook.in_block() {
                return Err(Error::input(format!(
                    "site {at}: hook {} is at no layer; allowed: the points of a layer",
                    hook.name()
                )));
            }
            if let Some(head) = at.attention_head {
                if !hook.has_heads() {
                    return Err(Error::input(format!(
                        "site {at}: hook {} has no heads; allowed with a head: z, attn_pattern",
                        hook.name()
                    )));
                }
                if head > of.heads {
                    return refuse("there is no such head", of.heads);
                }
            }
            let column = of.positions.iter().position(|&position| position == at.position);
            let column = column.ok_or_else(|| {
                let names: Vec<String> = of.positions.iter().map(ToString::to_string).collect();
                Error::input(format!(
                    "site {at}: the queries have no such position; allowed: {}",
                    names.join(", ")
                ))
            })?;
            Ok(State {
                site: Site::new(hook, at.iteration - 1, at.layer - 1),
                column,
                head: at.attention_head.map(|head| head - 1),
            })
        };
        let states: Vec<State> = joint.0.iter().map(state).collect::<Result<_>>()?;
        let overlap = |a: &State, b: &State| {
            (a.site, a.column) == (b.site, b.column) && (a.head == b.head || a.head.is_none() || b.head.is_none())
        };
        for (index, state) in states.iter().enumerate() {
            if states[..index].iter().any(|other| overlap(other, state)) {
                return Err(Error::input(format!(
                    "sites {joint}: {} is there twice",
                    joint.0[index]
                )));
            }
        }
        Ok(JointPatch {
            states,
            listed: Some(joint.to_string()),
        })
    }
}

impl JointPatch {
    /// Whether it is one whole state, which a sweep of interchanges takes.
    pub(super) fn is_one_whole_state(&self) -> bool {
        matches!(self.states[..], [State { head: None, .. }])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sites_are_read_and_written_the_same() {
        for text in ["r1@1.1", "head@2.3.4", "r1@1.1+z:r2@2.1.2+mlp_out:readout@3.1"] {
            assert_eq!(text.parse::<JointSites>().unwrap().to_string(), text);
        }
        for bad in [
            "",
            "r1",
            "r1@",
            "r1@1",
            "r1@0.1",
            "r1@1.1.1.1",
            "x@1.1",
            "r1@1.1+",
            "r1@a.1",
            "middle:r1@1.1",
        ] {
            assert!(bad.parse::<JointSites>().is_err(), "{bad}");
        }
    }
}
