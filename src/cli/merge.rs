//! `othink merge`: an adapter and the model that it is for as one model folder.
//! Not here: what merging computes (`ops`), how a model folder is written (`model::save`).

use std::path::PathBuf;

use anyhow::Context;
use candle_core::{DType, Device, Tensor};

use super::{ExitStatus, Printer, UsageError};
use crate::model::adapter::base_of;
use crate::model::files::{ADAPTER_CONFIG, ModelFiles};
use crate::model::open::open;
use crate::model::parameters::Trained;
use crate::model::save::{MAX_SHARD_BYTES, SideFiles, save};
use crate::model::weights::stored_dtype;
use crate::model::{device, source};
use crate::out_file::with_ending;

const EXAMPLES: &str = "\
Examples:
  othink merge --adapter runs/lora/checkpoints/step-000100 --out merged
  othink merge --adapter adapter --model Qwen/Qwen2-VL-2B-Instruct --dtype bf16 --out merged";

/// Write an adapter and the model that it is for as one model folder.
///
/// The weights are W + s B A, summed in f32 on the CPU, which has to hold the whole model in f32.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The adapter's folder: a checkpoint of a run with [model.lora], or one that PEFT wrote
    #[arg(long, value_name = "DIR")]
    adapter: PathBuf,
    /// The model that it is for: a folder, a hub id or `tiny` [default: what the adapter names]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
    /// The folder to write, which must not be there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number format of the written weights: f32, bf16 or f16 [default: that of the model's files]
    #[arg(long, value_name = "TYPE")]
    dtype: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// The adapter or the model cannot be used, or the folder cannot be written.
pub fn run(args: &Args, printer: &mut Printer) -> anyhow::Result<ExitStatus> {
    let Args { adapter, out, .. } = args;
    let unfinished = with_ending(out, ".tmp");
    for (path, hint) in [
        (out, "name a new folder"),
        (&unfinished, "a merge that was cut off left it: remove it, or name another folder"),
    ] {
        if path.exists() {
            let problem = format!("--out {}: {} is there already", out.display(), path.display());
            return Err(UsageError::new(problem, hint).into());
        }
    }
    let files = files(args)?;
    let dtype = match &args.dtype {
        Some(name) => device::dtype(name, &Device::Cpu)?,
        None => stored_dtype(&files)?,
    };
    let merged = open(&files, DType::F32, &Device::Cpu, Trained::Nothing)?.merged()?;
    let parameters = merged.parameters().in_hub_order();
    let tensors: Vec<(String, Tensor)> =
        parameters.map(|p| (p.name().to_owned(), p.value().clone())).collect();
    let written = save(&unfinished, &tensors, dtype, &SideFiles::read(&files)?, MAX_SHARD_BYTES);
    let written = written.map_err(anyhow::Error::from).and_then(|()| {
        std::fs::rename(&unfinished, out)
            .with_context(|| format!("cannot rename {} to {}", unfinished.display(), out.display()))
    });
    if let Err(error) = written {
        drop(std::fs::remove_dir_all(&unfinished)); // the error that is reported is the first one
        return Err(error);
    }
    printer.line(format!(
        "{} and its model, merged in {}: {}",
        adapter.display(),
        dtype.as_str(),
        out.display()
    ))?;
    Ok(ExitStatus::Done)
}

/// The adapter's files over the model's.
fn files(args: &Args) -> anyhow::Result<ModelFiles> {
    let Args { adapter, model, .. } = args;
    if !adapter.join(ADAPTER_CONFIG).is_file() {
        let problem = format!("--adapter {}: no {ADAPTER_CONFIG} is in it", adapter.display());
        let hint =
            "give a folder that PEFT or a run with [model.lora] wrote; a model needs no merging";
        return Err(UsageError::new(problem, hint).into());
    }
    let Some(model) = model else { return Ok(source::in_folder(adapter)?) };
    let named = base_of(&ModelFiles::Folder(adapter.clone()))?;
    if named != *model {
        tracing::warn!("the adapter was made for {named}, and is merged with {model}");
    }
    Ok(ModelFiles::adapter(adapter.clone(), source::resolve(model)?))
}
