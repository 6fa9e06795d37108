//! What common cards reach by their makers' sheets, and what share of that this program was measured to reach.
//!
//! Sheets give what a chip could do at its highest clock; products and copies of real size reach less, and the stages of an
//! update less again. Both shares are of an H200, the one card that was measured, and are taken for every card: they are the
//! means of the `learn` stage (without, with `mlp` and with `full` checkpointing) of
//! `benches/results/gpu-check-2026-11-27-nvidia-h200-half-layers.jsonl`, and the `decoding` stage of `...-h200-decoding.jsonl`.
//! Not here: ceilings that were measured on a machine (`ceilings`), what they make of an update (`gpu_time`).

use super::ceilings::Ceilings;
use crate::config::CheckpointingChoice;

/// Of a sheet's products: 781.0 of 989.5 TFLOP/s, a bf16 product of side 8192.
const PRODUCTS_OF_SHEET: f64 = 0.789;
/// Of a sheet's bandwidth: 4.180 of 4.8 TB/s, a copy of 2 GB.
const COPYING_OF_SHEET: f64 = 0.871;
/// Of the product's speed: scoring without a backward pass (0.619 to 0.672).
pub(super) const FORWARD: f64 = 0.648;
/// Of the copy's speed: the optimiser's step (0.780 to 0.803).
pub(super) const OPTIMIZER: f64 = 0.790;
/// The same where weights are rounded by chance instead of having masters (0.673 to 0.685).
pub(super) const OPTIMIZER_WITHOUT_MASTERS: f64 = 0.679;
/// Of the copy's speed: steps of decoding of 64 rows.
pub(super) const DECODING: f64 = 0.265;
/// Bytes a second over the bus, both ways together: the step with moments and masters in the host's memory moved 0.117 TB/s,
/// 24 of every 34 bytes over the bus of an H200's machine (PCI Express 5.0).
pub(super) const BUS: f64 = 0.117e12 * 24.0 / 34.0;

/// Of the product's speed: scoring and its backward pass, what is computed again counted as computed.
pub(super) fn learning(checkpointing: CheckpointingChoice) -> f64 {
    match checkpointing {
        CheckpointingChoice::None => 0.587,
        CheckpointingChoice::Mlp => 0.614,
        CheckpointingChoice::Full => 0.594,
    }
}

/// A card by its sheet.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Card {
    /// What `--gpu` calls it.
    pub key: &'static str,
    /// What the driver calls it, under one or several names.
    names: &'static [&'static str],
    /// Its memory as it is named; GiB, but for what error correction and the driver keep of it.
    pub gib: u64,
    /// bf16 products of the tensor cores, without sparsity, summed in f32; TFLOP/s.
    product_tflops: f64,
    /// Bandwidth of its memory, GB/s.
    gb_per_s: f64,
}

