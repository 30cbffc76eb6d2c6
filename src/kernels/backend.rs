//! The instruction sets that the CPU kernels run on.
//!
//! A model takes a backend when it is made and passes it to every kernel that it runs. So models with different backends can
//! run side by side in one process, on the same threads.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use pulp::{Arch, WithSimd};
use serde::{Deserialize, Serialize};

use super::gemm::{F32Kernel, Gemm, Int8Engine};

static AMX_DISABLED: AtomicBool = AtomicBool::new(false);

/// Makes the [default backend](Backend::default) of this process one without AMX from now on, so that results round as on a
/// CPU without it. A model that exists already keeps its backend.
pub fn disable_amx() {
    AMX_DISABLED.store(true, Ordering::Relaxed);
}

/// Whether [`disable_amx`] was called in this process.
pub fn amx_is_disabled() -> bool {
    AMX_DISABLED.load(Ordering::Relaxed)
}

/// What computes the matrix products of the CPU kernels. Backends with the same one round alike.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MatmulBackend {
    /// f32 instructions, by the `gemm` crate.
    #[default]
    F32,
    /// int8 instructions of Intel's AMX: operands are split into three int8 slices, of whose nine products eight are summed.
    #[serde(rename = "amx")]
    AmxInt8,
}

impl fmt::Display for MatmulBackend {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32 instructions",
            Self::AmxInt8 => "AMX",
        })
    }
}

/// The instruction set of the CPU kernels: that of element-wise loops and that of GEMM.
///
/// A value exists only where the CPU has the instructions. [`Display`](fmt::Display) names it.
#[derive(Clone, Copy)]
pub struct Backend {
    name: &'static str,
    arch: Arch,
    pub(super) gemm: Gemm,
}

const SCALAR: &str = "scalar";
const NEON: &str = "NEON";
const AVX2: &str = "AVX2";
const AVX512: &str = "AVX-512";
const AMX: &str = "AMX";
const INT8_REFERENCE: &str = "scalar reference of AMX";

impl Backend {
    /// The names of all backends, whether or not this CPU has them.
    pub const NAMES: [&str; 6] = [SCALAR, NEON, AVX2, AVX512, AMX, INT8_REFERENCE];

    /// Every backend that this CPU can run, including the two scalar ones.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::scalar()];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        all.extend(Self::avx2());
        // Of two with the same name, the one that models run on stays.
        let widest = Self::widest_f32();
        all.retain(|backend| backend.name != widest.name);
        all.push(widest);
        all.extend(Self::amx());
        all.push(Self::int8_reference());
        all
    }

    /// Only the instructions that every CPU of this architecture has.
    pub fn scalar() -> Self {
        Self {
            name: SCALAR,
            arch: Arch::Scalar,
            gemm: Gemm::F32(F32Kernel::Scalar),
        }
    }

    // AVX2 and FMA, where the CPU has them.
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    fn avx2() -> Option<Self> {
        pulp::x86::V3::try_new().map(|v3| Self {
            name: AVX2,
            arch: Arch::V3(v3),
            gemm: Gemm::F32(F32Kernel::Fma(v3)),
        })
    }

    /// The widest instructions of this CPU, and f32 GEMM.
    pub fn widest_f32() -> Self {
        let arch = Arch::new();
        let name = match arch {
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Arch::V4(_) => AVX512,
            #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
            Arch::V3(_) => AVX2,
            _ if cfg!(target_arch = "aarch64") => NEON,
            _ => SCALAR,
        };
        Self {
            name,
            arch,
            gemm: Gemm::F32(F32Kernel::Widest),
        }
    }

    // AVX-512, and GEMM by AMX.
    fn amx() -> Option<Self> {
        Int8Engine::amx().map(|engine| Self {
            name: AMX,
            arch: Arch::new(),
            gemm: Gemm::Int8(engine),
        })
    }

    /// Scalar, with the GEMM of AMX in plain Rust: the same bits as AMX on any CPU, slowly.
    pub fn int8_reference() -> Self {
        Self {
            name: INT8_REFERENCE,
            arch: Arch::Scalar,
            gemm: Gemm::Int8(Int8Engine::Reference),
        }
    }

    /// What computes this backend's matrix products.
    pub fn matmul(self) -> MatmulBackend {
        match self.gemm {
            Gemm::F32(_) => MatmulBackend::F32,
            Gemm::Int8(_) => MatmulBackend::AmxInt8,
        }
    }

    /// Runs an element-wise kernel.
    #[inline]
    pub(crate) fn run<K: WithSimd>(self, kernel: K) -> K::Output {
        self.arch.dispatch(kernel)
    }
}

