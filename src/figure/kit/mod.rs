//! The drawing kit: a figure is a title, a legend, and a grid of panels with lines, cells or estimates. It is laid out for a [`Look`] and
//! drawn once, as SVG; the other formats are made of that.

mod bar;
mod canvas;
mod cells;
mod colour;
mod estimates;
mod head;
mod layout;
mod line;
mod lines;
mod look;
mod marks;
mod pages;
mod panel;
mod scene;
mod shape;
#[cfg(test)]
mod tests;
mod ticks;
mod titles;
mod write;

pub(super) use colour::Colour;
pub(super) use line::{Marker, Point, Series, Stroke};
pub use look::Look;
pub use scene::{Scene, SceneAxis, SceneContent, SceneEstimate, SceneLine, ScenePanel, ScenePoint};
pub use ticks::Ticks;
pub(super) use titles::Title;

/// One estimate of a forest plot.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Estimate {
    pub(super) name: String,
    pub(super) colour: Colour,
    pub(super) value: f64,
    /// The ends of its interval where it has one.
    pub(super) interval: Option<(f64, f64)>,
}

/// A horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    pub(super) label: String,
    pub(super) range: (f64, f64),
    /// Whether values are powers of ten of what is written.
    pub(super) log: bool,
    /// The layers of an iteration, where values are effective layers: iterations are marked.
    pub(super) layers: Option<usize>,
}

/// A number with the ends of its interval where it has one.
pub type Cell = (f64, Option<(f64, f64)>);

/// A map.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Cells {
    pub(super) x_label: String,
    pub(super) y_label: String,
    /// What the numbers are.
    pub(super) value: String,
    pub(super) columns: Vec<String>,
    pub(super) rows: Vec<String>,
    /// Between −1 and 1, `numbers[row][column]`, the first row on top; absent where there is no number.
    pub(super) numbers: Vec<Vec<Option<Cell>>>,
    /// Numbers of columns with a dashed line behind them, and of rows with one below.
    pub(super) behind: Vec<usize>,
    pub(super) below: Vec<usize>,
    /// The layers of an iteration, where columns are named by their effective layer, and where rows are: iterations are marked.
    pub(super) layers: Option<usize>,
    pub(super) row_layers: Option<usize>,
}

/// What one panel shows.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Content {
    /// Lines.
    Lines {
        x: Axis,
        y_label: String,
        /// The ends of the vertical axis; [`UNIT`] for shares.
        y_range: (f64, f64),
        series: Vec<Series>,
        /// Vertical marks with their names.
        marks: Vec<(f64, String)>,
    },
    /// A map.
    Cells(Cells),
    /// Estimates with their intervals, the first on top.
    Estimates {
        x_label: String,
        /// The ends of the axis; absent where 0 and the intervals give them.
        x_range: Option<(f64, f64)>,
        rows: Vec<Estimate>,
    },
}

/// The vertical axis of shares.
pub(super) const UNIT: (f64, f64) = (0.0, 1.0);

/// One panel of a figure.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Panel {
    pub(super) title: Title,
    pub(super) content: Content,
}

/// A figure, ready to be drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub(super) title: String,
    /// The conditions: data, seed, checkpoints, sample sizes.
    pub(super) conditions: Vec<String>,
    pub(super) legend: Vec<(String, Series)>,
    /// Rows of panels; a single row or column is a sequence, which is broken where the width asks for it.
    pub(super) panels: Vec<Vec<Panel>>,
}

impl Figure {
    /// The title.
    pub fn title(&self) -> &str {
        &self.title
    }
}