/// The table. Sources are NVIDIA's own; what they give with sparsity is halved.
#[rustfmt::skip]
static CARDS: [Card; 16] = [
    // "NVIDIA A100 Tensor Core GPU" data sheet: BFLOAT16 312; 1,555 (40 GB), 1,935 (80 GB, PCIe) and 2,039 GB/s (80 GB, SXM).
    Card { key: "a100-40gb", names: &["NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB"], gib: 40, product_tflops: 312.0, gb_per_s: 1555.0 },
    Card { key: "a100-80gb", names: &["NVIDIA A100-SXM4-80GB"], gib: 80, product_tflops: 312.0, gb_per_s: 2039.0 },
    Card { key: "a100-80gb-pcie", names: &["NVIDIA A100 80GB PCIe"], gib: 80, product_tflops: 312.0, gb_per_s: 1935.0 },
    // "NVIDIA H100 Tensor Core GPU" data sheet: 1,979 and 1,513 with sparsity; 3.35 and 2 TB/s.
    Card { key: "h100-80gb", names: &["NVIDIA H100 80GB HBM3"], gib: 80, product_tflops: 989.5, gb_per_s: 3350.0 },
    Card { key: "h100-80gb-pcie", names: &["NVIDIA H100 PCIe"], gib: 80, product_tflops: 756.5, gb_per_s: 2000.0 },
    // "NVIDIA H200 Tensor Core GPU" data sheet: 1,979 with sparsity, 4.8 TB/s.
    Card { key: "h200", names: &["NVIDIA H200"], gib: 141, product_tflops: 989.5, gb_per_s: 4800.0 },
    // "NVIDIA DGX B200" data sheet, an eighth of its eight GPUs: 72 PFLOP/s in FP8 with sparsity, a quarter of it in bf16
    // without; 1,440 GB, 64 TB/s.
    Card { key: "b200", names: &["NVIDIA B200"], gib: 180, product_tflops: 2250.0, gb_per_s: 8000.0 },
    // "NVIDIA L4 Tensor Core GPU" data sheet: 242 with sparsity, 300 GB/s.
    Card { key: "l4", names: &["NVIDIA L4"], gib: 24, product_tflops: 121.0, gb_per_s: 300.0 },
    // "NVIDIA L40S" data sheet: BFLOAT16 362.05, 864 GB/s.
    Card { key: "l40s", names: &["NVIDIA L40S"], gib: 48, product_tflops: 362.05, gb_per_s: 864.0 },
    // "NVIDIA A10 Tensor Core GPU" data sheet: BFLOAT16 125, 600 GB/s.
    Card { key: "a10", names: &["NVIDIA A10"], gib: 24, product_tflops: 125.0, gb_per_s: 600.0 },
    // "NVIDIA A10G" data sheet, as Amazon publishes it for EC2 G5: BFLOAT16 70, 600 GB/s.
    Card { key: "a10g", names: &["NVIDIA A10G"], gib: 24, product_tflops: 70.0, gb_per_s: 600.0 },
    // "NVIDIA Ampere GA102 GPU Architecture", peak BF16 with FP32 accumulate: appendix A (RTX 3090) 71, 936 GB/s; appendix C
    // (RTX A6000) 154.8, 768 GB/s.
    Card { key: "rtx-3090", names: &["NVIDIA GeForce RTX 3090"], gib: 24, product_tflops: 71.0, gb_per_s: 936.0 },
    Card { key: "rtx-a6000", names: &["NVIDIA RTX A6000"], gib: 48, product_tflops: 154.8, gb_per_s: 768.0 },
    // "NVIDIA Ada GPU Architecture", the same line: RTX 4090 165.2, 1,008 GB/s; RTX 6000 Ada Generation 364.2, 960 GB/s.
    Card { key: "rtx-4090", names: &["NVIDIA GeForce RTX 4090"], gib: 24, product_tflops: 165.2, gb_per_s: 1008.0 },
    Card { key: "rtx-6000-ada", names: &["NVIDIA RTX 6000 Ada Generation"], gib: 48, product_tflops: 364.2, gb_per_s: 960.0 },
    // "NVIDIA RTX Blackwell GPU Architecture", the same line: RTX 5090 209.5, 1,792 GB/s.
    Card { key: "rtx-5090", names: &["NVIDIA GeForce RTX 5090"], gib: 32, product_tflops: 209.5, gb_per_s: 1792.0 },
];

