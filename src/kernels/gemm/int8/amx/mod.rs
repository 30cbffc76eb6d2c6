//! AMX, the matrix unit of Intel's server CPUs (Xeons since 2023), with AVX-512 around it.

mod block;
mod pack;

use std::arch::x86_64::{__cpuid, __cpuid_count};
use std::sync::OnceLock;

use pulp::x86::V4;

use super::super::Matrix;
use super::panels::{Side, Tile, Units};

/// A product on AMX.
pub(super) type Product<'a> = block::Product<'a, block::Configured>;

/// AMX, which this CPU has and which the system lets this process use; and AVX-512.
#[derive(Clone, Copy)]
pub(in super::super::super) struct Unit(V4);

impl Unit {
    pub(super) fn find() -> Option<Self> {
        static UNIT: OnceLock<Option<Unit>> = OnceLock::new();
        *UNIT.get_or_init(|| {
            const INT8: u32 = 1 << 25;
            const TILES: u32 = 1 << 24;
            // Linux wants to be asked once a process, before any thread uses it.
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
            // SAFETY: this call reads its numbers and nothing else.
            #[allow(unsafe_code)]
            let refused = unsafe { libc::syscall(libc::SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) };
            (refused == 0).then_some(Self(avx512))
        })
    }

    /// Packs matrices `[outer, depth]` side by side from row `first` on, one micro-panel for each of `units`.
    pub(super) fn pack(self, tiles: &mut [Tile], units: &mut [Units], matrices: &[Matrix], first: usize, side: Side) {
        pack::pack(self.0, tiles, units, matrices, first, side);
    }
}