/// The fastest that this CPU has, without AMX after [`disable_amx`].
impl Default for Backend {
    fn default() -> Self {
        let amx = if AMX_DISABLED.load(Ordering::Relaxed) {
            None
        } else {
            Self::amx()
        };
        amx.unwrap_or_else(Self::widest_f32)
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl fmt::Debug for Backend {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.debug_tuple("Backend").field(&self.name).finish()
    }
}

/// Runs a test on every backend that this CPU has.
#[cfg(test)]
pub(crate) fn on_every_backend(test: impl Fn(Backend)) {
    for backend in Backend::available() {
        // Shown where the test fails.
        println!("on {backend}");
        test(backend);
        exercised::add(backend.name);
    }
}

/// Prints at the end of a test run how many tests passed on each backend.
#[cfg(test)]
#[allow(unsafe_code, reason = "libc::atexit")]
mod exercised {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::sync::{Mutex, Once, PoisonError};

    use super::Backend;

    // The number of tests that passed, by backend.
    static PASSED: Mutex<BTreeMap<&str, usize>> = Mutex::new(BTreeMap::new());

    pub(super) fn add(name: &'static str) {
        static AT_EXIT: Once = Once::new();
        AT_EXIT.call_once(|| {
            // The test harness has no hook at its end, so this uses that of the process.
            #[cfg(target_os = "linux")]
            {
                extern "C" fn at_exit() {
                    print();
                }
                // SAFETY: `at_exit` takes no arguments, does not unwind, and lives as long as the process.
                unsafe {
                    libc::atexit(at_exit);
                }
            }
        });
        *PASSED
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(name)
            .or_default() += 1;
    }

    pub(super) fn print() {
        let passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |name| format!("{name} {}", passed.get(name).copied().unwrap_or(0));
        // `writeln!` passes the capture of test output, so that it is shown when all tests pass.
        let _ = writeln!(
            std::io::stderr(),
            "checks of kernels, gradients, hooks and sharing that passed, by instruction set: {}",
            Backend::NAMES.map(count).join(", ")
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_backend_has_a_name_of_its_own_and_two_are_everywhere() {
        let available = Backend::available();
        let has = |name: &str| available.iter().filter(|backend| backend.name == name).count();
        assert!(Backend::NAMES.into_iter().all(|name| has(name) <= 1));
        assert_eq!((has(SCALAR), has(INT8_REFERENCE)), (1, 1));
        assert_eq!((has(Backend::default().name), has(Backend::widest_f32().name)), (1, 1));
        // The tests run on the backend that models run on, not on another one with the same instructions.
        let is_widest = |backend: &Backend| matches!(backend.gemm, Gemm::F32(F32Kernel::Widest));
        assert!(available.iter().any(is_widest));
        // Only on Linux is this printed at the end of the process.
        if cfg!(not(target_os = "linux")) {
            for backend in &available {
                exercised::add(backend.name);
            }
            exercised::print();
        }
    }

    #[test]
    fn run_folders_hold_the_matmul_backend_as_f32_or_amx() {
        for (backend, json) in [(MatmulBackend::F32, "\"f32\""), (MatmulBackend::AmxInt8, "\"amx\"")] {
            assert_eq!(serde_json::to_string(&backend).unwrap(), json);
            assert_eq!(serde_json::from_str::<MatmulBackend>(json).unwrap(), backend);
        }
    }
}
