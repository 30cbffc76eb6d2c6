//! How operands lie for the unit: taken apart into bfloat16, in tiles.

use std::arch::x86_64::{
    __m512, __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512, _mm512_castsi512_ps, _mm512_loadu_ps,
    _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_i32x4, _mm512_srli_epi32, _mm512_storeu_si512,
    _mm512_sub_ps, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32, _mm512_unpackhi_epi64, _mm512_unpacklo_epi32,
    _mm512_unpacklo_epi64,
};

use super::super::Matrix;
use super::Unit;

// Rows of a tile, and words of two bfloat16 in each.
pub(super) const SIDE: usize = 16;
// Numbers that one instruction multiplies and adds up for each of its sums.
pub(super) const DEPTH: usize = 2 * SIDE;
// Rows or columns of the product that one strip of an operand gives: two tiles.
pub(super) const STRIP: usize = 2 * SIDE;
pub(super) const PARTS: usize = 3;
// Tiles of a strip for each DEPTH: of either half, part by part.
pub(super) const STEP: usize = 2 * PARTS;

/// 16 × 16 words of two bfloat16, or 16 × 16 sums.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Tile([[u32; SIDE]; SIDE]);

pub(super) const EMPTY: Tile = Tile([[0; SIDE]; SIDE]);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// Lays out one step of a strip of a matrix `[outer, depth]`, from this row on.
pub(super) fn lay_out(_: Unit, tiles: &mut [Tile], matrix: Matrix, from: usize, step: usize, side: Side) {
    // SAFETY: where the unit is found, AVX-512 is.
    #[allow(unsafe_code)]
    unsafe {
        lay_out_step(tiles, matrix, from, step, side);
    }
}

#[target_feature(enable = "avx512f")]
fn lay_out_step(tiles: &mut [Tile], matrix: Matrix, from: usize, step: usize, side: Side) {
    let Matrix {
        rows,
        columns,
        row_stride,
        column_stride,
        ..
    } = matrix;
    let depth = DEPTH.min(columns - step * DEPTH);
    let by_rows = column_stride == 1;
    for half in 0..2 {
        let from = from + half * SIDE;
        if from >= rows {
            continue;
        }
        let outer = SIDE.min(rows - from);
        let numbers = &matrix.numbers[from * row_stride + step * DEPTH * column_stride..];
        let lines = if by_rows {
            Lines {
                numbers,
                stride: row_stride,
                second: SIDE,
            }
        } else {
            Lines {
                numbers,
                stride: column_stride,
                second: SIDE * column_stride,
            }
        };
        if (outer, depth) == (SIDE, DEPTH) {
            lines.lay_out(tiles, half, by_rows != (side == Side::Left));
            continue;
        }
        // What there is of it, amid zeros.
        let mut padded = [0.0; SIDE * DEPTH];
        let (count, length, full) = if by_rows {
            (outer, depth, DEPTH)
        } else {
            (depth, outer, SIDE)
        };
        for (line, to) in padded.chunks_exact_mut(full).take(count).enumerate() {
            to[..length].copy_from_slice(&numbers[line * lines.stride..][..length]);
        }
        let lines = Lines {
            numbers: &padded,
            stride: full,
            second: if by_rows { SIDE } else { SIDE * SIDE },
        };
        lines.lay_out(tiles, half, by_rows != (side == Side::Left));
    }
}

// Sixteen numbers at each of sixteen places `stride` apart, and sixteen others `second` further, which share their words.
#[derive(Clone, Copy)]
struct Lines<'a> {
    numbers: &'a [f32],
    stride: usize,
    second: usize,
}

impl Lines<'_> {
    // Into one half of a step's tiles, as they are or turned over.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn lay_out(self, tiles: &mut [Tile], half: usize, turned: bool) {
        let numbers = &self.numbers[..(SIDE - 1) * self.stride + self.second + SIDE];
        let mut place = 0;
        let mut next = || {
            // SAFETY: sixteen times it takes from inside of `numbers`, whose length is made for that.
            #[allow(unsafe_code)]
            let (first, second) = unsafe {
                let first = numbers.as_ptr().add(place);
                (_mm512_loadu_ps(first), _mm512_loadu_ps(first.add(self.second)))
            };
            place += self.stride;
            pairs(first, second)
        };
        if turned {
            let mut words = [[_mm512_setzero_si512(); SIDE]; PARTS];
            for line in 0..SIDE {
                for (words, pair) in words.iter_mut().zip(next()) {
                    words[line] = pair;
                }
            }
            for (part, words) in words.iter().enumerate() {
                let tile = &mut tiles[2 * part + half];
                for (row, words) in tile.0.iter_mut().zip(transpose(words)) {
                    store(row, words);
                }
            }
        } else {
            for line in 0..SIDE {
                for (part, words) in next().into_iter().enumerate() {
                    store(&mut tiles[2 * part + half].0[line], words);
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn store(row: &mut [u32; SIDE], words: __m512i) {
    // SAFETY: a row of a tile is as long as a register.
    #[allow(unsafe_code)]
    unsafe {
        _mm512_storeu_si512(row.as_mut_ptr().cast(), words);
    }
}

const UPPER: i32 = 0xffff_0000_u32.cast_signed();

// High, middle and low parts, each a bfloat16 in the upper half of a word.
#[inline]
#[target_feature(enable = "avx512f")]
fn parts(x: __m512) -> [__m512i; PARTS] {
    let rounded = |x: __m512| {
        let half = _mm512_set1_epi32(0x8000);
        _mm512_and_si512(_mm512_add_epi32(_mm512_castps_si512(x), half), _mm512_set1_epi32(UPPER))
    };
    let high = rounded(x);
    let rest = _mm512_sub_ps(x, _mm512_castsi512_ps(high));
    let middle = rounded(rest);
    // 24 bits less twice 8, rounding having given one each time: what is left has no more than 8. It alone has something
    // in the lower half, where it is so small that it has lost its leading bit; that is cut off.
    let low = _mm512_castps_si512(_mm512_sub_ps(rest, _mm512_castsi512_ps(middle)));
    [high, middle, low]
}

// The parts of `first` in the lower halves of words, those of `second` in the upper ones.
#[inline]
#[target_feature(enable = "avx512f")]
fn pairs(first: __m512, second: __m512) -> [__m512i; PARTS] {
    let ([a, b, c], [d, e, f]) = (parts(first), parts(second));
    let pair = |first, second| {
        // The one, or the other where the mask is.
        const OR_MASKED: i32 = 0xf8;
        let first = _mm512_srli_epi32::<16>(first);
        _mm512_ternarylogic_epi32::<OR_MASKED>(first, second, _mm512_set1_epi32(UPPER))
    };
    [pair(a, d), pair(b, e), pair(c, f)]
}

// Sixteen rows of sixteen words, turned over: first within squares of four, then the squares.
#[inline]
#[target_feature(enable = "avx512f")]
fn transpose(rows: &[__m512i; SIDE]) -> [__m512i; SIDE] {
    let mut twos = *rows;
    for i in (0..SIDE).step_by(2) {
        twos[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        twos[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    let mut fours = *rows;
    for i in (0..SIDE).step_by(4) {
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
