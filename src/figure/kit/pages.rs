//! Pages of a figure: one where all panels fit, else several with the same head, each with whole rows of panels.

use super::layout::Layout;
use super::look::{Look, Sizes};
use super::{Figure, Panel};

/// Panels in rows, in blocks one below the other.
pub(super) struct Blocks<'a> {
    pub(super) blocks: Vec<Vec<Vec<&'a Panel>>>,
    /// Whether rows and columns of panels mean something.
    pub(super) is_grid: bool,
}

/// The pages of a figure. Where one is not enough, panels are set closer if that takes fewer of them, and all pages but the last have
/// the same number of rows.
pub(super) fn pages<'a>(figure: &'a Figure, look: &Look) -> Vec<Layout<'a>> {
    let usual = look.sizes();
    let layouts = broken(figure, look, usual);
    if layouts.len() == 1 {
        return layouts;
    }
    let dense = broken(figure, look, usual.dense());
    if dense.len() < layouts.len() { dense } else { layouts }
}

// The fewest pages at these sizes.
fn broken<'a>(figure: &'a Figure, look: &Look, sizes: Sizes) -> Vec<Layout<'a>> {
    let blocks = Blocks::of(figure, &sizes);
    let rows: usize = blocks.blocks.iter().map(Vec::len).sum();
    let mut layouts = vec![Layout::of(figure, look, sizes, &blocks, None)];
    let fits = |layouts: &[Layout]| layouts.iter().all(|layout| layout.height() <= sizes.page);
    let mut n_pages = 1;
    while !fits(&layouts) && n_pages < rows {
        n_pages += 1;
        let pages = blocks.chunks(rows.div_ceil(n_pages));
        let page =
            |(n, blocks): (usize, &Blocks<'a>)| Layout::of(figure, look, sizes, blocks, Some((n + 1, pages.len())));
        layouts = pages.iter().enumerate().map(page).collect();
    }
    layouts
}

impl<'a> Blocks<'a> {
    // A sequence of panels is broken into rows of one length, a grid that is too wide into blocks of columns.
    fn of(figure: &'a Figure, sizes: &Sizes) -> Self {
        const SIDE_BY_SIDE: usize = 4;
        let rows: Vec<Vec<&Panel>> = figure.panels.iter().map(|row| row.iter().collect()).collect();
        let fits = sizes.width.map_or(usize::MAX, |width| {
            (((width - 2.0 * sizes.gap) / sizes.min_panel) as usize).max(1)
        });
        let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
        if rows.len() > 1 && columns > 1 {
            let bands = columns.div_ceil(fits);
            let width = columns.div_ceil(bands);
            let band = |n: usize| -> Vec<Vec<&Panel>> {
                let of_row = |row: &Vec<&'a Panel>| row.iter().skip(n * width).take(width).copied().collect();
                rows.iter()
                    .map(of_row)
                    .filter(|row: &Vec<&Panel>| !row.is_empty())
                    .collect()
            };
            return Self {
                blocks: (0..bands).map(band).collect(),
                is_grid: true,
            };
        }
        let all = rows.concat();
        let most = SIDE_BY_SIDE.min(fits);
        let least_blank = |&columns: &usize| {
            (
                all.len().next_multiple_of(columns) - all.len(),
                std::cmp::Reverse(columns),
            )
        };
        let columns = match all.len() {
            n if n <= most => n.max(1),
            _ => (most.saturating_sub(1).max(most.min(2))..=most)
                .min_by_key(least_blank)
                .unwrap_or(most),
        };
        Self {
            blocks: vec![all.chunks(columns).map(<[&Panel]>::to_vec).collect()],
            is_grid: false,
        }
    }

    // With at most this number of rows each.
    fn chunks(&self, max_rows: usize) -> Vec<Self> {
        let mut chunks: Vec<Self> = Vec::new();
        let mut room = 0;
        for block in &self.blocks {
            let mut rest = block.as_slice();
            while !rest.is_empty() {
                if room == 0 {
                    room = max_rows;
                    chunks.push(Self {
                        blocks: Vec::new(),
                        is_grid: self.is_grid,
                    });
                }
                let (rows, after) = rest.split_at(room.min(rest.len()));
                if let Some(chunk) = chunks.last_mut() {
                    chunk.blocks.push(rows.to_vec());
                }
                room -= rows.len();
                rest = after;
            }
        }
        chunks
    }
}
