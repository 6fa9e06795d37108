//! Rows of a table: taken by their numbers, and gradients added to them.
//! Not here: which rows (they come from the host), how they are grouped (`row_groups`).

use candle_core::{CudaDevice, DType, Device, Result, Tensor, bail};

use super::array::{Array, Output, Target};
use super::gradients::fill_with_zeros;
use super::launch::{Grid, Kernel, kernel, launch};
use super::pieces::PIECE;
use super::row_groups::{Groups, Plan, sorted_positions, starts_of_rows};

const SELECT: Kernel = kernel!("rows", "select_rows");
const SELECT_BACKWARD: Kernel = kernel!("rows", "select_rows_backward");
/// For sums in f32 and in bf16.
const ADD_UP_BF16: [Kernel; 2] =
    [kernel!("rows", "add_up_rows_bf16"), kernel!("rows", "add_up_rows_bf16_in_bf16")];
const ADD_UP_F32: [Kernel; 2] =
    [kernel!("rows", "add_up_rows_f32"), kernel!("rows", "add_up_rows_f32_in_bf16")];

/// The rows `ids` of a table, one below the other; a row may be taken several times.
///
/// - `table`: `[rows, width]` bf16; returns `[ids, width]`
///
/// # Errors
/// A row is beyond the table, or the dtype is another.
pub fn select_rows(table: Array, ids: &[u32]) -> Result<Output> {
    let (rows, width) = table.rows();
    let table = table.require("a table", DType::BF16, &[rows, width])?;
    check(ids, rows)?;
    let (n, device) = (ids.len(), table.device());
    let out = Output::new(device, (n, width), DType::BF16)?;
    let ids = upload(ids.to_vec(), device)?;
    let grid = Grid::of_items(n * width.div_ceil(PIECE));
    let arguments =
        [table.into(), Array::of(&ids)?.into(), out.array()?.into(), n.into(), width.into()];
    // SAFETY: `out` has n * width numbers, and every one of the n ids is a row of the table.
    unsafe { launch(device, &SELECT, grid, &arguments)? };
    Ok(out)
}

/// The gradient of [`select_rows`] to a table of `rows` rows: a row's is the sum of those of its copies, added in their order
/// in f32, and zeros where it was not taken.
///
/// - `gradient`: `[ids, width]` bf16; returns `[rows, width]`
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn select_rows_backward(gradient: Array, ids: &[u32], rows: usize) -> Result<Output> {
    let (_, width) = gradient.rows();
    let gradient = gradient.require("rows to add up", DType::BF16, &[ids.len(), width])?;
    check(ids, rows)?;
    let device = gradient.device();
    let out = Output::new(device, (rows, width), DType::BF16)?;
    let table = upload([starts_of_rows(ids, rows), sorted_positions(ids)].concat(), device)?;
    let (starts, order) = (table.narrow(0, 0, rows + 1)?, table.narrow(0, rows + 1, ids.len())?);
    let grid = Grid::of_items(rows * width.div_ceil(PIECE));
    let arguments = [
        gradient.into(),
        Array::of(&starts)?.into(),
        Array::of(&order)?.into(),
        out.array()?.into(),
        rows.into(),
        width.into(),
    ];
    // SAFETY: `out` has rows * width numbers, `starts` rows + 1, from 0 to the number of ids, and `order` holds each row of
    // the gradient once.
    unsafe { launch(device, &SELECT_BACKWARD, grid, &arguments)? };
    Ok(out)
}

/// Adds row `i` of `gradient` to row `ids[i]` of `target`: those of one row are added up in the order of `ids`, where there
/// are many in pieces of 64, then to what is there.
///
/// - `gradient`: `[ids, width]`, bf16 or f32; `target`: `[rows, width]`, zeros in all other rows if it is overwritten
///
/// # Errors
/// A row is beyond the target, shapes or dtypes do not fit.
pub fn accumulate_rows(gradient: Array, ids: &[u32], target: Target) -> Result<()> {
    let ((rows, _), (_, width)) = (target.array.rows(), gradient.rows());
    let (kernels, dtype) = gradient.in_f32_or_bf16([ADD_UP_F32, ADD_UP_BF16]);
    let gradient = gradient.require("rows to add up", dtype, &[ids.len(), width])?;
    check(ids, rows)?;
    let (sums, ()) = target.require("a table's gradient", &[rows, width], [(), ()])?;
    if !target.add {
        fill_with_zeros(sums)?;
    }
    let sums = Target { array: sums, add: true };
    let Plan { whole, pieces, joined } = Plan::of(ids);
    let partial = Output::new(gradient.device(), (pieces.ids.len(), width), DType::F32)?;
    let partial = partial.array()?;
    // SAFETY: `sums` has a row for every id, `partial` one for every piece, and all three arrays the same width.
    unsafe {
        add_up(kernels, gradient, &whole, sums)?;
        add_up(kernels, gradient, &pieces, Target { array: partial, add: false })?;
        add_up(ADD_UP_F32, partial, &joined, sums)
    }
}

/// Starts a kernel that takes rows, their groups, what is added to or overwritten, and the width.
///
/// # Safety
/// The kernels are those for the dtype of `rows`, which has a row for every position in the groups; `out` has the width of `rows`
/// and a row for every id.
unsafe fn add_up(kernels: [Kernel; 2], rows: Array, groups: &Groups, out: Target) -> Result<()> {
    /// Threads of a block: eight columns each.
    const THREADS: usize = 64;
    let n_groups = groups.ids.len();
    if n_groups == 0 {
        return Ok(());
    }
    let (sums, kernel) = out.require("sums of rows", out.array.shape().dims(), kernels)?;
    let (_, width) = rows.rows();
    let Groups { ids, starts, order } = groups;
    let table = upload([&ids[..], starts, order].concat(), rows.device())?;
    let part = |start, len| table.narrow(0, start, len);
    let ids = part(0, n_groups)?;
    let starts = part(n_groups, n_groups + 1)?;
    let order = part(2 * n_groups + 1, order.len())?;
    let columns = width.div_ceil(PIECE * THREADS);
    let grid = Grid { blocks: [n_groups, columns, 1], threads: THREADS, shared: 0 };
    let arguments = [
        rows.into(),
        Array::of(&ids)?.into(),
        Array::of(&starts)?.into(),
        Array::of(&order)?.into(),
        sums.into(),
        width.into(),
        out.add.into(),
    ];
    // SAFETY: the caller's promise; no group is empty.
    unsafe { launch(rows.device(), &kernel, grid, &arguments) }
}

fn check(ids: &[u32], rows: usize) -> Result<()> {
    match ids.iter().find(|&&id| id as usize >= rows) {
        Some(id) => bail!("row {id} is beyond the table of {rows} rows"),
        None => Ok(()),
    }
}

/// Numbers on the device; one where there is none, as nothing cannot be allocated.
fn upload(mut numbers: Vec<u32>, device: &CudaDevice) -> Result<Tensor> {
    if numbers.is_empty() {
        numbers.push(0);
    }
    Tensor::new(numbers, &Device::Cuda(device.clone()))
}
