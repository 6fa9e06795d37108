//! Where each stroke of a chart goes, on any surface that `plotters` can draw on.
//! Not here: what is drawn (`chart`), from where to where an axis goes (`axes`).
//!
//! Colours are Okabe and Ito's, which colour-blind readers tell apart; each line has a dash pattern as well, so
//! that a grey copy can be read.

use std::sync::LazyLock;

use plotters::chart::{ChartBuilder, ChartContext, LabelAreaPosition};
use plotters::coord::Shift;
use plotters::coord::ranged1d::{DefaultFormatting, KeyPointHint, Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::element::{
    Circle, DashedPathElement, DynElement, IntoDynElement as _, PathElement, Polygon, Rectangle,
    Text,
};
use plotters::prelude::{Cartesian2d, DrawingArea, DrawingBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    Color as _, FontStyle, IntoFont as _, RGBColor, ShapeStyle, TextStyle, WHITE, register_font,
};

use super::axes::{highest, horizontal_range, vertical_range};
use super::chart::{Bars, Chart, LineStyle, Marks, Strand};

const PALETTE: [RGBColor; 7] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
    RGBColor(0x66, 0x66, 0x66),
];
/// Lengths of dashes and of the gaps between them, pixels; no gap is a line without dashes.
const DASHES: [(u32, u32); 4] = [(8, 0), (9, 4), (2, 3), (14, 3)];
const INK: RGBColor = RGBColor(0x33, 0x33, 0x33);
const GRID: RGBColor = RGBColor(0xDD, 0xDD, 0xDD);

/// The name under which the font is known; a browser that shows SVG text takes its own of that kind.
const FONT: &str = "sans-serif";
static FONT_FILE: &[u8] = include_bytes!("../../assets/fonts/Roboto-Regular.ttf");
/// Whether the font could be registered, which happens once.
static HAS_FONT: LazyLock<bool> =
    LazyLock::new(|| register_font(FONT, FontStyle::Normal, FONT_FILE).is_ok());

/// Fraction of a category's width that its bars take.
const BARS_WIDTH: f64 = 0.8;

type Problem = Box<dyn std::error::Error>;
type Plot<'a, DB, X> = ChartContext<'a, DB, Cartesian2d<X, RangedCoordf64>>;

/// Pixels on a surface that has `scale` of them for every CSS pixel.
#[derive(Clone, Copy)]
struct Pen {
    scale: u32,
}

impl Pen {
    fn px(self, n: u32) -> u32 {
        n * self.scale
    }

    fn text(self, size: u32) -> TextStyle<'static> {
        TextStyle::from((FONT, self.px(size)).into_font()).color(&INK)
    }

    fn stroke(self, color: RGBColor, opacity: f64) -> ShapeStyle {
        color.mix(opacity).stroke_width(self.px(2))
    }
}

/// An axis of categories: the middle of each is its index, and it is one wide.
struct Places {
    n_categories: usize,
}

impl Ranged for Places {
    type FormatOption = DefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, (left, right): (i32, i32)) -> i32 {
        let part = (value + 0.5) / self.n_categories.max(1) as f64;
        left + (part * f64::from(right - left)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _hint: Hint) -> Vec<f64> {
        (0..self.n_categories).map(|place| place as f64).collect()
    }

    fn range(&self) -> std::ops::Range<f64> {
        -0.5..self.n_categories as f64 - 0.5
    }
}

/// Draws a chart over the whole surface.
pub(super) fn draw<DB: DrawingBackend>(
    chart: &Chart,
    area: &DrawingArea<DB, Shift>,
    scale: u32,
) -> Result<(), Problem>
where
    DB::ErrorType: 'static,
{
    if !*HAS_FONT {
        return Err("its font cannot be read".into());
    }
    let pen = Pen { scale };
    area.fill(&WHITE)?;
    let legend_end = draw_heading(chart, area, pen)?;
    let (_, below) = area.split_vertically(legend_end);
    let mut builder = ChartBuilder::on(&below);
    builder
        .margin_left(pen.px(10))
        .margin_right(pen.px(18))
        .margin_top(pen.px(6))
        .margin_bottom(pen.px(4))
        .set_label_area_size(LabelAreaPosition::Left, pen.px(60))
        .set_label_area_size(LabelAreaPosition::Bottom, pen.px(44));
    match &chart.marks {
        Marks::Lines(_) | Marks::Families(_) => {
            let strands = chart.marks.strands();
            let [left, right] = horizontal_range(&strands);
            let [low, high] = vertical_range(&strands);
            let mut plot = builder.build_cartesian_2d(left..right, low..high)?;
            draw_mesh(&mut plot, chart, pen, &|x| number(*x))?;
            for strand in strands {
                draw_line(&mut plot, strand, [low, high], pen)?;
            }
        }
        Marks::Bars { categories, bars } => {
            let places = Places { n_categories: categories.len() };
            let mut plot = builder.build_cartesian_2d(places, 0.0..highest(bars))?;
            let name = |x: &f64| {
                let place = usize::try_from(x.round() as i64).ok();
                place.and_then(|place| categories.get(place)).cloned().unwrap_or_default()
            };
            draw_mesh(&mut plot, chart, pen, &name)?;
            for (idx, of_kind) in bars.iter().enumerate() {
                draw_bars(&mut plot, of_kind, idx, bars.len(), pen)?;
            }
        }
    }
    area.present()?;
    Ok(())
}

