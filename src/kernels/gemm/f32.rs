//! GEMM by f32 instructions: the kernels of the `gemm` crate.

use gemm::Parallelism;
use gemm_common::gemm::gemm_basic_generic;
use gemm_common::simd::MixedSimd;

use super::Matrix;

/// Which of the `gemm` crate's kernels computes.
#[derive(Clone, Copy)]
pub(crate) enum F32Kernel {
    /// The one that the crate picks at run time: that of the widest instructions.
    Widest,
    Scalar,
    /// AVX2 and FMA, which the token proves that the CPU has.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    Fma(pulp::x86::V3),
}

// The crate's public function chooses a kernel itself; this calls the given one as the crate does. `lanes` is the number of f32
// in a register.
macro_rules! kernel {
    ($module:ident, $simd:ty, $lanes:literal, $out:ident, $a:ident, $b:ident, $accumulate:ident) => {{
        use gemm_f32::microkernel::$module::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
        let simd = <$simd as MixedSimd<f32, f32, f32, f32>>::try_new().expect("the CPU has the instructions");
        // The microkernels write columns of the product, so this computes outᵀ = Bᵀ · Aᵀ.
        gemm_basic_generic::<_, f32, $lanes, { MR_DIV_N * $lanes }, NR, MR_DIV_N, H_M, H_N>(
            simd,
            $b.columns,
            $a.rows,
            $a.columns,
            $out.as_mut_ptr(),
            $b.columns as isize,
            1,
            $accumulate,
            $b.numbers.as_ptr(),
            $b.row_stride as isize,
            $b.column_stride as isize,
            $a.numbers.as_ptr(),
            $a.row_stride as isize,
            $a.column_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            |a, b, c| a * b + c,
            &UKR,
            &H_UKR,
            false,
            Parallelism::None,
        );
    }};
}

impl F32Kernel {
    /// out = A · B, or out += A · B where `accumulate`.
    pub(crate) fn gemm(self, out: &mut [f32], a: Matrix, b: Matrix, accumulate: bool) {
        assert_eq!(a.columns, b.rows, "the inner dimensions agree");
        assert_eq!(out.len(), a.rows * b.columns, "the product has the shape of its slice");
        // SAFETY: `Matrix::new` has checked that each operand's strides stay inside its slice and `rows` keeps that so, the
        // assertions above check that the shapes fit and that `out` holds the product by rows; `out` is borrowed mutably,
        // so it overlaps neither. The CPU has the instructions of the kernels: the crate checks, or the token of the
        // variant proves it.
        unsafe {
            match self {
                Self::Widest => gemm::gemm(
                    a.rows,
                    b.columns,
                    a.columns,
                    out.as_mut_ptr(),
                    1,
                    b.columns as isize,
                    accumulate,
                    a.numbers.as_ptr(),
                    a.column_stride as isize,
                    a.row_stride as isize,
                    b.numbers.as_ptr(),
                    b.column_stride as isize,
                    b.row_stride as isize,
                    1.0,
                    1.0,
                    false,
                    false,
                    false,
                    Parallelism::None,
                ),
                Self::Scalar => kernel!(scalar, gemm_common::simd::Scalar, 1, out, a, b, accumulate),
                #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
                Self::Fma(_) => kernel!(fma, gemm_common::simd::V3, 8, out, a, b, accumulate),
            }
        }
    }
}
