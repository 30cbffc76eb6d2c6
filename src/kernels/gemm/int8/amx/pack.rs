//! Packs operands by AVX-512: splits their numbers into int8 slices, in tiles.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps,
    _mm512_cmplt_epu32_mask, _mm512_cvtps_epi32, _mm512_div_ps, _mm512_loadu_ps, _mm512_mask_mov_ps,
    _mm512_maskz_loadu_ps, _mm512_max_epu32, _mm512_max_ps, _mm512_mul_ps, _mm512_or_si512, _mm512_reduce_max_epu32,
    _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_ps, _mm512_setzero_si512, _mm512_shuffle_i32x4,
    _mm512_slli_epi32, _mm512_srli_epi32, _mm512_storeu_ps, _mm512_storeu_si512, _mm512_ternarylogic_epi32,
    _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64, _mm512_xor_si512,
};

use pulp::x86::V4;

use super::super::super::Matrix;
use super::super::tile::{
    HIGHEST_SLICE, MAX_INTEGER, MIN_LARGEST, PACK_WIDTH, SLICES, Side, TILE_DEPTH, TILE_ROWS, Tile, Units, WORD_BYTES,
    panel_tiles,
};

/// [`Int8Backend::pack`](super::super::backend::Int8Backend::pack).
pub(super) fn pack(_: V4, tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first: usize, side: Side) {
    let size = panel_tiles(matrices);
    let by_rows = matrices.iter().all(|matrix| matrix.column_stride == 1);
    for matrix in matrices {
        assert!(first <= matrix.rows, "the rows are the matrix's");
        assert!(
            by_rows || matrix.row_stride == 1,
            "all matrices have contiguous rows, or all have contiguous columns"
        );
    }
    let panels = if by_rows { 1 } else { PACK_WIDTH };
    let groups = tiles.chunks_mut(panels * size).zip(units.chunks_mut(panels));
    for (group, (tiles, units)) in groups.enumerate() {
        let first = first + group * panels * TILE_ROWS;
        // SAFETY: the token proves that the CPU has AVX-512.
        unsafe {
            if by_rows {
                pack_along_depth(tiles, &mut units[0], matrices, first, side == Side::Right);
            } else {
                pack_across_depth(tiles, units, matrices, first, side == Side::Left);
            }
        }
    }
}

// Lines of contiguous numbers: the rows or the columns of a matrix.
#[derive(Clone, Copy)]
struct Lines<'a> {
    numbers: &'a [f32],
    stride: usize,
    count: usize,
    length: usize,
}

impl<'a> Lines<'a> {
    fn new(numbers: &'a [f32], stride: usize, count: usize, length: usize) -> Self {
        let end = if count == 0 { 0 } else { (count - 1) * stride + length };
        Self {
            numbers: &numbers[..end],
            stride,
            count,
            length,
        }
    }

    // Whether there are at least `lines` lines of at least `length` numbers.
    fn contains(&self, lines: usize, length: usize) -> bool {
        lines <= self.count && length <= self.length
    }

    // 16 numbers of a line from index `at` on, with zeros outside the matrix; `FULL`: all of them are inside.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn get<const FULL: bool>(&self, line: usize, at: usize) -> __m512 {
        debug_assert!(
            !FULL || self.contains(line + 1, at + TILE_ROWS),
            "the numbers are there"
        );
        // SAFETY: `numbers` ends with the last number of the last line; numbers outside a line are not read or masked
        // out.
        unsafe {
            if FULL {
                return _mm512_loadu_ps(self.numbers.as_ptr().add(line * self.stride + at));
            }
            if line >= self.count || at >= self.length {
                return _mm512_setzero_ps();
            }
            let mask = (1_u32 << TILE_ROWS.min(self.length - at)) - 1;
            _mm512_maskz_loadu_ps(mask as u16, self.numbers.as_ptr().add(line * self.stride + at))
        }
    }
}

