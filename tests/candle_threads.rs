//! candle's element-wise operations stay on one thread for users of the library too. The test is a process of its own, because
//! the setting is one of the process and has to be made while there is no other thread.

use std::process::Command;

use candle_core::utils::barrier_pool;
use loopscope::Device;
use loopscope::model::{Model, ModelConfig, Weights};

// In a child process: the number of threads that candle must have started.
const EXPECTED: &str = "EXPECTED_CANDLE_THREADS";

fn main() {
    if !cfg!(any(target_os = "linux", windows)) {
        return;
    }
    if let Ok(expected) = std::env::var(EXPECTED) {
        let config = ModelConfig::new(1, 2, 8, 2);
        let weights = Weights::init(&config, 5, 1, &Device::Cpu).unwrap();
        Model::new(config, 5, &weights).unwrap();
        assert_eq!(barrier_pool().n_workers().to_string(), expected);
        return;
    }
    let expect = |threads: &str, variables: &[(&str, &str)]| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        // By itself candle would start two threads beside the first, on any machine.
        child.env_remove("CANDLE_NUM_THREADS").env("RAYON_NUM_THREADS", "3");
        let output = child.env(EXPECTED, threads).envs(variables.iter().copied()).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    expect("0", &[]);
    // What the user sets is kept.
    expect("1", &[("CANDLE_NUM_THREADS", "2")]);
}
