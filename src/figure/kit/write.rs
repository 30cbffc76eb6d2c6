//! Files of figures. All formats are made of one SVG, so that they show the same; the typeface is compiled in, so that text is drawn on
//! a bare machine.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use resvg::tiny_skia::{Color, Pixmap, Transform};
use resvg::usvg::{self, Tree, fontdb};

use super::Figure;
use super::canvas::{BOLD, FAMILY, REGULAR};
use super::layout::Layout;
use super::look::{Format, Look, Sizes, page_name};
use super::pages::pages;
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
    /// Writes `NAME.svg`, `NAME.png` and `NAME.pdf` into `folder`, those of the look; where a page cannot hold all panels, `NAME-1.svg`,
    /// `NAME-2.svg`, …: gives the number of pages.
    ///
    /// # Errors
    /// When drawing or writing fails.
    pub fn write(&self, folder: &Path, name: &str, look: &Look) -> Result<usize> {
        let pages = self.pages(look);
        for (n, svg) in pages.iter().enumerate() {
            let name = match pages.len() {
                1 => name.to_owned(),
                _ => page_name(name, n + 1),
            };
            for format in look.formats() {
                let path = folder.join(format!("{name}.{}", format.ending()));
                files::write(&path, &encoded(svg, format, &look.sizes(), &path)?)?;
            }
        }
        Ok(pages.len())
    }

    /// Its pages as SVG.
    pub(super) fn pages(&self, look: &Look) -> Vec<String> {
        pages(self, look).iter().map(Layout::draw).collect()
    }
}

fn encoded(svg: &str, format: Format, sizes: &Sizes, path: &Path) -> Result<Vec<u8>> {
    let failed = |reason: String| Error::Figure {
        path: path.to_owned(),
        reason,
    };
    match format {
        Format::Svg => Ok(svg.as_bytes().to_vec()),
        Format::Png => png(&parsed(svg, sizes).map_err(failed)?, sizes).map_err(failed),
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

fn png(tree: &Tree, sizes: &Sizes) -> std::result::Result<Vec<u8>, String> {
    compressed(&rendered(tree, sizes)?, sizes.png_scale * sizes.per_inch)
}

fn rendered(tree: &Tree, sizes: &Sizes) -> std::result::Result<Pixmap, String> {
    let scale = sizes.png_scale as f32;
    let size = tree.size().to_int_size();
    let size = size.scale_by(scale).ok_or("it has no size")?;
    let mut pixels = Pixmap::new(size.width(), size.height()).ok_or("it has no pixels")?;
    // The page may end within a pixel.
    pixels.fill(Color::WHITE);
    resvg::render(tree, Transform::from_scale(scale, scale), &mut pixels.as_mut());
    Ok(pixels)
}

// Opaque pixels as PNG, of this number of dots an inch, in which a page that it is put on finds its size.
fn compressed(pixels: &Pixmap, dots_per_inch: f64) -> std::result::Result<Vec<u8>, String> {
    const METRES_PER_INCH: f64 = 0.0254;
    let rgb: Vec<u8> = (pixels.data().chunks_exact(4))
        .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
        .collect();
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, pixels.width(), pixels.height());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_compression(png::Compression::Best);
    // Figures are areas of one colour, where rows repeat themselves as they are.
    encoder.set_filter(png::FilterType::NoFilter);
    let dots = (dots_per_inch / METRES_PER_INCH).round() as u32;
    encoder.set_pixel_dims(Some(png::PixelDimensions {
        xppu: dots,
        yppu: dots,
        unit: png::Unit::Meter,
    }));
    let mut writer = encoder.write_header().map_err(|e| e.to_string())?;
    writer.write_image_data(&rgb).map_err(|e| e.to_string())?;
    writer.finish().map_err(|e| e.to_string())?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_has_every_pixel_of_the_page_and_no_opacity() {
        // A page that ends within a pixel, with text and a pale area.
        let svg = "<svg xmlns='http://www.w3.org/2000/svg' width='30.3px' height='20.7px' viewBox='0 0 30.3 20.7'>\
                   <rect width='30.3' height='20.7' fill='#ffffff'/><text x='2' y='12' font-size='9'>bridge</text>\
                   <circle cx='20' cy='9' r='7' fill='#0072b2' fill-opacity='0.4'/></svg>";
        let sizes = Look::default().sizes();
        let pixels = rendered(&parsed(svg, &sizes).unwrap(), &sizes).unwrap();
        let file = compressed(&pixels, 192.0).unwrap();
        let mut reader = png::Decoder::new(file.as_slice()).read_info().unwrap();
        let mut decoded = vec![0; reader.output_buffer_size()];
        let read = reader.next_frame(&mut decoded).unwrap();
        assert_eq!((read.width, read.height), (pixels.width(), pixels.height()));
        assert_eq!(
            (read.color_type, read.bit_depth),
            (png::ColorType::Rgb, png::BitDepth::Eight)
        );
        let expected: Vec<[u8; 3]> = (pixels.pixels().iter())
            .map(|pixel| {
                assert_eq!(pixel.alpha(), 255);
                [pixel.red(), pixel.green(), pixel.blue()]
            })
            .collect();
        assert_eq!(decoded, expected.concat());
        let dims = reader.info().pixel_dims.unwrap();
        // 192 dots an inch.
        assert_eq!((dims.xppu, dims.unit), (7559, png::Unit::Meter));
    }
}
