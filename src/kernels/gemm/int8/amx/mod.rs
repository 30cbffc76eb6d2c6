//! AMX, the tile instructions of Intel's server CPUs (Xeons since 2023), with AVX-512 around them.

mod multiply;
mod pack;
mod pipeline;

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use pulp::x86::V4;

use super::super::Matrix;
use super::backend::Int8Backend;
use super::tile::{Side, Tile, Units};
use multiply::TileUnit;
use pipeline::Product;

/// Proof that the CPU has AMX and AVX-512, and that the system lets this process use AMX.
#[derive(Clone, Copy)]
pub(crate) struct Amx(V4);

impl Amx {
    pub(super) fn find() -> Option<Self> {
        static AMX: OnceLock<Option<Amx>> = OnceLock::new();
        *AMX.get_or_init(|| {
            const INT8: u32 = 1 << 25;
            const TILES: u32 = 1 << 24;
            // Linux must be asked once a process, before any thread uses AMX.
            const REQUEST_PERMISSION: libc::c_long = 0x1023;
            const TILE_DATA: libc::c_long = 18;
            let avx512 = V4::try_new()?;
            if __cpuid(0).eax < 7 {
                return None;
            }
            let features = __cpuid_count(7, 0).edx;
            if features & INT8 == 0 || features & TILES == 0 {
                return None;
            }
            // SAFETY: this system call reads its arguments, which are numbers, and no memory.
            let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) };
            (refused == 0).then_some(Self(avx512))
        })
    }
}

impl Int8Backend for Amx {
    type Product<'a> = Product<'a, TileUnit>;

    fn pack(self, tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first: usize, side: Side) {
        pack::pack(self.0, tiles, units, matrices, first, side);
    }

    fn begin(self, out: &mut [f32], rows: usize, columns: usize) -> Self::Product<'_> {
        Product::new(TileUnit::new(self), out, rows, columns)
    }
}