// Packs one micro-panel of matrices that are contiguous along the depth. `transposed`: for the right operand.
#[target_feature(enable = "avx512f")]
fn pack_along_depth(tiles: &mut [Tile], units: &mut Units, matrices: &[Matrix], first: usize, transposed: bool) {
    let all_lines = matrices.iter().map(|matrix| {
        let stride = matrix.row_stride;
        let count = TILE_ROWS.min(matrix.rows - first);
        Lines::new(&matrix.numbers[first * stride..], stride, count, matrix.columns)
    });
    let mut largest = [0_u32; TILE_ROWS];
    for lines in all_lines.clone() {
        for (line, largest) in largest.iter_mut().enumerate().take(lines.count) {
            let mut max = [_mm512_setzero_si512(); WORD_BYTES];
            let whole = lines.length / TILE_DEPTH * TILE_DEPTH;
            for at in (0..whole).step_by(TILE_DEPTH) {
                for (i, max) in max.iter_mut().enumerate() {
                    *max = larger(*max, lines.get::<true>(line, at + i * TILE_ROWS));
                }
            }
            for (i, max) in max.iter_mut().enumerate() {
                *max = larger(*max, lines.get::<false>(line, whole + i * TILE_ROWS));
            }
            let [a, b, c, d] = max;
            let max = _mm512_max_epu32(_mm512_max_epu32(a, b), _mm512_max_epu32(c, d));
            *largest = (*largest).max(_mm512_reduce_max_epu32(max));
        }
    }
    // SAFETY: 16 numbers are as long as a register.
    let largest = unsafe { _mm512_loadu_ps(largest.as_ptr().cast()) };
    let mut scales = [0.0; TILE_ROWS];
    let (scale, unit) = scale(_mm512_castps_si512(largest));
    store_ps(&mut scales, scale);
    store_ps(&mut units.0, unit);
    let mut tiles = tiles.chunks_exact_mut(SLICES);
    for lines in all_lines {
        for (at, tiles) in (0..lines.length).step_by(TILE_DEPTH).zip(&mut tiles) {
            let start = |line: usize, i: usize| (line, at + i * TILE_ROWS);
            let scale = |line: usize| _mm512_set1_ps(scales[line]);
            if lines.contains(TILE_ROWS, at + TILE_DEPTH) {
                pack_step::<true>(tiles, transposed, lines, start, scale);
            } else {
                pack_step::<false>(tiles, transposed, lines, start, scale);
            }
        }
    }
}

// Packs PACK_WIDTH micro-panels of matrices that are contiguous across the depth. `transposed`: for the left operand.
#[target_feature(enable = "avx512f")]
fn pack_across_depth(tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first: usize, transposed: bool) {
    let all_lines = matrices.iter().map(|matrix| {
        let numbers = matrix.numbers.get(first..).unwrap_or_default();
        let outer = (PACK_WIDTH * TILE_ROWS).min(matrix.rows - first);
        Lines::new(numbers, matrix.column_stride, matrix.columns, outer)
    });
    let mut max = [_mm512_setzero_si512(); PACK_WIDTH];
    for lines in all_lines.clone() {
        if lines.contains(lines.count, PACK_WIDTH * TILE_ROWS) {
            for line in 0..lines.count {
                for (i, max) in max.iter_mut().enumerate() {
                    *max = larger(*max, lines.get::<true>(line, i * TILE_ROWS));
                }
            }
        } else {
            for line in 0..lines.count {
                for (i, max) in max.iter_mut().enumerate() {
                    *max = larger(*max, lines.get::<false>(line, i * TILE_ROWS));
                }
            }
        }
    }
    let mut scales = [_mm512_setzero_ps(); PACK_WIDTH];
    for ((scale_of, units), largest) in scales.iter_mut().zip(&mut *units).zip(max) {
        let (scale, unit) = scale(largest);
        *scale_of = scale;
        store_ps(&mut units.0, unit);
    }
    let size = tiles.len() / units.len();
    let mut steps = (0..size).step_by(SLICES);
    for lines in all_lines {
        for (line, step) in (0..lines.count).step_by(TILE_DEPTH).zip(&mut steps) {
            for (panel, tiles) in tiles.chunks_exact_mut(size).enumerate() {
                let (tiles, at, scale) = (&mut tiles[step..][..SLICES], panel * TILE_ROWS, scales[panel]);
                let start = |k: usize, i: usize| (line + k + i * TILE_ROWS, at);
                if lines.contains(line + TILE_DEPTH, at + TILE_ROWS) {
                    pack_step::<true>(tiles, transposed, lines, start, |_| scale);
                } else {
                    pack_step::<false>(tiles, transposed, lines, start, |_| scale);
                }
            }
        }
    }
}

// The larger of `max` and |x| as bits of an f32, of which those of NaN are the largest.
#[inline]
#[target_feature(enable = "avx512f")]
fn larger(max: __m512i, x: __m512) -> __m512i {
    let sign = _mm512_set1_epi32(i32::MAX);
    _mm512_max_epu32(max, _mm512_and_si512(_mm512_castps_si512(x), sign))
}

// The scale of each row and its unit, the value of 1 in its highest slice, from its largest absolute value. Where a number of the
// row is infinite or NaN, the unit is NaN.
#[inline]
#[target_feature(enable = "avx512f")]
fn scale(largest: __m512i) -> (__m512, __m512) {
    let finite = _mm512_cmplt_epu32_mask(largest, _mm512_set1_epi32(f32::INFINITY.to_bits().cast_signed()));
    let largest = _mm512_max_ps(_mm512_castsi512_ps(largest), _mm512_set1_ps(MIN_LARGEST));
    let scale = _mm512_div_ps(_mm512_set1_ps(MAX_INTEGER), largest);
    let highest = _mm512_set1_ps(HIGHEST_SLICE);
    let unit = _mm512_mask_mov_ps(_mm512_set1_ps(f32::NAN), finite, _mm512_div_ps(highest, scale));
    (scale, unit)
}

