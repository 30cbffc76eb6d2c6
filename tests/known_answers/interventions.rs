//! Interventions on the blocks that do nothing.

use serde_json::Value;

use super::rows;

#[test]
fn the_embedding_is_the_only_sender_that_the_logits_read() {
    let arguments = ["--split", "test_inferred_iid", "--corrupt", "relation2"];
    let rows = rows("path", &arguments);
    // The embedding, and two heads and an MLP at three iterations.
    assert_eq!(rows.len(), 10);
    for row in &rows {
        let is_embedding = row["sender_component"] == "embedding";
        let (recovery, flips) = (row["recovery"].as_f64().unwrap(), row["flips"].as_f64().unwrap());
        let expected = f64::from(u8::from(is_embedding));
        assert!((recovery - expected).abs() < 1e-6 && flips == expected, "{row}");
    }
}

#[test]
fn blocks_that_do_nothing_can_be_ablated_without_loss() {
    let rows = rows("ablate", &["--split", "test_inferred_iid"]);
    // Two heads and an MLP at three iterations and at all of them, and any iteration skipped and repeated.
    assert_eq!(rows.len(), 3 * 4 + 2);
    for row in &rows {
        assert_eq!(
            (&row["base_accuracy"], &row["accuracy"]),
            (&Value::from(1.0), &Value::from(1.0))
        );
        assert!(row["drop"].as_f64().unwrap().abs() < 1e-6, "{row}");
        // That nothing was lost of 72 queries is not certain.
        assert!(row["lost_high"].as_f64().unwrap() > 0.0, "{row}");
    }
}

#[test]
fn an_edit_of_the_direction_that_is_read_redirects_every_answer_and_another_none() {
    let arguments = [
        "--split",
        "test_inferred_iid",
        "--label",
        "target",
        "--kind",
        "swap,push",
    ];
    let rows = rows("edit", &arguments);
    // Three effective layers at r2; the whole state, three directions of two kinds, and the placebo of each.
    assert_eq!(rows.len(), 3 * (1 + 3 * 2 + 3 * 2));
    for row in &rows {
        let number = |key: &str| row[key].as_f64().unwrap();
        assert_eq!((number("base_accuracy"), number("source_accuracy")), (1.0, 1.0));
        assert_eq!(
            (&row["in_read_window"], &row["read_window"]),
            (&true.into(), &"1–3".into())
        );
        if row["direction"] == "random" {
            assert!(number("counterfactual") < 0.5, "{row}");
        } else {
            assert_eq!((number("counterfactual"), number("original")), (1.0, 0.0), "{row}");
            assert!(number("counterfactual_logit") > 0.0 && number("original_logit") < 0.0);
        }
    }
}

#[test]
fn heads_that_read_nothing_carry_nothing() {
    let arguments = ["--split", "test_inferred_iid", "--corrupt", "relation2"];
    let rows = rows("routing", &arguments);
    // Three places; of the source three iterations, of the query itself two others, all heads or either; and crossed.
    assert_eq!(rows.len(), 3 * 3 * (5 * 3 + 3));
    for row in &rows {
        assert!(row["recovery"].as_f64().unwrap().abs() < 1e-6, "{row}");
        assert_eq!(
            (&row["flips"], &row["keeps"]),
            (&Value::from(0.0), &Value::from(1.0)),
            "{row}"
        );
    }
}
