//! What a reader of a drawn figure sees, read back from its SVG.

use resvg::usvg::{Group, Node, Rect, Text, TextChunk};

use super::look::Look;
use super::write::parsed;
use super::{Axis, Cells, Content, Figure, Marker, Panel, Series, Stroke, Title, UNIT};
use crate::figure::kit::Colour;

fn look(words: &[&str]) -> Look {
    let command = <Look as clap::Args>::augment_args(clap::Command::new("draw").no_binary_name(true));
    let matches = command.try_get_matches_from(words).unwrap();
    <Look as clap::FromArgMatches>::from_arg_matches(&matches).unwrap()
}

fn lines(row: &str, column: &str) -> Panel {
    let point = |layer: i32| {
        let x = f64::from(layer);
        (x, x / 8.0, Some((x / 9.0, x / 7.0)))
    };
    Panel {
        title: Title::new(row, column),
        content: Content::Lines {
            x: Axis {
                label: "effective layer".to_owned(),
                range: (0.0, 8.0),
                log: false,
                layers: Some(2),
            },
            y_label: "top-1 accuracy".to_owned(),
            y_range: UNIT,
            series: vec![line().points((0..=8).map(point))],
            marks: vec![(3.0, "stage 1".to_owned())],
        },
    }
}

fn line() -> Series {
    Series::new(Colour::BLUE).stroke(Stroke::Dashed).marker(Marker::Square)
}

fn map(row: &str, column: &str) -> Panel {
    let cell = |i: usize, j: usize| (i != 2).then_some(((i as f64 - j as f64) / 8.0, Some((-0.1, 0.3))));
    Panel {
        title: Title::new(row, column),
        content: Content::Cells(Cells {
            x_label: "effective layer".to_owned(),
            y_label: "put in at".to_owned(),
            value: "recovery".to_owned(),
            columns: (1..=8).map(|layer| layer.to_string()).collect(),
            rows: ["head", "r1", "r2", "readout"].map(str::to_owned).into(),
            numbers: (0..4).map(|i| (0..8).map(|j| cell(i, j)).collect()).collect(),
            layers: Some(2),
            ..Cells::default()
        }),
    }
}

fn figure(panels: Vec<Vec<Panel>>) -> Figure {
    Figure {
        title: "Logit lens: what the output matrix reads off the residual stream".to_owned(),
        conditions: vec![
            "run looped; data 0123456789abcdef; seed 1; checkpoints abc; 500 queries of each split".to_owned(),
        ],
        legend: vec![("ID test".to_owned(), line()), ("OOD test".to_owned(), line())],
        panels,
    }
}

fn grid(panel: fn(&str, &str) -> Panel, columns: usize) -> Figure {
    let steps: Vec<String> = (1..=columns)
        .map(|n| format!("end of stage {n}, step {n},950"))
        .collect();
    let row = |row: &str| steps.iter().map(|column| panel(row, column)).collect();
    figure(["bridge at r1", "answer at r2"].map(row).into())
}

// The one page of a figure.
fn drawn(figure: &Figure, words: &[&str]) -> (Rect, Vec<Text>) {
    let mut pages = drawn_pages(figure, words);
    assert_eq!(pages.len(), 1);
    pages.remove(0)
}

fn drawn_pages(figure: &Figure, words: &[&str]) -> Vec<(Rect, Vec<Text>)> {
    let look = look(words);
    let page = |svg: &String| {
        let tree = parsed(svg, &look.sizes()).unwrap();
        let mut texts = Vec::new();
        collect(tree.root(), &mut texts);
        let page = Rect::from_xywh(0.0, 0.0, tree.size().width(), tree.size().height()).unwrap();
        (page, texts)
    };
    figure.pages(&look).iter().map(page).collect()
}

fn collect(group: &Group, texts: &mut Vec<Text>) {
    for node in group.children() {
        match node {
            Node::Group(group) => collect(group, texts),
            Node::Text(text) => texts.push((**text).clone()),
            _ => {}
        }
    }
}

fn words(text: &Text) -> String {
    text.chunks().iter().map(TextChunk::text).collect()
}

// The sizes of type on the page, in its unit, to a thousandth.
fn sizes(text: &Text) -> Vec<f32> {
    let scale = text.abs_transform().sx.hypot(text.abs_transform().ky);
    let spans = text.chunks().iter().flat_map(TextChunk::spans);
    spans
        .map(|span| (1000.0 * scale * span.font_size().get()).round() / 1000.0)
        .collect()
}

fn count(texts: &[Text], of: &str) -> usize {
    texts.iter().filter(|text| words(text) == of).count()
}

const LOOKS: [&[&str]; 4] = [
    &[],
    &["--no-caption"],
    &["--style", "paper"],
    &["--style", "paper", "--width", "3.25in"],
];