// Packs one step: for each of 16 rows four times 16 numbers, of which each four share a word, into the step's tiles,
// perhaps transposed. `start` gives the line and the index where 16 numbers begin, `scale` their scale.
#[inline]
#[target_feature(enable = "avx512f")]
fn pack_step<const FULL: bool>(
    tiles: &mut [Tile],
    transposed: bool,
    lines: Lines,
    start: impl Fn(usize, usize) -> (usize, usize),
    scale: impl Fn(usize) -> __m512,
) {
    let slices_of = |row: usize| {
        let x = |i: usize| {
            let (line, at) = start(row, i);
            lines.get::<FULL>(line, at)
        };
        slices([x(0), x(1), x(2), x(3)], scale(row))
    };
    if transposed {
        let mut words = [[_mm512_setzero_si512(); TILE_ROWS]; SLICES];
        for row in 0..TILE_ROWS {
            for (words, of_slice) in words.iter_mut().zip(slices_of(row)) {
                words[row] = of_slice;
            }
        }
        for (tile, words) in tiles.iter_mut().zip(&words) {
            for (row, words) in tile.0.iter_mut().zip(transpose(words)) {
                store(row, words);
            }
        }
    } else {
        for row in 0..TILE_ROWS {
            for (tile, words) in tiles.iter_mut().zip(slices_of(row)) {
                store(&mut tile.0[row], words);
            }
        }
    }
}

// The slices of four times 16 numbers, the highest first, with those of four numbers in a word: integers from −128 to
// 127 of weight 2¹⁶, 2⁸ and 1.
#[inline]
#[target_feature(enable = "avx512f")]
fn slices(x: [__m512; WORD_BYTES], scale: __m512) -> [__m512i; SLICES] {
    // Bits of the first operand, or of the second where the mask is set.
    const MASKED: i32 = 0xd8;
    // With 128 added to each, the slices are the bytes of the integer.
    let middle = _mm512_set1_epi32(0x80_8080);
    let [a, b, c, d] = x.map(|x| _mm512_add_epi32(_mm512_cvtps_epi32(_mm512_mul_ps(x, scale)), middle));
    let (upper, odd) = (
        _mm512_set1_epi32(-0x1_0000),
        _mm512_set1_epi32(0xff00_ff00_u32.cast_signed()),
    );
    let ac = _mm512_ternarylogic_epi32::<MASKED>(a, _mm512_slli_epi32::<16>(c), upper);
    let bd = _mm512_ternarylogic_epi32::<MASKED>(b, _mm512_slli_epi32::<16>(d), upper);
    let low = _mm512_ternarylogic_epi32::<MASKED>(ac, _mm512_slli_epi32::<8>(bd), odd);
    let second = _mm512_ternarylogic_epi32::<MASKED>(_mm512_srli_epi32::<8>(ac), bd, odd);
    let ac = _mm512_ternarylogic_epi32::<MASKED>(_mm512_srli_epi32::<16>(a), c, upper);
    let bd = _mm512_ternarylogic_epi32::<MASKED>(_mm512_srli_epi32::<16>(b), d, upper);
    let high = _mm512_or_si512(ac, _mm512_slli_epi32::<8>(bd));
    let signs = _mm512_set1_epi32(0x8080_8080_u32.cast_signed());
    [high, second, low].map(|slice| _mm512_xor_si512(slice, signs))
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(row: &mut [u32; TILE_ROWS], words: __m512i) {
    // SAFETY: a row of a tile is as long as a register.
    unsafe {
        _mm512_storeu_si512(row.as_mut_ptr().cast(), words);
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store_ps(to: &mut [f32; TILE_ROWS], numbers: __m512) {
    // SAFETY: 16 numbers are as long as a register.
    unsafe {
        _mm512_storeu_ps(to.as_mut_ptr(), numbers);
    }
}

// The transpose of 16 × 16 words: first within squares of 4 × 4, then of the squares.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &[__m512i; TILE_ROWS]) -> [__m512i; TILE_ROWS] {
    let mut twos = *rows;
    for i in (0..TILE_ROWS).step_by(2) {
        twos[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        twos[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    let mut fours = *rows;
    for i in (0..TILE_ROWS).step_by(4) {
        fours[i] = _mm512_unpacklo_epi64(twos[i], twos[i + 2]);
        fours[i + 1] = _mm512_unpackhi_epi64(twos[i], twos[i + 2]);
        fours[i + 2] = _mm512_unpacklo_epi64(twos[i + 1], twos[i + 3]);
        fours[i + 3] = _mm512_unpackhi_epi64(twos[i + 1], twos[i + 3]);
    }
    let mut columns = *rows;
    for i in 0..4 {
        let [a, b, c, d] = [fours[i], fours[i + 4], fours[i + 8], fours[i + 12]];
        let (ab, cd) = (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0x88>(c, d));
        columns[i] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        columns[i + 8] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
        let (ab, cd) = (_mm512_shuffle_i32x4::<0xdd>(a, b), _mm512_shuffle_i32x4::<0xdd>(c, d));
        columns[i + 4] = _mm512_shuffle_i32x4::<0x88>(ab, cd);
        columns[i + 12] = _mm512_shuffle_i32x4::<0xdd>(ab, cd);
    }
    columns
}

#[cfg(test)]
mod tests;