/// Draws the title, and under it the legend where there is more than one line or kind of bars; returns where both end.
fn draw_heading<DB: DrawingBackend>(
    chart: &Chart,
    area: &DrawingArea<DB, Shift>,
    pen: Pen,
) -> Result<u32, Problem>
where
    DB::ErrorType: 'static,
{
    let (width, _) = area.dim_in_pixel();
    let centred = pen.text(17).pos(Pos::new(HPos::Center, VPos::Top));
    let middle = (width / 2) as i32;
    area.draw(&Text::new(chart.title.as_str(), (middle, pen.px(8) as i32), centred))?;
    let labels = legend(chart);
    if labels.len() < 2 {
        return Ok(pen.px(30));
    }
    let style = pen.text(13).pos(Pos::new(HPos::Left, VPos::Center));
    let (start, length, gap) = (pen.px(70), pen.px(30), pen.px(6));
    let (mut x, mut y) = (start, pen.px(40));
    for (idx, label) in labels {
        let (text_width, _) = area.estimate_text_size(label, &style)?;
        if x > start && x + length + gap + text_width > width {
            (x, y) = (start, y + pen.px(18));
        }
        let (left, right, row) = (x as i32, (x + length) as i32, y as i32);
        let sample = vec![(left, row), (right, row)];
        match chart.marks {
            Marks::Lines(_) => area.draw(&dashed(sample, [idx, idx], pen))?,
            Marks::Families(_) => area.draw(&dashed(sample, [idx, 0], pen))?,
            Marks::Bars { .. } => {
                let half = pen.px(5) as i32;
                let corners = [(left, row - half), (right, row + half)];
                area.draw(&Rectangle::new(corners, color(idx).filled()))?;
            }
        }
        area.draw(&Text::new(label, ((x + length + gap) as i32, row), style.clone()))?;
        x += length + gap + text_width + pen.px(18);
    }
    Ok(y + pen.px(12))
}

/// Indices and labels of the lines or kinds of bars. One without figures is left out, but keeps its index, so that a run
/// has one colour in all charts.
fn legend(chart: &Chart) -> Vec<(usize, &str)> {
    let labels: Vec<(bool, &str)> = match &chart.marks {
        Marks::Lines(lines) => {
            lines.iter().map(|line| (!line.points.is_empty(), line.label.as_str())).collect()
        }
        Marks::Families(families) => families
            .iter()
            .map(|family| {
                let is_shown = family.lines.iter().any(|line| !line.points.is_empty());
                (is_shown, family.label.as_str())
            })
            .collect(),
        Marks::Bars { bars, .. } => bars.iter().map(|bars| (true, bars.label.as_str())).collect(),
    };
    let labels = labels.into_iter().enumerate();
    labels.filter_map(|(idx, (is_shown, label))| is_shown.then_some((idx, label))).collect()
}

fn draw_mesh<DB: DrawingBackend, X>(
    plot: &mut Plot<'_, DB, X>,
    chart: &Chart,
    pen: Pen,
    name_of_x: &dyn Fn(&f64) -> String,
) -> Result<(), Problem>
where
    DB::ErrorType: 'static,
    X: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    plot.configure_mesh()
        .disable_x_mesh()
        .light_line_style(WHITE.mix(0.0))
        .bold_line_style(GRID.stroke_width(pen.px(1)))
        .axis_style(INK.stroke_width(pen.px(1)))
        .label_style(pen.text(13))
        .axis_desc_style(pen.text(14))
        .set_all_tick_mark_size(pen.px(5))
        .x_labels(9)
        .y_labels(7)
        .x_label_formatter(&|x| name_of_x(x))
        .y_label_formatter(&|y| number(*y))
        .x_desc(chart.x_title.as_str())
        .y_desc(chart.y_title.as_str())
        .draw()?;
    Ok(())
}

