//! What a config refuses, and a tiny one for other tests.

use super::*;

pub(crate) fn tiny() -> ModelConfig {
    ModelConfig {
        max_positions: 5,
        init: Init::GAUSSIAN,
        embedding_std: 0.5,
        ..ModelConfig::new(2, 3, 8, 2)
    }
}

#[test]
fn heads_that_do_not_divide_the_width_are_refused_with_those_that_do() {
    let text = ModelConfig { heads: 3, ..tiny() }.check().unwrap_err().to_string();
    assert!(
        text.contains("model.heads = 3") && text.contains("1, 2, 4, 8"),
        "{text}"
    );
}

#[test]
fn the_initial_scale_is_a_name_or_a_number() {
    let read = |text: &str| serde_json::from_str::<Init>(text);
    assert_eq!(read("\"zero\"").unwrap(), Init::ZERO);
    assert_eq!(read("1").unwrap(), Init::GAUSSIAN);
    assert_eq!(read("0.25").unwrap().scale(), 0.25);
    assert_eq!(serde_json::to_string(&read("1.0").unwrap()).unwrap(), "\"gaussian\"");
    for bad in ["\"one\"", "-1", "true"] {
        assert!(read(bad).unwrap_err().to_string().contains("gaussian"), "{bad}");
    }
}

#[test]
fn the_paper_s_model_has_about_thirty_million_parameters() {
    let paper = ModelConfig {
        layers: 4,
        iterations: 4,
        d_model: 768,
        heads: 12,
        ..tiny()
    };
    assert_eq!(paper.parameters(2207), 30_051_840);
}
