//! Compiles each `kernels/*.cu` with nvcc into one fatbin: machine code for every architecture of [`ARCHITECTURES`], and
//! PTX for what comes after them. A kernel that spills registers fails the build.
//! Not here: how a fatbin is loaded (`src/launch.rs`).
#![expect(clippy::expect_used, clippy::panic, reason = "a build script reports through its panics")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compute capabilities with machine code of their own; `OTHINK_CUDA_ARCHITECTURES=90` builds for some alone.
const ARCHITECTURES: &str = "80,89,90,100,120";

fn main() {
    println!("cargo::rerun-if-changed=kernels");
    for variable in ["CUDA_HOME", "NVCC", "OTHINK_CUDA_ARCHITECTURES"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut sources: Vec<PathBuf> = std::fs::read_dir("kernels")
        .expect("the folder kernels")
        .map(|entry| entry.expect("an entry of kernels").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cu"))
        .collect();
    sources.sort();
    std::thread::scope(|scope| {
        for source in &sources {
            scope.spawn(|| compile(source, &out));
        }
    });
}

fn compile(source: &Path, out: &Path) {
    let name = source.file_stem().expect("a file name");
    let fatbin = out.join(name).with_extension("fatbin");
    let architectures = env::var("OTHINK_CUDA_ARCHITECTURES");
    let mut nvcc = Command::new(nvcc());
    nvcc.args(["-fatbin", "-std=c++17", "-O3", "-Xptxas", "-v"]);
    for capability in architectures.as_deref().unwrap_or(ARCHITECTURES).split(',') {
        nvcc.arg("-gencode").arg(format!("arch=compute_{capability},code=sm_{capability}"));
    }
    nvcc.args(["-gencode", "arch=compute_80,code=compute_80"]);
    let output = nvcc.arg(source).arg("-o").arg(&fatbin).output();
    let output = output.unwrap_or_else(|error| {
        panic!("nvcc cannot be run ({error}): install a CUDA toolkit, or set CUDA_HOME or NVCC")
    });
    let report = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "nvcc, {}:\n{report}", source.display());
    std::fs::write(out.join(name).with_extension("ptxas.txt"), report.as_bytes())
        .expect("ptxas's report can be written");
    if let Some(spill) = report.lines().find(|line| spills(line)) {
        panic!("{} spills registers: {}", source.display(), spill.trim());
    }
}

/// Whether a line of ptxas's report tells of spilled registers: `0 bytes stack frame, 8 bytes spill stores, ...`.
fn spills(line: &str) -> bool {
    line.split(", ").any(|part| part.contains("bytes spill") && !part.trim().starts_with("0 "))
}

fn nvcc() -> PathBuf {
    if let Some(nvcc) = env::var_os("NVCC") {
        return nvcc.into();
    }
    match env::var_os("CUDA_HOME").map(|home| PathBuf::from(home).join("bin/nvcc")) {
        Some(nvcc) if nvcc.exists() => nvcc,
        _ => "nvcc".into(),
    }
}