/// A line with its raw figures behind it and its intervals around it.
fn draw_line<DB: DrawingBackend>(
    plot: &mut Plot<'_, DB, RangedCoordf64>,
    strand: Strand<'_>,
    [low, high]: [f64; 2],
    pen: Pen,
) -> Result<(), Problem>
where
    DB::ErrorType: 'static,
{
    let Strand { line, dash, .. } = strand;
    let color = color(strand.color);
    let raw: Vec<(f64, f64)> = line.raw.iter().map(|&[x, y]| (x, y)).collect();
    if !raw.is_empty() {
        let faint = color.mix(0.3).stroke_width(pen.px(1));
        plot.draw_series([PathElement::new(raw, faint)])?;
    }
    let intervals = line.points.iter().filter_map(|point| {
        let interval = point.interval?;
        Some((point.x, interval.map(|end| end.clamp(low, high))))
    });
    let intervals: Vec<(f64, [f64; 2])> = intervals.collect();
    match line.style {
        LineStyle::Curve => {
            let lower = intervals.iter().map(|&(x, [low, _])| (x, low));
            let upper = intervals.iter().rev().map(|&(x, [_, high])| (x, high));
            let outline: Vec<(f64, f64)> = lower.chain(upper).collect();
            plot.draw_series((outline.len() > 2).then(|| Polygon::new(outline, color.mix(0.15))))?;
        }
        LineStyle::Points => {
            for (x, interval) in intervals {
                draw_error_bar(plot, x, interval, pen.stroke(color, 0.8))?;
            }
        }
    }
    let joined: Vec<(f64, f64)> = line.points.iter().map(|point| (point.x, point.y)).collect();
    if line.style == LineStyle::Points || joined.len() == 1 {
        let marks = joined.iter().map(|&at| Circle::new(at, pen.px(4), color.filled()));
        plot.draw_series(marks)?;
    }
    plot.draw_series([dashed(joined, [strand.color, dash], pen)])?;
    Ok(())
}

/// One kind of bars, `idx` of the `n_kinds` that each category has side by side.
fn draw_bars<DB: DrawingBackend, X>(
    plot: &mut Plot<'_, DB, X>,
    bars: &Bars,
    idx: usize,
    n_kinds: usize,
    pen: Pen,
) -> Result<(), Problem>
where
    DB::ErrorType: 'static,
    X: Ranged<ValueType = f64>,
{
    let width = BARS_WIDTH / n_kinds.max(1) as f64;
    for (place, bar) in bars.heights.iter().enumerate() {
        let Some((height, interval)) = *bar else { continue };
        let left = place as f64 - BARS_WIDTH / 2.0 + width * idx as f64;
        let corners = [(left, 0.0), (left + 0.92 * width, height)];
        plot.draw_series([Rectangle::new(corners, color(idx).filled())])?;
        if let Some([low, high]) = interval {
            let style = INK.stroke_width(pen.px(1));
            draw_error_bar(plot, left + 0.46 * width, [low.max(0.0), high], style)?;
        }
    }
    Ok(())
}

fn draw_error_bar<DB: DrawingBackend, X>(
    plot: &mut Plot<'_, DB, X>,
    x: f64,
    [low, high]: [f64; 2],
    style: ShapeStyle,
) -> Result<(), Problem>
where
    DB::ErrorType: 'static,
    X: Ranged<ValueType = f64>,
{
    plot.draw_series([PathElement::new(vec![(x, low), (x, high)], style)])?;
    Ok(())
}

/// A line in a colour of the palette and a dash pattern.
fn dashed<DB: DrawingBackend, At: Clone + 'static>(
    points: Vec<At>,
    [color_idx, dash_idx]: [usize; 2],
    pen: Pen,
) -> DynElement<'static, DB, At> {
    let style = pen.stroke(color(color_idx), 1.0);
    let (dash, gap) = DASHES[dash_idx % DASHES.len()];
    if gap == 0 {
        return PathElement::new(points, style).into_dyn();
    }
    DashedPathElement::new(points, pen.px(dash) as i32, pen.px(gap) as i32, style).into_dyn()
}

fn color(idx: usize) -> RGBColor {
    PALETTE[idx % PALETTE.len()]
}

/// A number with at least four significant digits, or three and an exponent, and no trailing zeros.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    // A smaller number is a tick at 0, up to rounding.
    if size < 1e-12 {
        return "0".to_owned();
    }
    if !(1e-3..1e6).contains(&size) {
        let text = format!("{value:.2e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        return format!("{}e{exponent}", without_trailing_zeros(digits));
    }
    let decimals = (3 - size.log10().floor() as i32).max(0).unsigned_abs() as usize;
    without_trailing_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn without_trailing_zeros(digits: &str) -> &str {
    if digits.contains('.') { digits.trim_end_matches('0').trim_end_matches('.') } else { digits }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_keep_their_digits() {
        let expected = [
            (0.0, "0"),
            (0.1 + 0.2, "0.3"),
            (-1.5, "-1.5"),
            (1_250.0, "1250"),
            (0.012_345, "0.01235"),
            (99.996, "100"),
            (1e-6, "1e-6"),
            (2.5e-5, "2.5e-5"),
            (3e9, "3e9"),
            (-2e-17, "0"),
        ];
        for (value, text) in expected {
            assert_eq!(number(value), text);
        }
    }
}
