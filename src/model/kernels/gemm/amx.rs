//! Products of f32 matrices on the matrix unit of Intel's server CPUs (AMX), which multiplies bfloat16 alone.
//!
//! An f32 is the sum of three bfloat16, high, middle and low, each the rest rounded to nearest: exactly, but for parts
//! below 2⁻¹²⁶. Of the nine products of parts, those of middle and low, low and low come to less than 2⁻²⁵ of the whole;
//! the other six are added up in f32. The unit adds 32 products before it rounds into the sum, so that the result is as
//! near to the true one as that of f32 instructions, which round at each; the tests of [`super`] hold it to that. This is the
//! decomposition of Henry, Tang & Heinecke 2019, *Leveraging the bfloat16 Artificial Intelligence Datatype For
//! Higher-Precision Computations*, arXiv 1904.06376.

use std::arch::asm;
use std::arch::x86_64::{
    __cpuid, __cpuid_count, __m512, __m512i, _mm512_add_epi32, _mm512_and_si512, _mm512_castps_si512,
    _mm512_castsi512_ps, _mm512_loadu_ps, _mm512_set1_epi32, _mm512_setzero_si512, _mm512_shuffle_i32x4,
    _mm512_srli_epi32, _mm512_storeu_si512, _mm512_sub_ps, _mm512_ternarylogic_epi32, _mm512_unpackhi_epi32,
    _mm512_unpackhi_epi64, _mm512_unpacklo_epi32, _mm512_unpacklo_epi64,
};
use std::cell::RefCell;
use std::sync::OnceLock;

use rayon::prelude::*;

use super::{Base, Matrix};

// Rows of a tile, and words of two bfloat16 in each.
const SIDE: usize = 16;
// Numbers that one instruction multiplies and adds up for each of its sums.
const DEPTH: usize = 2 * SIDE;
// Rows or columns of the product that one strip of an operand gives: two tiles.
const STRIP: usize = 2 * SIDE;
const PARTS: usize = 3;
// Tiles of a strip for each DEPTH: of either half, part by part.
const STEP: usize = 2 * PARTS;
// Steps, at most, between reading and writing a sum: more, and strips no longer lie in the nearest caches.
const STEPS: usize = 16;

/// 16 × 16 words of two bfloat16, or 16 × 16 sums.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Tile([[u32; SIDE]; SIDE]);

const EMPTY: Tile = Tile([[0; SIDE]; SIDE]);

/// The unit, which this machine has and which the system lets this process use.
#[derive(Clone, Copy)]
pub(super) struct Unit(());

impl Unit {
    pub(super) fn find() -> Option<Self> {
        static UNIT: OnceLock<Option<Unit>> = OnceLock::new();
        *UNIT.get_or_init(|| {
            const BFLOAT16: u32 = 1 << 22;
            const TILES: u32 = 1 << 24;
            // Linux wants to be asked once a process, before any thread uses it.
            const REQUEST_PERMISSION: libc::c_long = 0x1023;
            const TILE_DATA: libc::c_long = 18;
            if !is_x86_feature_detected!("avx512f") || __cpuid(0).eax < 7 {
                return None;
            }
            let features = __cpuid_count(7, 0).edx;
            if features & BFLOAT16 == 0 || features & TILES == 0 {
                return None;
            }
            // SAFETY: this call reads its numbers and nothing else.
            #[allow(unsafe_code)]
            let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) };
            (refused == 0).then_some(Self(()))
        })
    }

    /// out = a · b, or out + a · b where `accumulate`.
    pub(super) fn product(self, out: &mut [f32], a: Matrix, b: Matrix, accumulate: bool) {
        let mut product = Product::new(self, out, a.rows, b.columns, accumulate);
        BUFFERS.with_borrow_mut(|[held, passing]| {
            for Round { first, count, add } in product.rounds(a.columns) {
                let (a, b) = (a.columns(first, count), b.transposed().columns(first, count));
                if Tiles::bytes((a.rows + b.rows) * count) <= 2 * CACHED {
                    held.lay_out(self, a, 0, a.rows, Side::Left);
                    passing.lay_out(self, b, 0, b.rows, Side::Right);
                    for row in (0..a.rows).step_by(STRIP) {
                        for column in (0..b.rows).step_by(STRIP) {
                            product.block(row, column, held.strip(row), passing.strip(column), add);
                        }
                    }
                    continue;
                }
                // The smaller operand is laid out whole, or as much of it as caches hold; strips of the other pass by it.
                if a.rows <= b.rows {
                    for from in (0..a.rows).step_by(group(count)) {
                        let height = held.lay_out(self, a, from, group(count), Side::Left);
                        for column in (0..b.rows).step_by(STRIP) {
                            passing.lay_out(self, b, column, STRIP, Side::Right);
                            for row in (0..height).step_by(STRIP) {
                                product.block(from + row, column, held.strip(row), passing.strip(0), add);
                            }
                        }
                    }
                } else {
                    for from in (0..b.rows).step_by(group(count)) {
                        let width = held.lay_out(self, b, from, group(count), Side::Right);
                        for row in (0..a.rows).step_by(STRIP) {
                            passing.lay_out(self, a, row, STRIP, Side::Left);
                            for column in (0..width).step_by(STRIP) {
                                product.block(row, from + column, passing.strip(0), held.strip(column), add);
                            }
                        }
                    }
                }
            }
        });
    }
}

