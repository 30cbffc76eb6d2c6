//! AMX on machines that cannot have it: a type without values.

use super::super::Matrix;
use super::backend::Int8Backend;
use super::reference;
use super::tile::{Side, Tile, Units};

#[derive(Clone, Copy)]
pub(crate) enum Amx {}

impl Amx {
    pub(super) fn find() -> Option<Self> {
        None
    }
}

impl Int8Backend for Amx {
    type Product<'a> = reference::Product<'a>;

    fn pack(self, _: &mut [Tile], _: &mut [Units], _: &[Matrix], _: usize, _: Side) {
        match self {}
    }

    fn begin(self, _: &mut [f32], _: usize, _: usize) -> reference::Product<'_> {
        match self {}
    }
}
