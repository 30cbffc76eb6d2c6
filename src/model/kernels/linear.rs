//! `x · weight + bias` as one op, with its backward pass.

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor};
use pulp::{Arch, Simd, WithSimd};

use super::{like, slice, with_numbers};

/// `x · weight + bias`; x `[rows, in]`, weight `[in, out]`, bias `[out]`.
pub(in super::super) struct Linear;

/// A matrix that lies in a slice by rows, perhaps read as its transpose.
#[derive(Clone, Copy)]
struct Matrix<'a> {
    numbers: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: isize,
    column_stride: isize,
}

impl<'a> Matrix<'a> {
    fn new(numbers: &'a [f32], rows: usize, columns: usize) -> Self {
        assert_eq!(numbers.len(), rows * columns, "a matrix fills its slice");
        Self {
            numbers,
            rows,
            columns,
            row_stride: columns as isize,
            column_stride: 1,
        }
    }

    fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

// Products below this many multiply-adds are not worth waking other threads for.
const WORTH_THREADS: usize = 1 << 21;

// out = a · b, or out + a · b where `accumulate`.
fn product(out: &mut [f32], a: Matrix, b: Matrix, accumulate: bool) {
    assert_eq!(a.columns, b.rows, "the inner dimensions agree");
    assert_eq!(out.len(), a.rows * b.columns, "the product fills its slice");
    let threads = if a.rows * a.columns * b.columns < WORTH_THREADS {
        gemm::Parallelism::None
    } else {
        gemm::Parallelism::Rayon(0)
    };
    // SAFETY: `Matrix::new` has checked that each operand's strides stay inside its slice, the assertions above that
    // the shapes fit and that `out` holds the product by rows; `out` is borrowed mutably, so it overlaps neither.
    #[allow(unsafe_code)]
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.as_mut_ptr(),
            1,
            b.columns as isize,
            accumulate,
            a.numbers.as_ptr(),
            a.column_stride,
            a.row_stride,
            b.numbers.as_ptr(),
            b.column_stride,
            b.row_stride,
            1.0,
            1.0,
            false,
            false,
            false,
            threads,
        );
    }
}

struct ColumnSums<'a> {
    x: &'a [f32],
    sums: &'a mut [f32],
}

impl WithSimd for ColumnSums<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.x.chunks_exact(self.sums.len()) {
            for (sum, &x) in self.sums.iter_mut().zip(row) {
                *sum += x;
            }
        }
    }
}

impl CustomOp3 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        weight: &CpuStorage,
        weight_layout: &Layout,
        bias: &CpuStorage,
        bias_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (x, weight, bias) = (
            slice(x, x_layout)?,
            slice(weight, weight_layout)?,
            slice(bias, bias_layout)?,
        );
        let (inner, columns) = weight_layout.shape().dims2()?;
        let rows = x_layout.shape().dims2()?.0;
        let mut y = Vec::with_capacity(rows * columns);
        for _ in 0..rows {
            y.extend_from_slice(bias);
        }
        product(
            &mut y,
            Matrix::new(x, rows, inner),
            Matrix::new(weight, inner, columns),
            true,
        );
        Ok((CpuStorage::F32(y), (rows, columns).into()))
    }

    fn bwd(
        &self,
        x: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        _y: &Tensor,
        dy: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let ((rows, inner), columns) = (x.dims2()?, bias.elem_count());
        let (mut dx, mut dw, mut db) = (
            vec![0.0; x.elem_count()],
            vec![0.0; weight.elem_count()],
            vec![0.0; columns],
        );
        with_numbers(dy, |dy| {
            let dy_matrix = Matrix::new(dy, rows, columns);
            with_numbers(weight, |weight| {
                product(
                    &mut dx,
                    dy_matrix,
                    Matrix::new(weight, inner, columns).transposed(),
                    false,
                );
                Ok(())
            })?;
            with_numbers(x, |x| {
                product(&mut dw, Matrix::new(x, rows, inner).transposed(), dy_matrix, false);
                Ok(())
            })?;
            Arch::new().dispatch(ColumnSums { x: dy, sums: &mut db });
            Ok(())
        })?;
        Ok((like(x, dx)?, like(weight, dw)?, like(bias, db)?))
    }
}