impl Matrix<'_> {
    // Some of its columns, as they are read.
    fn columns(self, from: usize, count: usize) -> Self {
        self.transposed().rows(from, count).transposed()
    }
}

thread_local! {
    // Operands of the product that this thread is making.
    static BUFFERS: RefCell<[Strips; 2]> = RefCell::default();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// Strips of an operand in parts: for each its steps, for each step the high, middle and low parts of its two tiles. A
/// tile of a left operand has its rows in rows, one of a right operand its columns in columns. Numbers `k` and `k + 16`
/// of each 32 share a word.
#[derive(Default)]
struct Strips {
    tiles: Vec<Tile>,
    // Tiles of a strip.
    size: usize,
}

impl Strips {
    /// Takes up so many rows of `matrix` `[outer, depth]`, or as many as there are, and returns their number.
    fn lay_out(&mut self, unit: Unit, matrix: Matrix, from: usize, rows: usize, side: Side) -> usize {
        let rows = rows.min(matrix.rows - from);
        let steps = matrix.columns.div_ceil(DEPTH);
        self.make_room(rows, matrix.columns);
        let mut lay_out = |strip: usize, step: usize| {
            let tiles = &mut self.tiles[strip * self.size + step * STEP..][..STEP];
            lay_out(unit, tiles, matrix, from + strip * STRIP, step, side);
        };
        // In the order in which the numbers lie.
        if matrix.column_stride == 1 {
            (0..rows.div_ceil(STRIP)).for_each(|strip| (0..steps).for_each(|step| lay_out(strip, step)));
        } else {
            (0..steps).for_each(|step| (0..rows.div_ceil(STRIP)).for_each(|strip| lay_out(strip, step)));
        }
        rows
    }

    // The strips of so many rows; what they hold is of no account.
    fn make_room(&mut self, rows: usize, depth: usize) -> &mut [Tile] {
        self.size = depth.div_ceil(DEPTH) * STEP;
        let needed = rows.div_ceil(STRIP) * self.size;
        if needed > self.tiles.len() {
            self.tiles = vec![EMPTY; needed + needed / 16];
        }
        &mut self.tiles[..needed]
    }

    // The strip that holds this row.
    fn strip(&self, row: usize) -> &[Tile] {
        &self.tiles[row / STRIP * self.size..][..self.size]
    }
}

// Numbers of an operand that is sooner laid out than another thread awake.
const SMALL: usize = 1 << 16;

// Bytes of an operand that stay in the caches of a core while the other passes by.
const CACHED: usize = 1 << 20;

// Rows or columns of an operand of so many numbers each that are laid out at a time.
const fn group(depth: usize) -> usize {
    let strips = CACHED / (depth.div_ceil(DEPTH) * STEP * size_of::<Tile>());
    STRIP * if strips > 0 { strips } else { 1 }
}

/// A right operand that is laid out once for many products.
pub(in super::super) struct Tiles {
    unit: Unit,
    strips: Strips,
    columns: usize,
    depth: usize,
}

impl Tiles {
    pub(super) fn new(unit: Unit) -> Self {
        Self {
            unit,
            strips: Strips::default(),
            columns: 0,
            depth: 0,
        }
    }

    /// Bytes that so many numbers take.
    pub(super) const fn bytes(numbers: usize) -> usize {
        PARTS * size_of::<u16>() * numbers
    }

    /// Takes up a right operand, on the threads of the current pool.
    pub(super) fn set(&mut self, matrix: Matrix) {
        (self.depth, self.columns) = (matrix.rows, matrix.columns);
        let matrix = matrix.transposed();
        if matrix.rows * matrix.columns < SMALL || rayon::current_num_threads() == 1 {
            self.strips.lay_out(self.unit, matrix, 0, matrix.rows, Side::Right);
            return;
        }
        let size = matrix.columns.div_ceil(DEPTH) * STEP;
        let tiles = self.strips.make_room(matrix.rows, matrix.columns);
        let strips = tiles.par_chunks_mut(size.max(1)).enumerate();
        strips.for_each(|(strip, tiles)| {
            for (step, tiles) in tiles.chunks_exact_mut(STEP).enumerate() {
                lay_out(self.unit, tiles, matrix, strip * STRIP, step, Side::Right);
            }
        });
    }

    /// out = a · this, on top of what `base` puts into rows from the given one on.
    pub(super) fn product(&self, out: &mut [f32], a: Matrix, base: Option<Base>) {
        assert_eq!(a.columns, self.depth, "the inner dimensions agree");
        let mut product = Product::new(self.unit, out, a.rows, self.columns, base.is_some());
        // Where caches hold this operand, strips of the other pass by it, and the product is made row by row; otherwise
        // its strips pass by as much of the other as they hold.
        let is_small = Self::bytes(self.columns * self.depth) <= CACHED;
        BUFFERS.with_borrow_mut(|[left, _]| {
            for Round { first, count, add } in product.rounds(self.depth) {
                let (a, steps) = (a.columns(first, count), count.div_ceil(DEPTH) * STEP);
                let b = |column: usize| &self.strips.strip(column)[first / DEPTH * STEP..][..steps];
                let height = if is_small { STRIP } else { group(count) };
                for from in (0..a.rows).step_by(height) {
                    let height = left.lay_out(self.unit, a, from, height, Side::Left);
                    if let Some(base) = base.filter(|_| first == 0) {
                        base(from, product.rows(from, height));
                    }
                    for column in (0..self.columns).step_by(STRIP) {
                        for row in (0..height).step_by(STRIP) {
                            product.block(from + row, column, left.strip(row), b(column), add);
                        }
                    }
                }
            }
        });
    }
}

fn lay_out(_: Unit, tiles: &mut [Tile], matrix: Matrix, from: usize, step: usize, side: Side) {
    // SAFETY: where the unit is found, AVX-512 is.
    #[allow(unsafe_code)]
    unsafe {
        lay_out_step(tiles, matrix, from, step, side);
    }
}

// One step of a strip of a matrix `[outer, depth]`, from this row on.
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

#[repr(C, align(64))]
struct Config([u8; 64]);

// Eight tiles of sixteen rows of 64 bytes: palette 1, then bytes of a row from byte 16 on, rows from 48 on.
static CONFIG: Config = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = SIDE as u8;
        tile += 1;
    }
    Config(bytes)
};