#[test]
fn type_on_paper_is_7_to_9_points_at_the_final_width() {
    for panel in [lines, map] {
        for columns in [1, 4, 7] {
            let (page, texts) = drawn(&grid(panel, columns), &["--style", "paper", "--width", "5.5in"]);
            // A unit is a point.
            assert_eq!(page.width(), 396.0);
            for text in &texts {
                assert!(
                    sizes(text).iter().all(|size| (7.0..=9.0).contains(size)),
                    "{}",
                    words(text)
                );
            }
        }
    }
}

#[test]
fn no_text_leaves_the_page_or_covers_another() {
    for panel in [lines, map] {
        for columns in [1, 2, 4, 7] {
            for look in LOOKS {
                let (page, texts) = drawn(&grid(panel, columns), look);
                let boxes: Vec<(String, Rect)> = texts
                    .iter()
                    .map(|text| (words(text), text.abs_bounding_box()))
                    .collect();
                for (i, (name, at)) in boxes.iter().enumerate() {
                    let inside = at.left() >= 0.0
                        && at.top() >= 0.0
                        && at.right() <= page.right()
                        && at.bottom() <= page.bottom();
                    assert!(inside, "{name} {at:?} is not on {page:?} ({columns} columns, {look:?})");
                    for (other, of_other) in &boxes[..i] {
                        let apart = at.left() >= of_other.right() - 0.5
                            || of_other.left() >= at.right() - 0.5
                            || at.top() >= of_other.bottom() - 0.5
                            || of_other.top() >= at.bottom() - 0.5;
                        assert!(apart, "{name} covers {other} ({columns} columns, {look:?})");
                    }
                }
            }
        }
    }
}

#[test]
fn what_neighbours_share_is_written_once() {
    for (figure, label) in [(grid(lines, 3), "top-1 accuracy"), (grid(map, 3), "put in at")] {
        let (_, texts) = drawn(&figure, &[]);
        // Below the last row of each column, left of the first column of each row, and on top of each column.
        assert_eq!(count(&texts, "effective layer"), 3);
        assert_eq!(count(&texts, label), 2, "{label}");
        assert_eq!(count(&texts, "end of stage 2, step 2,950"), 1);
        assert_eq!(count(&texts, "bridge at r1"), 1);
        for letter in ["a", "b", "c", "d", "e", "f"] {
            assert_eq!(count(&texts, letter), 1, "{letter}");
        }
    }
}

#[test]
fn one_checkpoint_fills_the_width_and_is_named_in_the_caption_alone() {
    for look in LOOKS {
        let (page, texts) = drawn(&grid(lines, 1), look);
        let named = texts
            .iter()
            .filter(|text| words(text).contains("end of stage 1"))
            .count();
        assert_eq!(named, usize::from(look.is_empty()), "{look:?}");
        let last = texts
            .iter()
            .filter(|text| words(text) == "effective layer")
            .map(|text| text.abs_bounding_box().right())
            .fold(0.0, f32::max);
        // Its label is in the middle of the last plot.
        assert!(last > 0.7 * page.width(), "{last} of {page:?}");
    }
}

#[test]
fn the_legend_explains_every_mark_that_the_kit_makes() {
    let (_, texts) = drawn(&grid(lines, 2), &["--style", "paper"]);
    for entry in ["ID test", "95 % interval", "between iterations", "iteration 1"] {
        assert!(count(&texts, entry) > 0, "{entry}");
    }
    let (_, texts) = drawn(&grid(map, 2), &["--style", "paper"]);
    for entry in [
        "recovery",
        "below 0",
        "95 % interval on both sides of 0",
        "no value",
        "between iterations",
    ] {
        assert_eq!(count(&texts, entry), 1, "{entry}");
    }
    // The ends of the bar.
    assert!(count(&texts, "−1.0") == 1 && count(&texts, "1.0") == 1);
}

#[test]
fn every_format_is_written_and_a_pdf_has_its_fonts() {
    let folder = tempfile::tempdir().unwrap();
    let look = look(&["--format", "svg,png,pdf,png", "--width", "9cm", "--style", "paper"]);
    assert_eq!(look.endings(), "svg,png,pdf");
    assert!(!look.is_written(folder.path(), "f"));
    grid(map, 2).write(folder.path(), "f", &look).unwrap();
    assert!(look.is_written(folder.path(), "f"));
    let read = |ending: &str| std::fs::read(folder.path().join(format!("f.{ending}"))).unwrap();
    let svg = String::from_utf8(read("svg")).unwrap();
    assert!(svg.contains("width=\"255.12pt\""), "{}", &svg[..300]);
    // What a caption would say is not in the picture, and not lost.
    assert!(
        svg.contains("<title>Logit lens") && svg.contains("<desc>run looped; data"),
        "{}",
        &svg[..600]
    );
    let png = read("png");
    let width = u32::from_be_bytes(png[16..20].try_into().unwrap());
    // 9 cm at 300 dots an inch.
    assert!(png.starts_with(b"\x89PNG") && (1060..=1066).contains(&width), "{width}");
    let pdf = String::from_utf8_lossy(&read("pdf")).into_owned();
    assert!(pdf.starts_with("%PDF-") && pdf.contains("Inter"));
    // The regular and the bold face.
    assert_eq!(pdf.matches("/FontFile3").count(), 2);
    let page = pdf.split("/MediaBox").nth(1).unwrap();
    assert!(page.trim_start().starts_with("[0 0 255."), "{}", &page[..40]);
}

