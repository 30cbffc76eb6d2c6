//! Files of figures. All formats are made of one SVG, so that they show the same; the typeface is compiled in, so that text is drawn on
//! a bare machine.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Pixmap, Transform};
use resvg::usvg::{self, Tree, fontdb};

use super::canvas::{BOLD, FAMILY, REGULAR};
use super::look::{Format, Look, Sizes};
use super::{Figure, layout::Layout};
use crate::error::{Error, Result};
use crate::files;

static FONTS: LazyLock<Arc<fontdb::Database>> = LazyLock::new(|| {
    let mut fonts = fontdb::Database::new();
    for face in [REGULAR, BOLD] {
        fonts.load_font_data(face.to_vec());
    }
    fonts.set_sans_serif_family(FAMILY);
    Arc::new(fonts)
});

impl Figure {
    /// Writes `NAME.svg`, `NAME.png` and `NAME.pdf` into `folder`, those of the look.
    ///
    /// # Errors
    /// When drawing or writing fails.
    pub fn write(&self, folder: &Path, name: &str, look: &Look) -> Result<()> {
        let svg = self.svg(look);
        for format in look.formats() {
            let path = folder.join(format!("{name}.{}", format.ending()));
            files::write(&path, &encoded(&svg, format, &look.sizes(), &path)?)?;
        }
        Ok(())
    }

    /// The figure as SVG.
    pub(super) fn svg(&self, look: &Look) -> String {
        Layout::of(self, look).draw()
    }
}

fn encoded(svg: &str, format: Format, sizes: &Sizes, path: &Path) -> Result<Vec<u8>> {
    let failed = |reason: String| Error::Figure {
        path: path.to_owned(),
        reason,
    };
    match format {
        Format::Svg => Ok(svg.as_bytes().to_vec()),
        Format::Png => png(&parsed(svg, sizes).map_err(failed)?, sizes.png_scale).map_err(failed),
        Format::Pdf => {
            let page = svg2pdf::PageOptions {
                dpi: sizes.per_inch as f32,
            };
            let tree = parsed(svg, sizes).map_err(failed)?;
            svg2pdf::to_pdf(&tree, svg2pdf::ConversionOptions::default(), page).map_err(|e| failed(e.to_string()))
        }
    }
}

/// The SVG with its text as glyphs.
pub(super) fn parsed(svg: &str, sizes: &Sizes) -> std::result::Result<Tree, String> {
    let options = usvg::Options {
        dpi: sizes.per_inch as f32,
        font_family: FAMILY.to_owned(),
        fontdb: FONTS.clone(),
        ..usvg::Options::default()
    };
    Tree::from_str(svg, &options).map_err(|e| e.to_string())
}

fn png(tree: &Tree, scale: f64) -> std::result::Result<Vec<u8>, String> {
    let scale = scale as f32;
    let size = tree.size().to_int_size();
    let size = size.scale_by(scale).ok_or("it has no size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("it has no pixels")?;
    resvg::render(tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    pixels.encode_png().map_err(|e| e.to_string())
}
