use super::*;

fn figure(checkpoint: usize, titles: &[&str], top: f64) -> Drawn {
    let panel = |title: &&str| ScenePanel {
        title: format!("{title}: end, step {checkpoint}"),
        note: format!("accuracy 0.{checkpoint}"),
        content: SceneContent::Lines {
            x: SceneAxis {
                label: "layer".to_owned(),
                range: (0.0, 4.0),
                log: false,
                whole: true,
            },
            y: SceneAxis {
                label: "top-1".to_owned(),
                range: (0.0, top),
                log: false,
                whole: true,
            },
            series: Vec::new(),
            marks: Vec::new(),
        },
    };
    Drawn {
        run: Some(0),
        checkpoint: Some(checkpoint),
        column_title: format!("end, step {checkpoint}"),
        log_from: None,
        scene: Scene {
            title: "Lens".to_owned(),
            conditions: Vec::new(),
            legend: Vec::new(),
            panels: titles.iter().map(panel).collect(),
        },
    }
}

#[test]
fn panels_of_the_same_thing_share_a_place_and_its_axes() {
    let pictures = Pictures::of(&[figure(1, &["a", "b"], 1.0), figure(2, &["b", "c"], 2.0)]);
    let titles: Vec<&str> = pictures.places.iter().map(|place| place.title.as_str()).collect();
    assert_eq!(titles, ["a", "b", "c"]);
    let second = &pictures.figures[1].panels;
    assert_eq!((&second[0], second.len()), (&Value::Null, 3));
    // b has the range of both.
    assert_eq!(pictures.figures[0].panels[1]["y"], second[1]["y"]);
    assert_eq!(second[1]["y"]["range"], json!([0.0, 2.0]));
    // What a panel says of itself alone does not part it from those of other checkpoints.
    assert_eq!(second[1]["note"], " (accuracy 0.2)");
}