#[test]
fn panels_that_do_not_fit_a_page_are_set_closer_or_go_on_on_the_next() {
    const PAPER: &[&str] = &["--style", "paper", "--width", "5.5in"];
    let rows = |n: usize| -> Figure {
        let steps = ["step 1", "step 2", "step 3", "step 4", "step 5"];
        let row = |row: usize| steps.map(|column| lines(&format!("bridge at r{row}"), column)).into();
        figure((1..=n).map(row).collect())
    };
    // Five columns, of which four have room at the usual size.
    let (page, texts) = drawn(&rows(7), PAPER);
    assert!(page.height() <= 612.0, "{page:?}");
    assert_eq!(count(&texts, "effective layer"), 5);
    let pages = drawn_pages(&rows(30), PAPER);
    assert!(pages.len() > 1);
    let mut heads = 0;
    for (page, texts) in &pages {
        assert!(page.height() <= 612.0, "{page:?}");
        // Each page has the legend, the titles of columns, letters from a on, and the labels of its last row.
        for (label, times) in [("OOD test", 1), ("step 4", 1), ("a", 1), ("effective layer", 5)] {
            assert_eq!(count(texts, label), times, "{label}");
        }
        heads += texts
            .iter()
            .filter(|text| words(text).starts_with("bridge at r"))
            .count();
    }
    assert_eq!(heads, 30);
    let folder = tempfile::tempdir().unwrap();
    let look = look(&["--style", "paper", "--format", "svg"]);
    let pages = rows(30).write(folder.path(), "f", &look).unwrap();
    assert_eq!(look.files("f", pages), format!("f-{{1..{pages}}}.{{svg}}"));
    assert!(look.is_written(folder.path(), "f") && !folder.path().join("f.svg").exists());
    let last = std::fs::read_to_string(folder.path().join(format!("f-{pages}.svg"))).unwrap();
    assert!(last.contains(&format!("residual stream ({pages} of {pages})</title>")));
}

#[test]
fn lines_on_cells_have_a_casing() {
    let mut panel = map("", "");
    let Content::Cells(cells) = &mut panel.content else {
        panic!("{panel:?}");
    };
    // Effective layers from the bottom to the top; the columns are something else.
    (cells.layers, cells.row_layers) = (None, Some(2));
    cells.rows = (1..=4).rev().map(|layer| layer.to_string()).collect();
    (cells.behind, cells.below) = (vec![2], vec![1]);
    let figure = figure(vec![vec![panel]]);
    let svg = figure.pages(&look(&["--style", "paper"])).remove(0);
    let white = svg.matches("stroke=\"#FFFFFF\"").count();
    // Between the two iterations, behind a column and below a row.
    assert_eq!(white, 3);
    let (_, texts) = drawn(&figure, &["--style", "paper"]);
    assert_eq!(count(&texts, "between iterations"), 1);
    let iterations = |text: &&Text| ["1", "2"].contains(&&*words(text));
    let right = |text: &Text| text.abs_bounding_box().left() > 300.0;
    let numbered = texts.iter().filter(iterations).filter(|text| right(text));
    // Right of the plot, beside the names of rows and columns.
    assert!(numbered.count() >= 2);
}

#[test]
fn names_of_marks_near_each_other_cover_neither_each_other_nor_a_line() {
    let mut panel = lines("", "");
    let Content::Lines { marks, .. } = &mut panel.content else {
        panic!("{panel:?}");
    };
    *marks = [(3.0, "stage 1"), (3.1, "stage 2"), (3.3, "stage 3"), (7.9, "stage 4")]
        .map(|(at, name)| (at, name.to_owned()))
        .into();
    for look in LOOKS {
        let (_, texts) = drawn(&figure(vec![vec![panel.clone()]]), look);
        let names: Vec<Rect> = (texts.iter())
            .filter(|text| words(text).starts_with("stage "))
            .map(Text::abs_bounding_box)
            .collect();
        assert_eq!(names.len(), 4);
        let top = texts
            .iter()
            .filter(|text| words(text) == "1.0")
            .map(|text| text.abs_bounding_box().top());
        let top = top.fold(f32::INFINITY, f32::min);
        for (i, a) in names.iter().enumerate() {
            // Above the plot, where no data is.
            assert!(a.bottom() <= top + 4.0, "{a:?} {top}");
            for b in &names[..i] {
                assert!(a.intersect(b).is_none(), "{a:?} {b:?}");
            }
        }
    }
}
