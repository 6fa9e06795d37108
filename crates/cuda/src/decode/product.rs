//! Products of few rows with weights that are read once: linear maps in a step of decoding.
//! Not here: products of many rows (`product`).

use candle_core::{CudaDevice, DType, Device, Result, Tensor, bail};

use crate::array::Array;
use crate::launch::{Argument, Grid, Kernel, kernel, launch_early};

/// For 16, 32 and 64 rows at a time: with 64 columns of a block, with 128, and with 64 of each map of a pair.
const KERNELS: [(usize, [Kernel; 3]); 3] = [
    (
        16,
        [
            kernel!("decode_product", "decode_product_16_narrow"),
            kernel!("decode_product", "decode_product_16_wide"),
            kernel!("decode_product", "decode_product_16_pair"),
        ],
    ),
    (
        32,
        [
            kernel!("decode_product", "decode_product_32_narrow"),
            kernel!("decode_product", "decode_product_32_wide"),
            kernel!("decode_product", "decode_product_32_pair"),
        ],
    ),
    (
        64,
        [
            kernel!("decode_product", "decode_product_64_narrow"),
            kernel!("decode_product", "decode_product_64_wide"),
            kernel!("decode_product", "decode_product_64_pair"),
        ],
    ),
];
/// Most rows that a block makes.
const MAX_ROWS: usize = 64;
/// Numbers of `inner` that a stage of the kernel's pipeline holds, and its stages.
const STEP: usize = 64;
const STAGES: usize = 4;
/// Blocks that share a product, one on each multiprocessor of a large card. Fixed, because the order of additions, and with it
/// the last bit, follows from it.
const BLOCKS: usize = 132;
/// Fewer steps would fill no pipeline.
const LEAST_STEPS: usize = 4;

/// One of the linear maps of the same rows.
#[derive(Clone, Copy)]
pub struct RowMap<'a> {
    /// `[out, in]` bf16, `in` a multiple of 8.
    pub weight: Array<'a>,
    /// `[out]` bf16; of maps that are finished as [`Finish::Rounded`] alone.
    pub bias: Option<Array<'a>>,
}

/// What becomes of the sums.
#[derive(Clone, Copy)]
pub enum Finish<'a> {
    /// With the bias, rounded to bf16: an array `[T, out]` for each of one to three maps.
    Rounded,
    /// Rounded to bf16 and added to this array, `[T, out]` bf16, which may be the result's own; one map.
    Added(Array<'a>),
    /// `silu(first) * second` of two maps of one shape, each rounded to bf16 before; one array.
    Gated,
    /// As they are, in f32; one map.
    InF32,
}

impl Finish<'_> {
    fn code(self) -> usize {
        match self {
            Self::Rounded => 0,
            Self::Added(_) => 1,
            Self::Gated => 2,
            Self::InF32 => 3,
        }
    }

    /// Maps that it takes, and arrays that it gives.
    fn takes(self, maps: usize, outs: usize) -> bool {
        match self {
            Self::Rounded => (1..=3).contains(&maps) && outs == maps,
            Self::Added(_) | Self::InF32 => maps == 1 && outs == 1,
            Self::Gated => maps == 2 && outs == 1,
        }
    }

    fn residual(&self) -> Option<Array<'_>> {
        match self {
            Self::Added(residual) => Some(*residual),
            Self::Rounded | Self::Gated | Self::InF32 => None,
        }
    }

    fn dtype(self) -> DType {
        if matches!(self, Self::InF32) { DType::F32 } else { DType::BF16 }
    }
}

/// Room for sums of parts of a product. Products that follow each other share one.
#[derive(Debug)]
pub struct Workspace {
    partials: Tensor,
    arrived: Tensor,
}

impl Workspace {
    /// Room for the largest of some products.
    ///
    /// - `products`: `in`, and the columns of the maps, of each
    ///
    /// # Errors
    /// It cannot be allocated.
    pub fn new(
        device: &CudaDevice,
        max_rows: usize,
        products: impl IntoIterator<Item = (usize, Vec<usize>)>,
    ) -> Result<Self> {
        let (mut numbers, mut tiles) = (1, 1);
        for (inner, columns) in products {
            for width in Width::ALL {
                let cut = Cut::new(max_rows, inner, &columns, width);
                numbers = numbers.max(cut.partials());
                tiles = tiles.max(cut.tiles * cut.row_groups);
            }
        }
        let device = Device::Cuda(device.clone());
        Ok(Self {
            partials: Tensor::zeros(numbers, DType::F32, &device)?,
            arrived: Tensor::zeros(tiles, DType::U32, &device)?,
        })
    }
}

/// Columns of a block: of one map, or half of them of each of a pair.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Width {
    Narrow,
    Wide,
    Pair,
}

impl Width {
    const ALL: [Self; 3] = [Self::Narrow, Self::Wide, Self::Pair];

    /// Wide blocks read the rows less often; narrow ones are more where there are few columns.
    fn of(finish: Finish, columns: &[usize]) -> Self {
        match finish {
            Finish::Gated => Self::Pair,
            _ if columns.iter().sum::<usize>() >= 128 * BLOCKS => Self::Wide,
            _ => Self::Narrow,
        }
    }

    fn of_block(self) -> usize {
        if self == Self::Narrow { 64 } else { 128 }
    }

    /// Threads of a block.
    fn threads(self, rows: usize) -> usize {
        if self == Self::Narrow && rows == 16 { 128 } else { 256 }
    }

