//! Rows of a table: taken by their numbers, and gradients added to them.
//! Not here: which rows (they come from the host, where their numbers are checked and grouped).

use candle_core::{CudaDevice, DType, Device, Result, Tensor, bail};

use super::array::{Array, Output, Target};
use super::gradients::fill_with_zeros;
use super::launch::{Grid, Kernel, kernel, launch};
use super::pieces::PIECE;

const SELECT: Kernel = kernel!("rows", "select_rows");
const ADD_UP_TO_BF16: Kernel = kernel!("rows", "add_up_rows_to_bf16");
const ACCUMULATE_BF16: Kernel = kernel!("rows", "accumulate_rows_bf16");
const ACCUMULATE_F32: Kernel = kernel!("rows", "accumulate_rows_f32");

/// The rows `ids` of a table, one below the other; a row may be taken several times.
///
/// - `table`: `[rows, width]` bf16; returns `[ids, width]`
///
/// # Errors
/// A row is beyond the table, or the dtype is another.
pub fn select_rows(table: Array, ids: &[u32]) -> Result<Output> {
    let (rows, width) = table.rows();
    let table = table.expect("a table", DType::BF16, &[rows, width])?;
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
    let gradient = gradient.expect("rows to add up", DType::BF16, &[ids.len(), width])?;
    check(ids, rows)?;
    let out = Output::new(gradient.device(), (rows, width), DType::BF16)?;
    fill_with_zeros(out.array()?)?;
    // SAFETY: `out` has rows * width numbers, and every id is one of its rows.
    unsafe { add_up(&ADD_UP_TO_BF16, gradient, ids, out.array()?)? };
    Ok(out)
}

/// Adds row `i` of `gradient` to row `ids[i]` of `target`, those of one row in the order of `ids`.
///
/// - `gradient`: `[ids, width]`, bf16 or f32; `target`: `[rows, width]`, zeros in all other rows if it is overwritten
///
/// # Errors
/// A row is beyond the target, shapes or dtypes do not fit.
pub fn accumulate_rows(gradient: Array, ids: &[u32], target: Target) -> Result<()> {
    let ((rows, _), (_, width)) = (target.array.rows(), gradient.rows());
    let sums = target.array.expect("a table's gradient", DType::F32, &[rows, width])?;
    let (kernel, dtype) = match gradient.dtype() {
        DType::BF16 => (ACCUMULATE_BF16, DType::BF16),
        _ => (ACCUMULATE_F32, DType::F32),
    };
    let gradient = gradient.expect("rows to add up", dtype, &[ids.len(), width])?;
    check(ids, rows)?;
    if !target.add {
        fill_with_zeros(sums)?;
    }
    // SAFETY: `sums` has rows * width numbers, and every id is one of its rows.
    unsafe { add_up(&kernel, gradient, ids, sums) }
}

/// Starts a kernel that takes rows, their groups, what is added to, and the width.
///
/// # Safety
/// The kernel is one of those for the two dtypes; `out` has the width of `rows` and a row for every id.
unsafe fn add_up(kernel: &Kernel, rows: Array, ids: &[u32], out: Array) -> Result<()> {
    /// Threads of a block: eight columns each.
    const THREADS: usize = 64;
    let (_, width) = rows.rows();
    let groups = Groups::of(ids);
    let n_groups = groups.ids.len();
    let table = upload([groups.ids, groups.starts, groups.order].concat(), rows.device())?;
    let part = |start, len| table.narrow(0, start, len);
    let group_ids = part(0, n_groups)?;
    let starts = part(n_groups, n_groups + 1)?;
    let order = part(2 * n_groups + 1, ids.len())?;
    let columns = width.div_ceil(PIECE * THREADS);
    let grid = Grid { blocks: [n_groups, columns, 1], threads: THREADS, shared: 0 };
    let arguments = [
        rows.into(),
        Array::of(&group_ids)?.into(),
        Array::of(&starts)?.into(),
        Array::of(&order)?.into(),
        out.into(),
        width.into(),
    ];
    // SAFETY: the caller's promise; the groups hold each of the rows' numbers once, and no group is empty.
    unsafe { launch(rows.device(), kernel, grid, &arguments) }
}

/// Positions in a list of row numbers, those of one row together.
struct Groups {
    /// The rows that occur, ascending.
    ids: Vec<u32>,
    /// Where in `order` each row's positions begin, and the end of the last.
    starts: Vec<u32>,
    /// Positions in the list, ascending within a row.
    order: Vec<u32>,
}

impl Groups {
    fn of(list: &[u32]) -> Self {
        let mut order: Vec<u32> = (0..list.len() as u32).collect();
        order.sort_by_key(|&position| list[position as usize]); // stable
        let (mut ids, mut starts): (Vec<u32>, Vec<u32>) = (Vec::new(), Vec::new());
        for (place, &position) in (0..).zip(&order) {
            let id = list[position as usize];
            if ids.last() != Some(&id) {
                ids.push(id);
                starts.push(place);
            }
        }
        starts.push(order.len() as u32);
        Self { ids, starts, order }
    }
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