impl Card {
    /// The card that a driver calls so.
    pub(super) fn of_driver(name: &str) -> Option<&'static Self> {
        CARDS.iter().find(|card| card.names.contains(&name))
    }

    /// The card that a person calls so: by its key, or as the driver does; case does not count.
    ///
    /// # Errors
    /// No card of the table; the message lists them.
    pub fn named(name: &str) -> Result<&'static Self, String> {
        let is_meant = |known: &&str| known.eq_ignore_ascii_case(name);
        let mut cards = CARDS.iter();
        let card = cards.find(|card| is_meant(&card.key) || card.names.iter().any(is_meant));
        card.ok_or_else(|| {
            let keys: Vec<&str> = CARDS.iter().map(|card| card.key).collect();
            format!("expected one of {}", keys.join(", "))
        })
    }

    /// What the driver calls it.
    pub fn name(&self) -> &'static str {
        self.names[0]
    }

    /// What it is taken to reach.
    pub(super) fn ceilings(&self) -> Ceilings {
        Ceilings {
            product_tflops: self.product_tflops * PRODUCTS_OF_SHEET,
            copy_tb_per_s: self.gb_per_s / 1e3 * COPYING_OF_SHEET,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// A figure of a stage, if that was measured.
    type Figure<'a> = &'a dyn Fn(&str, &str) -> Option<f64>;

    /// The figures of a stage of a run.
    fn figures(run: &str, stage: &str) -> Value {
        let file = format!("benches/results/gpu-check-2026-11-27-nvidia-h200-{run}.jsonl");
        let text = std::fs::read_to_string(file).unwrap();
        let mut lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines.find(|record| record["stage"] == stage).unwrap()["figures"].take()
    }

    /// The mean of the `learn` stage, over some kinds of checkpointing.
    fn mean(kinds: &[&str], of: &dyn Fn(Figure<'_>) -> Option<f64>) -> f64 {
        let learn = figures("half-layers", "learn");
        let value =
            |kind: &&str| of(&|stage, name| learn[format!("{kind}_{stage}")][name].as_f64());
        let values: Vec<f64> = kinds.iter().map(|kind| value(kind).unwrap()).collect();
        values.iter().sum::<f64>() / values.len() as f64
    }

    #[test]
    fn shares_are_the_means_of_what_was_measured() {
        const ALL: [&str; 3] = ["none", "mlp", "full"];
        let product = |figure: Figure<'_>| figure("ceilings", "product, TFLOP/s");
        let copy = |figure: Figure<'_>| figure("ceilings", "copy, TB/s");
        let computed = |kinds: &[&str], stage: &str| {
            mean(kinds, &|of| Some(of(stage, "performed, TFLOP/s")? / product(of)?))
        };
        let moved = |stage: &str| mean(&ALL, &|of| Some(of(stage, "traffic, TB/s")? / copy(of)?));
        let decoding = figures("decoding", "decoding");
        let decoded = |stage: &str, name: &str| decoding[stage][name].as_f64().unwrap();
        let decoding =
            decoded("8x8_decoding", "traffic, TB/s") / decoded("8x8_ceilings", "copy, TB/s");
        let h200 = Card::named("h200").unwrap();
        for (assumed, measured) in [
            (PRODUCTS_OF_SHEET, mean(&ALL, &product) / h200.product_tflops),
            (COPYING_OF_SHEET, mean(&ALL, &copy) * 1e3 / h200.gb_per_s),
            (FORWARD, computed(&ALL, "reference")),
            (DECODING, decoding),
            (learning(CheckpointingChoice::None), computed(&["none"], "policy")),
            (learning(CheckpointingChoice::Mlp), computed(&["mlp"], "policy")),
            (learning(CheckpointingChoice::Full), computed(&["full"], "policy")),
            (OPTIMIZER, moved("optimizer")),
            (OPTIMIZER_WITHOUT_MASTERS, moved("bf16_masters")),
            (BUS / 1e12 * 34.0 / 24.0, mean(&ALL, &|of| of("offload", "traffic, TB/s"))),
        ] {
            assert!((assumed / measured - 1.0).abs() < 0.002, "{assumed}, measured {measured}");
        }
    }

    #[test]
    fn cards_are_found_by_key_and_by_the_drivers_name_and_listed_where_none_is_meant() {
        for card in &CARDS {
            assert_eq!(Card::named(card.key), Ok(card));
            assert!(card.names.iter().all(|name| Card::of_driver(name) == Some(card)));
        }
        assert_eq!(Card::named("nvidia h200").unwrap().key, "h200");
        let told = Card::named("h300").unwrap_err();
        assert!(told.starts_with("expected one of a100-40gb, ") && told.ends_with("rtx-5090"));
        assert_eq!(Card::of_driver("Tesla T4"), None);
    }
}
