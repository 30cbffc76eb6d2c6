//! The recurrent block, applied R times, as one candle op.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Tensor};

use super::gradients::GradientBuffers;
use super::{gradient_of, slice, with_numbers};
use crate::kernels::stack::{Stack, Taps, Workspace};

/// A stack with the buffers of a model.
pub(crate) struct Recurrence {
    pub(crate) stack: Stack,
    pub(crate) workspace: Arc<Mutex<Workspace>>,
    pub(crate) gradients: GradientBuffers,
}

impl Recurrence {
    /// The states after the last layer, of the readout rows or of all, with gradients. x is `[rows, d]` or
    /// `[embeddings, d]`, and block `[layers, weights of a layer]`.
    ///
    /// # Errors
    /// When an operand is not contiguous f32 on the CPU.
    pub(crate) fn differentiable(self, x: &Tensor, block: &Tensor) -> Result<Tensor> {
        let op = RecurrenceOp {
            recurrence: self,
            pass: AtomicU64::new(u64::MAX),
        };
        x.contiguous()?.apply_op2(block, op)
    }

    /// The same without gradients, visited by `taps`.
    ///
    /// # Errors
    /// As [`Recurrence::differentiable`].
    pub(crate) fn run(&self, x: &Tensor, block: &Tensor, taps: Option<&dyn Taps>) -> Result<Tensor> {
        let out = with_numbers(x, |x| {
            with_numbers(block, |block| Ok(self.stack.forward(&mut self.lock(), x, block, taps)))
        })?;
        let rows = out.len() / self.stack.d;
        Tensor::from_vec(out, (rows, self.stack.d), x.device())
    }

    // The model's workspace, or a fresh one while another thread uses it.
    fn lock(&self) -> WorkspaceGuard<'_> {
        match self.workspace.try_lock() {
            Ok(guard) => WorkspaceGuard::Shared(guard),
            Err(TryLockError::Poisoned(poisoned)) => WorkspaceGuard::Shared(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => WorkspaceGuard::Fresh(Box::default()),
        }
    }
}

enum WorkspaceGuard<'a> {
    Shared(MutexGuard<'a, Workspace>),
    Fresh(Box<Workspace>),
}

impl Deref for WorkspaceGuard<'_> {
    type Target = Workspace;

    fn deref(&self) -> &Workspace {
        match self {
            Self::Shared(guard) => guard,
            Self::Fresh(workspace) => workspace,
        }
    }
}

impl DerefMut for WorkspaceGuard<'_> {
    fn deref_mut(&mut self) -> &mut Workspace {
        match self {
            Self::Shared(guard) => guard,
            Self::Fresh(workspace) => workspace,
        }
    }
}

// The op as candle's autograd sees it.
struct RecurrenceOp {
    recurrence: Recurrence,
    // The forward pass that kept what the backward pass needs.
    pass: AtomicU64,
}

impl CustomOp2 for RecurrenceOp {
    fn name(&self) -> &'static str {
        "recurrence"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        block: &CpuStorage,
        block_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let Recurrence { stack, .. } = &self.recurrence;
        let mut workspace = self.recurrence.lock();
        let (x, block) = (slice(x, x_layout)?, slice(block, block_layout)?);
        let out = stack.forward_keeping(&mut workspace, x, block);
        if let WorkspaceGuard::Shared(workspace) = &workspace {
            self.pass.store(workspace.pass(), Ordering::Relaxed);
        }
        let rows = out.len() / stack.d;
        Ok((CpuStorage::F32(out), (rows, stack.d).into()))
    }

    fn bwd(&self, x: &Tensor, block: &Tensor, _y: &Tensor, d_y: &Tensor) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let Recurrence { stack, gradients, .. } = &self.recurrence;
        let mut workspace = self.recurrence.lock();
        let mut d_x = Vec::new();
        let d_block = with_numbers(block, |block_numbers| {
            if workspace.pass() != self.pass.load(Ordering::Relaxed) {
                // Another pass has used the workspace since.
                with_numbers(x, |x| {
                    stack.forward_keeping(&mut workspace, x, block_numbers);
                    Ok(())
                })?;
            }
            with_numbers(d_y, |d_y| {
                gradients.add(block, |d_block| {
                    d_x = stack.backward(&mut workspace, block_numbers, d_y, d_block);
                    Ok(())
                })
            })
        })?;
        Ok((gradient_of(x, d_x)?, d_block))
    }
}
