//! From where to where the axes of a chart go.
//! Not here: drawing them (`drawing`); those of the page's charts (`assets/report/charts.js`).

use super::chart::{Bars, Strand};

/// Fraction of the values' span that is left free at either end of the vertical axis.
const MARGIN: f64 = 0.06;
/// Intervals widen the vertical axis by at most that many times the span of the values themselves; beyond, they
/// are cut at its ends.
const INTERVAL_ROOM: f64 = 1.0;

/// From the smallest x to the largest, without a margin.
pub(super) fn horizontal_range(strands: &[Strand<'_>]) -> [f64; 2] {
    let [first, last] = ends(figures(strands).map(|[x, _]| x));
    if last > first { [first, last] } else { [first - 1.0, first + 1.0] }
}

/// All figures, and as much of their intervals as leaves the figures legible. Where nothing is below 0, neither is the axis.
pub(super) fn vertical_range(strands: &[Strand<'_>]) -> [f64; 2] {
    let [low, high] = ends(figures(strands).map(|[_, y]| y));
    // Figures that are all the same still need an axis with some height.
    let flat = if high == 0.0 { 1.0 } else { high.abs() };
    let span = if high > low { high - low } else { flat };
    let room = INTERVAL_ROOM * span;
    let of_intervals = strands.iter().flat_map(|strand| &strand.line.points);
    let of_intervals = of_intervals.flat_map(|point| point.interval.into_iter().flatten());
    let [low, high] =
        ends(of_intervals.map(|end| end.clamp(low - room, high + room)).chain([low, high]));
    let margin = MARGIN * (high - low).max(span);
    let least = if low >= 0.0 { (low - margin).max(0.0) } else { low - margin };
    [least, high + margin]
}

/// The places of all points and of the figures behind them.
fn figures<'a>(strands: &'a [Strand<'_>]) -> impl Iterator<Item = [f64; 2]> + 'a {
    strands.iter().flat_map(|Strand { line, .. }| {
        let points = line.points.iter().map(|point| [point.x, point.y]);
        points.chain(line.raw.iter().copied())
    })
}

/// The top of an axis that holds all bars and their intervals.
pub(super) fn highest(bars: &[Bars]) -> f64 {
    let heights = bars.iter().flat_map(|bars| bars.heights.iter().flatten());
    let tops = heights.map(|(height, interval)| interval.map_or(*height, |[_, high]| high));
    let top = tops.fold(0.0, f64::max);
    if top > 0.0 { top * (1.0 + MARGIN) } else { 1.0 }
}

/// The least and the greatest of the finite numbers; 0 and 1 where there are none.
fn ends(numbers: impl Iterator<Item = f64>) -> [f64; 2] {
    let widen = |ends: Option<[f64; 2]>, number: f64| {
        let [low, high] = ends.unwrap_or([number, number]);
        Some([low.min(number), high.max(number)])
    };
    numbers.filter(|number| number.is_finite()).fold(None, widen).unwrap_or([0.0, 1.0])
}

#[cfg(test)]
mod tests {
    use super::super::chart::{Line, LineStyle, Point};
    use super::*;

    fn strands(lines: &[Line]) -> Vec<Strand<'_>> {
        lines.iter().map(|line| Strand { color: 0, dash: 0, line }).collect()
    }

    fn line(points: &[(f64, Option<[f64; 2]>)]) -> Line {
        let points = points.iter().enumerate();
        let points = points.map(|(x, &(y, interval))| Point { x: x as f64, y, interval }).collect();
        Line { label: String::new(), points, raw: Vec::new(), style: LineStyle::Curve }
    }

    #[test]
    fn wide_interval_does_not_flatten_the_line() {
        // Values from -1 to 0 and room for an interval as high again, and 6% of all that.
        let wide = line(&[(-1.0, None), (0.0, Some([-50.0, 50.0]))]);
        let [low, high] = vertical_range(&strands(&[wide]));
        assert!((low + 2.18).abs() < 1e-9 && (high - 1.18).abs() < 1e-9, "{low} {high}");
        let narrow = line(&[(-1.0, None), (0.0, Some([-0.1, 0.1]))]);
        assert!((vertical_range(&strands(&[narrow]))[0] + 1.066).abs() < 1e-9);
    }

    #[test]
    fn axis_goes_below_0_only_where_a_figure_does() {
        let accuracies = line(&[(0.01, Some([0.0, 0.05])), (0.5, Some([0.4, 0.6]))]);
        assert_eq!(vertical_range(&strands(&[accuracies]))[0].to_bits(), 0.0_f64.to_bits());
        let losses = line(&[(-0.01, None), (0.5, None)]);
        assert!(vertical_range(&strands(&[losses]))[0] < -0.01);
    }

    #[test]
    fn axes_have_a_length_whatever_is_drawn() {
        for lines in
            [vec![], vec![line(&[])], vec![line(&[(0.0, None)])], vec![line(&[(7.0, None); 3])]]
        {
            let strands = strands(&lines);
            let ([left, right], [low, high]) =
                (horizontal_range(&strands), vertical_range(&strands));
            assert!(right > left && high > low, "{lines:?}");
        }
    }
}
