//! AMX on machines that cannot have it: nothing that could be called.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::Matrix;
use super::panels::{MicroPanel, Side, Tile, Units};

#[derive(Clone, Copy)]
pub(in super::super::super) enum Unit {}

impl Unit {
    pub(super) fn find() -> Option<Self> {
        None
    }

    pub(super) fn pack(self, _: &mut [Tile], _: &mut [Units], _: &[Matrix], _: usize, _: Side) {
        match self {}
    }
}

pub(super) struct Product<'a>(Unit, PhantomData<&'a mut [f32]>);

impl<'a> Product<'a> {
    pub(super) fn new(unit: Unit, _: &'a mut [f32], _: usize, _: usize) -> Self {
        match unit {}
    }

    pub(super) fn rows(&mut self, _: usize, _: usize) -> &mut [f32] {
        match self.0 {}
    }

    pub(super) fn blocks<'l, 'r>(
        &mut self,
        _: Range<usize>,
        _: Range<usize>,
        _: impl Fn(usize) -> MicroPanel<'l>,
        _: impl Fn(usize) -> MicroPanel<'r>,
        _: bool,
    ) {
        match self.0 {}
    }
}
