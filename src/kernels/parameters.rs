//! The parameters of a layer, described once: which there are, their names and shapes, and how they lie in a flat slice.
//!
//! Weights, packed weights, gradients and the optimizer's slots follow from [`LAYER`].

use std::convert::Infallible;

use super::gemm::Matrix;

/// One thing for each module of a layer: an `N` for each layer norm, an `L` for each linear map.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Layer<N, L> {
    pub(crate) ln_1: N,
    pub(crate) c_attn: L,
    pub(crate) attn_proj: L,
    pub(crate) ln_2: N,
    pub(crate) c_fc: L,
    pub(crate) mlp_proj: L,
}

/// The modules of a layer in the order in which their parameters lie, each its weight, then its bias.
pub(crate) const LAYER: Layer<Module, Module> = Layer {
    ln_1: Module::norm("ln_1"),
    c_attn: Module::linear("attn.c_attn", 1, 3, Kind::Linear),
    attn_proj: Module::linear("attn.c_proj", 1, 1, Kind::OutputProjection),
    ln_2: Module::norm("ln_2"),
    c_fc: Module::linear("mlp.c_fc", 1, 4, Kind::Linear),
    mlp_proj: Module::linear("mlp.c_proj", 4, 1, Kind::OutputProjection),
};

/// The weight and the bias of a layer norm or a linear map.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Affine<T> {
    pub(crate) weight: T,
    pub(crate) bias: T,
}

/// One thing for each parameter of a layer.
pub(crate) type Parameters<T> = Layer<Affine<T>, Affine<T>>;

/// What a module of a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Norm,
    Linear,
    /// A linear map whose result is added to the residual stream.
    OutputProjection,
}

/// Name, kind and shape of a module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Module {
    /// As in the published checkpoints, without the layer's own prefix.
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    // Widths in multiples of d.
    inputs: usize,
    outputs: usize,
}

impl Module {
    const fn norm(name: &'static str) -> Self {
        Self::linear(name, 1, 1, Kind::Norm)
    }

    const fn linear(name: &'static str, inputs: usize, outputs: usize, kind: Kind) -> Self {
        Self {
            name,
            kind,
            inputs,
            outputs,
        }
    }

    /// The width of its input in a model of width `d`.
    pub(crate) fn inputs(&self, d: usize) -> usize {
        self.inputs * d
    }

    /// The width of its output, which is the length of its bias.
    pub(crate) fn outputs(&self, d: usize) -> usize {
        self.outputs * d
    }

    /// The shape of its weight: `[d]` of a norm, `[inputs, outputs]` of a linear map.
    pub(crate) fn weight_shape(&self, d: usize) -> Vec<usize> {
        match self.kind {
            Kind::Norm => vec![d],
            Kind::Linear | Kind::OutputProjection => vec![self.inputs(d), self.outputs(d)],
        }
    }

    /// The number of its weights.
    pub(crate) fn weight_len(&self, d: usize) -> usize {
        match self.kind {
            Kind::Norm => d,
            Kind::Linear | Kind::OutputProjection => self.inputs(d) * self.outputs(d),
        }
    }
}

impl<T> Layer<T, T> {
    /// `f` of each, in the order of [`LAYER`].
    pub(crate) fn each<U>(self, mut f: impl FnMut(T) -> U) -> Layer<U, U> {
        let Ok(layer) = self.try_each(|x| Ok::<_, Infallible>(f(x)));
        layer
    }

    /// `f` of each, in the order of [`LAYER`].
    ///
    /// # Errors
    /// The first of `f`.
    pub(crate) fn try_each<U, E>(self, mut f: impl FnMut(T) -> Result<U, E>) -> Result<Layer<U, U>, E> {
        Ok(Layer {
            ln_1: f(self.ln_1)?,
            c_attn: f(self.c_attn)?,
            attn_proj: f(self.attn_proj)?,
            ln_2: f(self.ln_2)?,
            c_fc: f(self.c_fc)?,
            mlp_proj: f(self.mlp_proj)?,
        })
    }

