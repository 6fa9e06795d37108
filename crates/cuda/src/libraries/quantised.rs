//! Candle's launches of quantised kernels and mixtures of experts, left out of the program: a model here is neither. Their
//! compiled code is 37 MB and registers itself with a library of CUDA's own (`libcudart`) when a program starts. Where these
//! names are defined, the linker takes none of it; `.ci/run cuda` finds a name that is missing here.
//!
//! Not here: kernels that are used.

/// Ends the program: candle's launches have no way to fail.
#[expect(clippy::print_stderr, reason = "the last word of a program that ends here")]
fn left_out(name: &str) -> ! {
    eprintln!("{name} is called, but candle's quantised kernels are not in this program");
    std::process::abort()
}

macro_rules! left_out {
    ($($name:ident)*) => {
        $(
            // SAFETY: the name is that of candle's launch, whose arguments are not looked at. Nothing else of that name is
            // linked.
            #[unsafe(no_mangle)]
            extern "C" fn $name() {
                left_out(stringify!($name))
            }
        )*
    };
}

// candle-kernels, src/ffi.rs
left_out! {
    moe_gemm_wmma moe_gemm_gguf moe_gemm_gguf_prefill launch_mmvq_gguf_q4_0_bf16_plain
    launch_mmvq_gguf_q4_1_bf16_plain launch_mmvq_gguf_q5_0_bf16_plain
    launch_mmvq_gguf_q5_1_bf16_plain launch_mmvq_gguf_q8_0_bf16_plain
    launch_mmvq_gguf_q2_k_bf16_plain launch_mmvq_gguf_q3_k_bf16_plain
    launch_mmvq_gguf_q4_k_bf16_plain launch_mmvq_gguf_q5_k_bf16_plain
    launch_mmvq_gguf_q6_k_bf16_plain launch_mmvq_gguf_q4_0_f32_plain
    launch_mmvq_gguf_q4_1_f32_plain launch_mmvq_gguf_q5_0_f32_plain launch_mmvq_gguf_q5_1_f32_plain
    launch_mmvq_gguf_q8_0_f32_plain launch_mmvq_gguf_q2_k_f32_plain launch_mmvq_gguf_q3_k_f32_plain
    launch_mmvq_gguf_q4_k_f32_plain launch_mmvq_gguf_q5_k_f32_plain launch_mmvq_gguf_q6_k_f32_plain
    launch_mmvq_gguf_q4_0_f16_plain launch_mmvq_gguf_q4_1_f16_plain launch_mmvq_gguf_q5_0_f16_plain
    launch_mmvq_gguf_q5_1_f16_plain launch_mmvq_gguf_q8_0_f16_plain launch_mmvq_gguf_q2_k_f16_plain
    launch_mmvq_gguf_q3_k_f16_plain launch_mmvq_gguf_q4_k_f16_plain launch_mmvq_gguf_q5_k_f16_plain
    launch_mmvq_gguf_q6_k_f16_plain launch_mmvq_gguf_quantize_q8_1_bf16
    launch_mmvq_gguf_quantize_q8_1_f16 launch_mmvq_gguf_quantize_q8_1_f32
    launch_mmq_quantize_q8_1_D4 launch_mmq_quantize_q8_1_DS4 launch_mmq_quantize_q8_1_D2S6
    launch_mmq_gguf_q4_0 launch_mmq_gguf_q4_1 launch_mmq_gguf_q5_0 launch_mmq_gguf_q5_1
    launch_mmq_gguf_q8_0 launch_mmq_gguf_q2_k launch_mmq_gguf_q3_k launch_mmq_gguf_q4_k
    launch_mmq_gguf_q5_k launch_mmq_gguf_q6_k
}
