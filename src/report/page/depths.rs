//! The map of hops and inference iterations: which chains were learned, which are answered, which iterations are those of training.

use crate::figure::{FoundMethod, Scene, SceneContent};
use crate::measure::{Extrapolate, Method, Origin};

/// What the vertical axis of such a map is called.
const HOPS: &str = "hops";

/// The deepest chains that a checkpoint answers at some number of iterations, where results of `extrapolate` tell.
pub(super) fn answered(found: &[FoundMethod], origin: &Origin) -> Option<usize> {
    let method = found.iter().find(|method| method.name == Extrapolate::NAME)?;
    let reports = method
        .figures
        .iter()
        .filter_map(|figure| figure.report::<Extrapolate>());
    let mut rows = reports.flat_map(|report| &report.rows);
    let row = rows.find(|row| row.origin.checkpoint_hash == origin.checkpoint_hash)?;
    Some(row.extrapolated)
}

/// Names the rows of the deepest learned and answered chains on the maps of a scene, and what their dashed lines are.
pub(super) fn name_rows(scene: &mut Scene, learned: Option<usize>, answered: Option<usize>) {
    let mut is_map = false;
    for panel in &mut scene.panels {
        let SceneContent::Cells { y, rows, .. } = &mut panel.content else {
            continue;
        };
        if y != HOPS {
            continue;
        }
        is_map = true;
        for row in rows {
            let hops = row.parse().ok();
            let names = [(learned, "learned"), (answered, "answered")];
            for (_, name) in names.into_iter().filter(|(depth, _)| depth.is_some() && *depth == hops) {
                row.push(' ');
                row.push_str(name);
            }
        }
    }
    if is_map {
        for line in scene.legend.iter_mut().filter(|line| line.stroke == "dashed") {
            "vertical: the iterations of training end here; horizontal: the learned hops end here"
                .clone_into(&mut line.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figure::{SceneLine, ScenePanel};

    #[test]
    fn the_learned_and_the_answered_depth_are_named_on_the_map() {
        let mut scene = Scene {
            title: String::new(),
            conditions: Vec::new(),
            legend: vec![SceneLine {
                name: "iterations and hops of training end".to_owned(),
                colour: "#d55e00".to_owned(),
                stroke: "dashed",
            }],
            panels: vec![ScenePanel {
                title: String::new(),
                note: String::new(),
                content: SceneContent::Cells {
                    x: "inference iterations".to_owned(),
                    y: HOPS.to_owned(),
                    columns: vec!["1".to_owned()],
                    rows: ["6", "5", "4", "2"].map(str::to_owned).into(),
                    cells: vec![vec![None]; 4],
                    behind: Vec::new(),
                    below: Vec::new(),
                },
            }],
        };
        name_rows(&mut scene, Some(4), Some(5));
        let SceneContent::Cells { rows, .. } = &scene.panels[0].content else {
            panic!("cells");
        };
        assert_eq!(rows[..], ["6", "5 answered", "4 learned", "2"]);
        assert!(scene.legend[0].name.starts_with("vertical: the iterations"));
    }
}