    /// All of them, in the order of [`LAYER`].
    pub(crate) fn into_array(self) -> [T; 6] {
        [
            self.ln_1,
            self.c_attn,
            self.attn_proj,
            self.ln_2,
            self.c_fc,
            self.mlp_proj,
        ]
    }
}

impl<N, L> Layer<N, L> {
    /// `f` of each linear map.
    pub(crate) fn linear_maps<K>(self, mut f: impl FnMut(L) -> K) -> Layer<(), K> {
        Layer {
            ln_1: (),
            c_attn: f(self.c_attn),
            attn_proj: f(self.attn_proj),
            ln_2: (),
            c_fc: f(self.c_fc),
            mlp_proj: f(self.mlp_proj),
        }
    }

    /// The linear maps, in the order of [`LAYER`].
    pub(crate) fn into_linear_maps(self) -> [L; 4] {
        [self.c_attn, self.attn_proj, self.c_fc, self.mlp_proj]
    }

    /// Pairs with `other`.
    pub(crate) fn zip<M, K>(self, other: Layer<M, K>) -> Layer<(N, M), (L, K)> {
        Layer {
            ln_1: (self.ln_1, other.ln_1),
            c_attn: (self.c_attn, other.c_attn),
            attn_proj: (self.attn_proj, other.attn_proj),
            ln_2: (self.ln_2, other.ln_2),
            c_fc: (self.c_fc, other.c_fc),
            mlp_proj: (self.mlp_proj, other.mlp_proj),
        }
    }

    /// References to each.
    pub(crate) fn as_ref(&self) -> Layer<&N, &L> {
        Layer {
            ln_1: &self.ln_1,
            c_attn: &self.c_attn,
            attn_proj: &self.attn_proj,
            ln_2: &self.ln_2,
            c_fc: &self.c_fc,
            mlp_proj: &self.mlp_proj,
        }
    }

    /// References to each, to write.
    pub(crate) fn as_mut(&mut self) -> Layer<&mut N, &mut L> {
        Layer {
            ln_1: &mut self.ln_1,
            c_attn: &mut self.c_attn,
            attn_proj: &mut self.attn_proj,
            ln_2: &mut self.ln_2,
            c_fc: &mut self.c_fc,
            mlp_proj: &mut self.mlp_proj,
        }
    }
}

impl<T> Parameters<T> {
    /// One thing for each parameter of a layer of width `d`, made by `f` from the number of its weights.
    pub(crate) fn from_lengths(d: usize, mut f: impl FnMut(usize) -> T) -> Self {
        LAYER.each(|module| Affine {
            weight: f(module.weight_len(d)),
            bias: f(module.outputs(d)),
        })
    }
}

impl<'a> Parameters<&'a [f32]> {
    /// The parameters of a layer in its flat slice.
    pub(crate) fn split(d: usize, mut flat: &'a [f32]) -> Self {
        Self::from_lengths(d, |n| flat.split_off(..n).unwrap_or_default())
    }

    /// The weights of the linear maps as matrices `[inputs, outputs]`.
    pub(crate) fn matrices(&self) -> Layer<(), Matrix<'a>> {
        self.linear_maps(|linear| Matrix::new(linear.weight, linear.bias.len()))
    }
}

impl<'a> Parameters<&'a mut [f32]> {
    /// The gradients of a layer in its flat slice.
    pub(crate) fn split_mut(d: usize, mut flat: &'a mut [f32]) -> Self {
        Self::from_lengths(d, |n| flat.split_off_mut(..n).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_layer_fill_its_flat_slice() {
        const D: usize = 3;
        // Two norms, and matrices of 3 + 1 + 4 + 4 times d² with biases of 3 + 1 + 4 + 1 times d.
        let flat: Vec<f32> = (0..4 * D + 12 * D * D + 9 * D).map(|i| i as f32).collect();
        let layer = Parameters::split(D, &flat);
        let parts: Vec<&[f32]> = layer
            .into_array()
            .iter()
            .flat_map(|affine| [affine.weight, affine.bias])
            .collect();
        assert_eq!(parts.concat(), flat);
        for (module, affine) in LAYER.into_array().iter().zip(layer.into_array()) {
            assert_eq!(affine.bias.len(), module.outputs(D), "{}", module.name);
        }
    }
}