    fn of_map(self) -> usize {
        if self == Self::Wide { 128 } else { 64 }
    }
}

/// How a product is cut into blocks.
struct Cut {
    /// Rows of a block.
    rows: usize,
    width: Width,
    /// Parts of the columns, whose steps are dealt out to the blocks.
    tiles: usize,
    blocks: usize,
    /// Blocks below each other.
    row_groups: usize,
}

impl Cut {
    /// - `columns`: of each map; of a pair, of one
    fn new(rows: usize, inner: usize, columns: &[usize], width: Width) -> Self {
        let fits = KERNELS.iter().map(|(rows, _)| *rows).find(|at_once| rows <= *at_once);
        let at_once = fits.unwrap_or(MAX_ROWS);
        let tiles = columns.iter().map(|columns| columns.div_ceil(width.of_map())).sum::<usize>();
        let steps = tiles * inner.div_ceil(STEP);
        let blocks = (steps / LEAST_STEPS).clamp(1, BLOCKS);
        Self { rows: at_once, width, tiles, blocks, row_groups: rows.div_ceil(at_once) }
    }

    /// Numbers that the blocks leave to be added up: of the tile that each begins with, and of the one that it ends with.
    fn partials(&self) -> usize {
        self.row_groups * self.blocks * 2 * self.rows * self.width.of_block()
    }
}

/// Linear maps of a few rows, all in one launch, the next numbers of a step of decoding.
///
/// A row's results depend on that row alone: not on the others, nor on how many there are.
///
/// - `x`: `[T, in]` bf16; `outs`: arrays that are overwritten, see [`Finish`]
///
/// # Errors
/// Shapes or dtypes do not fit each other or the workspace.
pub fn row_product(
    x: Array,
    maps: &[RowMap],
    finish: Finish,
    outs: &[Array],
    workspace: &Workspace,
) -> Result<()> {
    let (rows, inner) = x.rows();
    let columns = checked(x, maps, finish, outs)?;
    let width = Width::of(finish, &columns);
    let of_pair = if width == Width::Pair { 1 } else { columns.len() };
    let cut = Cut::new(rows, inner, &columns[..of_pair], width);
    let (partials, arrived) = (Array::of(&workspace.partials)?, Array::of(&workspace.arrived)?);
    if partials.shape().elem_count() < cut.partials()
        || arrived.shape().elem_count() < cut.tiles * cut.row_groups
    {
        bail!("a workspace made for smaller products");
    }
    let Some((_, kernels)) = KERNELS.iter().find(|(at_once, _)| *at_once == cut.rows) else {
        bail!("no kernel for {} rows", cut.rows)
    };
    let mut arguments = vec![
        x.into(),
        finish.residual().into(),
        partials.into(),
        arrived.into(),
        rows.into(),
        inner.into(),
        cut.tiles.into(),
        finish.code().into(),
    ];
    for i in 0..3 {
        let map = maps.get(i);
        arguments.extend([
            map.map(|map| map.weight).into(),
            map.and_then(|map| map.bias).into(),
            outs.get(i).copied().into(),
            Argument::from(columns.get(i).copied().unwrap_or(0)),
        ]);
    }
    let of_block = cut.width.of_block();
    let grid = Grid {
        blocks: [cut.blocks, 1, cut.row_groups],
        threads: cut.width.threads(cut.rows),
        shared: STAGES * (cut.rows + of_block) * STEP * DType::BF16.size_in_bytes(),
    };
    // SAFETY: shapes are checked above; the workspace has room for the partial sums and a counter of every tile, which
    // are zero before and after each launch.
    unsafe { launch_early(x.device(), &kernels[cut.width as usize], grid, &arguments) }
}

/// Columns of each map of a product that fits.
fn checked(x: Array, maps: &[RowMap], finish: Finish, outs: &[Array]) -> Result<Vec<usize>> {
    let (rows, inner) = x.rows();
    let x = x.require("rows of a step", DType::BF16, &[rows, inner])?;
    if !finish.takes(maps.len(), outs.len()) || inner % 8 != 0 || !x.is_aligned_to(8) {
        bail!("a product of {} maps into {} arrays, {inner} numbers a row", maps.len(), outs.len());
    }
    let mut columns = Vec::with_capacity(maps.len());
    for map in maps {
        let (out, _) = map.weight.rows();
        let weight = map.weight.require("a step's weight", DType::BF16, &[out, inner])?;
        if !weight.is_aligned_to(8) {
            bail!("a step's weight starts at an odd address");
        }
        if let Some(bias) = map.bias {
            bias.require("a step's bias", DType::BF16, &[out])?;
            if !matches!(finish, Finish::Rounded) {
                bail!("a bias of a product that is not rounded alone");
            }
        }
        columns.push(out);
    }
    if matches!(finish, Finish::Gated) && columns[0] != columns[1] {
        bail!("a gated pair of {} and {} columns", columns[0], columns[1]);
    }
    for (out, columns) in outs.iter().zip(&columns) {
        let out = out.require("a step's result", finish.dtype(), &[rows, *columns])?;
        if !out.is_aligned_to(2) {
            bail!("a step's result starts at an odd address");
        }
    }
    if let Some(residual) = finish.residual() {
        residual.require("a residual", DType::BF16, &[rows, columns[0]])?;
    }
    Ok(columns)
}