// A product that is being made block by block, on a configured unit.
struct Product<'a> {
    out: &'a mut [f32],
    rows: usize,
    columns: usize,
    accumulate: bool,
    // A block that is not full, amid what is of no account.
    edge: [f32; STRIP * STRIP],
}

// The part of the sums that are added up without being written meanwhile.
struct Round {
    first: usize,
    count: usize,
    add: bool,
}

impl<'a> Product<'a> {
    fn new(_: Unit, out: &'a mut [f32], rows: usize, columns: usize, accumulate: bool) -> Self {
        assert_eq!(out.len(), rows * columns, "the product fills its slice");
        // SAFETY: the unit is there. The configuration is a valid one, of the size that is read.
        #[allow(unsafe_code)]
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const CONFIG, options(nostack, readonly));
        }
        Self {
            out,
            rows,
            columns,
            accumulate,
            edge: [0.0; STRIP * STRIP],
        }
    }

    fn rows(&mut self, from: usize, count: usize) -> &mut [f32] {
        &mut self.out[from * self.columns..][..count * self.columns]
    }

    // Rounds for sums of so many terms, as even as may be, so that none is short.
    fn rounds(&mut self, depth: usize) -> impl Iterator<Item = Round> + use<> {
        if depth == 0 && !self.accumulate {
            self.out.fill(0.0);
        }
        let (steps, accumulate) = (depth.div_ceil(DEPTH), self.accumulate);
        let most = DEPTH * steps.div_ceil(steps.div_ceil(STEPS).max(1)).max(1);
        (0..depth).step_by(most).map(move |first| Round {
            first,
            count: most.min(depth - first),
            add: accumulate || first > 0,
        })
    }

    // The block from this row and column on, from the strips that give it.
    fn block(&mut self, row: usize, column: usize, a: &[Tile], b: &[Tile], add: bool) {
        assert_eq!(a.len(), b.len(), "both strips have the same steps");
        let steps = a.len() / STEP;
        let (height, width) = (STRIP.min(self.rows - row), STRIP.min(self.columns - column));
        let out = &mut self.out[row * self.columns + column..];
        if (height, width) == (STRIP, STRIP) {
            let out = &mut out[..(STRIP - 1) * self.columns + STRIP];
            // SAFETY: the strips hold `steps` steps, not none; `out` holds 32 rows of 32 numbers so far apart.
            #[allow(unsafe_code)]
            unsafe {
                add_block(out.as_mut_ptr(), self.columns, a.as_ptr(), b.as_ptr(), steps, add);
            }
            return;
        }
        let edge = &mut self.edge;
        let lines = edge
            .chunks_exact_mut(STRIP)
            .zip(out.chunks_mut(self.columns))
            .take(height);
        if add {
            lines.for_each(|(edge, out)| edge[..width].copy_from_slice(&out[..width]));
        }
        let add_some = match (height <= SIDE, width <= SIDE) {
            (true, true) => add_tile,
            (true, false) => add_row,
            (false, true) => add_column,
            (false, false) => add_block,
        };
        // SAFETY: as above, the block being `edge`.
        #[allow(unsafe_code)]
        unsafe {
            add_some(edge.as_mut_ptr(), STRIP, a.as_ptr(), b.as_ptr(), steps, add);
        }
        let lines = edge.chunks_exact(STRIP).zip(out.chunks_mut(self.columns)).take(height);
        lines.for_each(|(edge, out)| out[..width].copy_from_slice(&edge[..width]));
    }
}

