//! candle's element-wise operations stay on one thread for users of the library too. The test is a process of its own, as the
//! setting is one of the process and has to be made while there is no other thread.

use std::process::Command;

use candle_core::utils::barrier_pool;
use loopscope::Device;
use loopscope::model::{Model, ModelConfig, Weights};

const CHILD: &str = "CANDLE_THREADS_OF_A_CHILD";

fn main() {
    if !cfg!(any(target_os = "linux", windows)) {
        return;
    }
    if std::env::var_os(CHILD).is_some() {
        let config = ModelConfig::new(1, 2, 8, 2);
        let weights = Weights::init(&config, 5, 1, &Device::Cpu).unwrap();
        Model::new(config, 5, &weights).unwrap();
        print!("{}", barrier_pool().n_workers());
        return;
    }
    // candle would start two threads beside the first, on any machine.
    let workers = |variables: &[(&str, &str)]| {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.env_remove("CANDLE_NUM_THREADS").env("RAYON_NUM_THREADS", "3");
        let output = child.env(CHILD, "").envs(variables.iter().copied()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(workers(&[]), "0");
    assert_eq!(workers(&[("CANDLE_NUM_THREADS", "2")]), "1", "what the user sets stays");
}
