//! Which instructions the CPU kernels use.
//!
//! A model takes its backend when it is made and hands it to every kernel that it runs, so models of different backends can
//! run side by side in one process, on the same threads.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use pulp::Arch;

use super::gemm::{F32Kernel, Gemm, Int8Engine, Products};

static PORTABLE: AtomicBool = AtomicBool::new(false);

/// Makes the [default backend](Backend::default) of this process one without AMX from now on, so that results round as on a
/// CPU without it. A model that exists already keeps the backend that it was made with.
pub fn be_portable() {
    PORTABLE.store(true, Ordering::Relaxed);
}

/// The GEMM that the default backend of this process computes with.
pub fn products() -> Products {
    Backend::default().products()
}

/// The instruction set of the CPU kernels: that of element-wise loops and that of GEMM.
///
/// A value exists only where the CPU has the instructions. [`Display`](fmt::Display) names it.
#[derive(Clone, Copy)]
pub struct Backend {
    name: &'static str,
    pub(super) arch: Arch,
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

    /// Every backend that this CPU can run, the two without vector instructions included.
    pub fn available() -> Vec<Self> {
        let mut all = vec![Self::scalar()];
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        all.extend(Self::avx2());
        // Where two have one name, the one that models run on is kept.
        let widest = Self::widest_f32();
        all.retain(|backend| backend.name != widest.name);
        all.push(widest);
        all.extend(Self::amx());
        all.push(Self::int8_reference());
        all
    }

    /// No vector instructions but those that the compiler may use on every CPU of this architecture.
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

    /// Scalar, and the GEMM that AMX computes in plain Rust: its results, bit for bit, on any CPU, slowly.
    pub fn int8_reference() -> Self {
        Self {
            name: INT8_REFERENCE,
            arch: Arch::Scalar,
            gemm: Gemm::Int8(Int8Engine::Reference),
        }
    }

    /// What this backend's products of matrices round like.
    pub fn products(self) -> Products {
        match self.gemm {
            Gemm::F32(_) => Products::F32,
            Gemm::Int8(_) => Products::Amx,
        }
    }
}

/// The fastest that this CPU has, without AMX after [`be_portable`].
impl Default for Backend {
    fn default() -> Self {
        let amx = if PORTABLE.load(Ordering::Relaxed) {
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
pub(in super::super) fn on_every_backend(test: impl Fn(Backend)) {
    for backend in Backend::available() {
        // Shown where the test fails.
        println!("on {backend}");
        test(backend);
        exercised::add(backend.name);
    }
}

/// Says at the end of a test run how many of its tests passed on each backend.
#[cfg(test)]
mod exercised {
    use std::collections::BTreeMap;
    use std::io::Write;
    use std::sync::{Mutex, Once, PoisonError};

    use super::Backend;

    // What passed, by backend.
    static PASSED: Mutex<BTreeMap<&str, usize>> = Mutex::new(BTreeMap::new());

    pub(super) fn add(name: &'static str) {
        static AT_EXIT: Once = Once::new();
        AT_EXIT.call_once(|| {
            // The test harness has no hook at its end; the process has.
            #[cfg(target_os = "linux")]
            {
                extern "C" fn at_exit() {
                    say();
                }
                // SAFETY: the function takes nothing, unwinds nowhere, and lives as long as the process.
                #[allow(unsafe_code)]
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

    pub(super) fn say() {
        let passed = PASSED.lock().unwrap_or_else(PoisonError::into_inner);
        let count = |name| format!("{name} {}", passed.get(name).copied().unwrap_or(0));
        // Past the capture of test output, so that it is seen where all is well.
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
        // What models run on is what is tested, and not another way to the same instructions.
        let is_widest = |backend: &Backend| matches!(backend.gemm, Gemm::F32(F32Kernel::Widest));
        assert!(available.iter().any(is_widest));
        // Elsewhere nothing is said at the end of the process.
        if cfg!(not(target_os = "linux")) {
            for backend in &available {
                exercised::add(backend.name);
            }
            exercised::say();
        }
    }
}