impl Drop for Product<'_> {
    fn drop(&mut self) {
        // SAFETY: it leaves the tiles as they were before, without configuration.
        #[allow(unsafe_code)]
        unsafe {
            asm!("tilerelease", options(nostack, nomem));
        }
    }
}

// A function that adds the products of `steps` steps of two strips to two by two tiles of sums, or to some of them: high
// parts lie at 0 and 1024 bytes from the start of a step, middle ones at 2048 and 3072, low ones at 4096 and 5120. Small
// products come first. Each tile is loaded as seldom as eight registers allow.
macro_rules! block {
    ($name:ident, clear: [$($clear:literal),*], load: [$($load:literal),*], store: [$($store:literal),*], multiply: [$($multiply:literal),* $(,)?]) => {
        // # Safety
        // The unit is there and configured; `a` and `b` are `steps` ≥ 1 steps of strips; `out` has as many rows and
        // columns as the tiles that are named, its rows `columns` numbers apart.
        #[allow(unsafe_code)]
        unsafe fn $name(out: *mut f32, columns: usize, a: *const Tile, b: *const Tile, steps: usize, add: bool) {
            let lower = out.wrapping_add(SIDE * columns);
            // SAFETY: as the function's.
            unsafe {
                asm!(
                    "test {add:l}, {add:l}",
                    "jnz 2f",
                    $($clear,)*
                    "jmp 3f",
                    "2:",
                    $($load,)*
                    "3:",
                    $($multiply,)*
                    "add {a}, 6144",
                    "add {b}, 6144",
                    "dec {steps}",
                    "jnz 3b",
                    $($store,)*
                    out = in(reg) out,
                    lower = in(reg) lower,
                    stride = in(reg) size_of::<f32>() * columns,
                    a = inout(reg) a => _,
                    b = inout(reg) b => _,
                    steps = inout(reg) steps => _,
                    tile = in(reg) 64_usize,
                    add = in(reg) u64::from(add),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

block!(
    add_block,
    clear: ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"],
    load: [
        "tileloadd tmm0, [{out} + {stride}]", "tileloadd tmm1, [{out} + {stride} + 64]",
        "tileloadd tmm2, [{lower} + {stride}]", "tileloadd tmm3, [{lower} + {stride} + 64]"
    ],
    store: [
        "tilestored [{out} + {stride}], tmm0", "tilestored [{out} + {stride} + 64], tmm1",
        "tilestored [{lower} + {stride}], tmm2", "tilestored [{lower} + {stride} + 64], tmm3"
    ],
    multiply: [
        // Low and high.
        "tileloadd tmm6, [{b} + {tile}]", "tileloadd tmm4, [{a} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm5, [{a} + {tile} + 5120]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
        // Middle and high.
        "tileloadd tmm4, [{a} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm5, [{a} + {tile} + 3072]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
        // Middle and middle.
        "tileloadd tmm6, [{b} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 3072]", "tdpbf16ps tmm1, tmm4, tmm7", "tdpbf16ps tmm3, tmm5, tmm7",
        // High and middle.
        "tileloadd tmm4, [{a} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm5, [{a} + {tile} + 1024]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7",
        // High and low.
        "tileloadd tmm6, [{b} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 5120]", "tdpbf16ps tmm1, tmm4, tmm7", "tdpbf16ps tmm3, tmm5, tmm7",
        // High and high.
        "tileloadd tmm6, [{b} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7", "tdpbf16ps tmm3, tmm5, tmm7",
    ]
);

block!(
    add_row,
    clear: ["tilezero tmm0", "tilezero tmm1"],
    load: ["tileloadd tmm0, [{out} + {stride}]", "tileloadd tmm1, [{out} + {stride} + 64]"],
    store: ["tilestored [{out} + {stride}], tmm0", "tilestored [{out} + {stride} + 64], tmm1 # {lower}"],
    multiply: [
        "tileloadd tmm4, [{a} + {tile} + 4096]",
        "tileloadd tmm6, [{b} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm4, [{a} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm6, [{b} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 3072]", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm4, [{a} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm6, [{b} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 5120]", "tdpbf16ps tmm1, tmm4, tmm7",
        "tileloadd tmm6, [{b} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm7, [{b} + {tile} + 1024]", "tdpbf16ps tmm1, tmm4, tmm7",
    ]
);

block!(
    add_column,
    clear: ["tilezero tmm0", "tilezero tmm2"],
    load: ["tileloadd tmm0, [{out} + {stride}]", "tileloadd tmm2, [{lower} + {stride}]"],
    store: ["tilestored [{out} + {stride}], tmm0", "tilestored [{lower} + {stride}], tmm2"],
    multiply: [
        "tileloadd tmm6, [{b} + {tile}]",
        "tileloadd tmm4, [{a} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm5, [{a} + {tile} + 5120]", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm4, [{a} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm5, [{a} + {tile} + 3072]", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm6, [{b} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm4, [{a} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm5, [{a} + {tile} + 1024]", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm6, [{b} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
        "tileloadd tmm6, [{b} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6", "tdpbf16ps tmm2, tmm5, tmm6",
    ]
);

block!(
    add_tile,
    clear: ["tilezero tmm0"],
    load: ["tileloadd tmm0, [{out} + {stride}]"],
    store: ["tilestored [{out} + {stride}], tmm0 # {lower}"],
    multiply: [
        "tileloadd tmm6, [{b} + {tile}]",
        "tileloadd tmm4, [{a} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm4, [{a} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm6, [{b} + {tile} + 2048]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm4, [{a} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm6, [{b} + {tile} + 4096]", "tdpbf16ps tmm0, tmm4, tmm6",
        "tileloadd tmm6, [{b} + {tile}]", "tdpbf16ps tmm0, tmm4, tmm6",
    ]
);
