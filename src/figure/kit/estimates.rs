//! A forest plot: estimates with their intervals, a row each, and a line where there is no effect.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::{Drawn, Estimate, FAINT_INK, FRAME, GRID, INK, Panel, style, text_of};

impl Panel {
    pub(super) fn draw_estimates<DB: DrawingBackend>(
        &self,
        area: &DrawingArea<DB, Shift>,
        scale: u32,
        x_label: &str,
        rows: &[Estimate],
    ) -> Drawn {
        let height = rows.len().max(1) as f64;
        let names: Vec<String> = rows.iter().map(|row| row.name.clone()).collect();
        let (left, right) = range(rows);
        let mut chart = self
            .frame(area, scale, Self::label_width(&names))
            .build_cartesian_2d(left..right, 0.0..height)
            .map_err(text_of)?;
        chart
            .configure_mesh()
            .disable_y_mesh()
            .bold_line_style(GRID.stroke_width(scale))
            .light_line_style(TRANSPARENT)
            .axis_style(FRAME.stroke_width(scale))
            .x_desc(x_label)
            .x_labels(5)
            .y_labels(0)
            .x_label_formatter(&|x| tick(*x, right - left))
            .label_style(style(10, scale, INK, false))
            .axis_desc_style(style(10, scale, INK, false))
            .draw()
            .map_err(text_of)?;
        let none = DashedLineSeries::new(
            vec![(0.0, 0.0), (0.0, height)],
            3 * scale,
            3 * scale,
            FAINT_INK.stroke_width(scale),
        );
        chart.draw_series(none).map_err(text_of)?;
        for (i, row) in rows.iter().enumerate() {
            let y = height - i as f64 - 0.5;
            let colour = row.colour.plain();
            if let Some((low, high)) = row.interval {
                let bar = PathElement::new(vec![(low, y), (high, y)], colour.stroke_width(2 * scale));
                chart.draw_series([bar]).map_err(text_of)?;
            }
            let dot = Circle::new((row.value, y), 3 * scale as i32, colour.filled());
            chart.draw_series([dot]).map_err(text_of)?;
            let at = chart.backend_coord(&(left, y));
            let (x0, y0) = area.get_base_pixel();
            let text = style(10, scale, INK, false).pos(Pos::new(HPos::Right, VPos::Center));
            area.draw(&Text::new(
                row.name.clone(),
                (at.0 - x0 - 5 * scale as i32, at.1 - y0),
                text,
            ))
            .map_err(text_of)?;
        }
        Ok(())
    }
}

// Both ends of every interval and 0, with a margin.
fn range(rows: &[Estimate]) -> (f64, f64) {
    let ends = rows.iter().flat_map(|row| {
        let (low, high) = row.interval.unwrap_or((row.value, row.value));
        [low, high, row.value]
    });
    let (low, high) = ends
        .filter(|x| x.is_finite())
        .fold((0.0_f64, 0.0_f64), |(low, high), x| (low.min(x), high.max(x)));
    let margin = if high > low { 0.06 * (high - low) } else { 1.0 };
    (low - margin, high + margin)
}

// As many decimals as the span asks for.
fn tick(x: f64, span: f64) -> String {
    let decimals = (1.2 - span.log10()).ceil().clamp(0.0, 6.0) as usize;
    let text = format!("{x:.decimals$}");
    // Without a sign on what rounds to zero.
    match text.strip_prefix('-') {
        Some(digits) if digits.chars().all(|c| "0.".contains(c)) => digits.to_owned(),
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Colour;
    use super::*;

    #[test]
    fn the_axis_holds_0_and_every_end_of_an_interval() {
        let row = |value, interval| Estimate {
            name: "a".to_owned(),
            colour: Colour::BLUE,
            value,
            interval,
        };
        let (left, right) = range(&[row(0.2, Some((-0.1, 0.5))), row(0.8, None)]);
        assert!(left < -0.1 && right > 0.8, "{left} {right}");
        let (left, right) = range(&[row(300.0, Some((200.0, 400.0)))]);
        assert!(left < 0.0 && right > 400.0);
        assert_eq!(
            (tick(-0.001, 1.0), tick(250.2, 500.0)),
            ("0.00".to_owned(), "250".to_owned())
        );
        assert_eq!(tick(0.0025, 0.01), "0.0025");
    }
}
