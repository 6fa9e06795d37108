//! Charts as data: lines and bars with their titles and intervals, rendered as SVG text or PNG bytes.
//! Not here: where each stroke goes (`drawing`); which figures are shown (`curves`).

use std::io::Cursor;

use image::{ImageFormat, RgbImage, imageops};
use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::drawing::IntoDrawingArea;

use super::drawing::{self, draw};
use super::error::ReportError;

/// Width and height of a chart in CSS pixels.
const SIZE: (u32, u32) = (640, 360);
/// PNG pixels of a CSS pixel: sharp on paper and on dense screens.
const PNG_SCALE: u32 = 2;
/// PNG charts are drawn that much larger and shrunk, which smooths their edges.
const SUPERSAMPLING: u32 = 2;

/// A place on a line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Along the horizontal axis.
    pub x: f64,
    /// Along the vertical axis.
    pub y: f64,
    /// The 95% interval of `y`, if it is known.
    pub interval: Option<[f64; 2]>,
}

/// How a line is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LineStyle {
    /// A curve; intervals make a band around it.
    Curve,
    /// Marked points that are joined; intervals are error bars.
    Points,
}

/// One line of a chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Line {
    /// Its name in the legend.
    pub label: String,
    /// What is drawn, in the order of `x`.
    pub points: Vec<Point>,
    /// The noisy figures that `points` smooth, `[x, y]`, drawn faintly; may be empty.
    pub raw: Vec<[f64; 2]>,
    /// How it is drawn.
    pub style: LineStyle,
}

/// Bars of one kind, one per category.
#[derive(Debug, Clone, PartialEq)]
pub struct Bars {
    /// Their name in the legend.
    pub label: String,
    /// Height and 95% interval of each category's bar; `None` leaves its place empty.
    pub heights: Vec<Option<(f64, Option<[f64; 2]>)>>,
}

/// Lines in one colour: repetitions of the same thing.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// Its name in the legend.
    pub label: String,
    /// Its lines, each with dashes of its own.
    pub lines: Vec<Line>,
}

/// A line with its place in the palette and among the dash patterns.
#[derive(Debug, Clone, Copy)]
pub struct Strand<'a> {
    /// Which colour.
    pub color: usize,
    /// Which dashes; 0 has none.
    pub dash: usize,
    /// The line.
    pub line: &'a Line,
}

/// What a chart shows.
#[derive(Debug, Clone, PartialEq)]
pub enum Marks {
    /// Lines over a number, each in a colour of its own.
    Lines(Vec<Line>),
    /// Lines over a number, a colour for each family.
    Families(Vec<Family>),
    /// Groups of bars from 0, a group per category.
    Bars {
        /// The categories, from left to right.
        categories: Vec<String>,
        /// The bars of each group, from left to right.
        bars: Vec<Bars>,
    },
}

/// A chart.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// Above the chart.
    pub title: String,
    /// Under the horizontal axis.
    pub x_title: String,
    /// Beside the vertical axis.
    pub y_title: String,
    /// What it shows.
    pub marks: Marks,
}

impl Marks {
    /// All lines with their colours; none where there are bars.
    pub fn strands(&self) -> Vec<Strand<'_>> {
        match self {
            Self::Lines(lines) => {
                let strand = |(idx, line)| Strand { color: idx, dash: idx, line };
                lines.iter().enumerate().map(strand).collect()
            }
            Self::Families(families) => families
                .iter()
                .enumerate()
                .flat_map(|(color, family)| {
                    let lines = family.lines.iter().enumerate();
                    lines.map(move |(dash, line)| Strand { color, dash, line })
                })
                .collect(),
            Self::Bars { .. } => Vec::new(),
        }
    }
}

impl Chart {
    /// The chart as an SVG document that scales to the width it is given.
    ///
    /// Its colours are attributes, which a page's style sheet may override; [`Chart::describe`] is its name for
    /// those who cannot see it.
    ///
    /// # Errors
    /// The drawing library fails.
    pub fn svg(&self) -> Result<String, ReportError> {
        let mut text = String::new();
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        draw(self, &area, 1).map_err(|error| self.failed(error))?;
        drop(area);
        let description = escaped(&self.describe());
        Ok(text.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{description}\" "), 1))
    }

    /// The chart as a PNG file of twice its size in pixels.
    ///
    /// # Errors
    /// The drawing library fails.
    pub fn png(&self) -> Result<Vec<u8>, ReportError> {
        let scale = PNG_SCALE * SUPERSAMPLING;
        let (width, height) = (SIZE.0 * scale, SIZE.1 * scale);
        let mut large = RgbImage::new(width, height);
        let area = BitMapBackend::with_buffer(&mut large, (width, height)).into_drawing_area();
        draw(self, &area, scale).map_err(|error| self.failed(error))?;
        drop(area);
        let small = imageops::thumbnail(&large, SIZE.0 * PNG_SCALE, SIZE.1 * PNG_SCALE);
        let mut bytes = Cursor::new(Vec::new());
        small.write_to(&mut bytes, ImageFormat::Png)?;
        Ok(bytes.into_inner())
    }

    /// What the chart shows, in words.
    pub fn describe(&self) -> String {
        let number = drawing::number;
        let within = |interval: Option<[f64; 2]>| match interval {
            Some([low, high]) => format!(" (95%: {} to {})", number(low), number(high)),
            None => String::new(),
        };
        let parts: Vec<String> = match &self.marks {
            Marks::Lines(_) | Marks::Families(_) => self
                .marks
                .strands()
                .iter()
                .map(|Strand { line, .. }| match (line.points.first(), line.points.last()) {
                    (Some(first), Some(last)) => format!(
                        "{} goes from {} at {} to {}{} at {}",
                        line.label,
                        number(first.y),
                        number(first.x),
                        number(last.y),
                        within(last.interval),
                        number(last.x)
                    ),
                    _ => format!("{} has no figures", line.label),
                })
                .collect(),
            Marks::Bars { categories, bars } => bars
                .iter()
                .flat_map(|bars| bars.heights.iter().zip(categories).map(move |pair| (bars, pair)))
                .filter_map(|(bars, (height, category))| {
                    let (height, interval) = (*height)?;
                    let (label, height, within) = (&bars.label, number(height), within(interval));
                    Some(format!("{label}, {category}: {height}{within}"))
                })
                .collect(),
        };
        format!("{} ({}): {}.", self.title, self.y_title, parts.join("; "))
    }

    fn failed(&self, error: impl std::fmt::Display) -> ReportError {
        ReportError::Draw { chart: self.title.clone(), problem: error.to_string() }
    }
}

/// Text as an attribute of XML holds it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(label: &str, style: LineStyle) -> Line {
        let interval = Some([0.1, 0.3]);
        let points = [Point { x: 1.0, y: 0.2, interval }, Point { x: 2.0, y: 0.25, interval }];
        let raw = vec![[1.0, 0.2], [2.0, 0.3]];
        Line { label: label.to_owned(), points: points.to_vec(), raw, style }
    }

    fn chart(marks: Marks) -> Chart {
        let [title, x_title, y_title] = ["Reward", "update", "mean"].map(str::to_owned);
        Chart { title, x_title, y_title, marks }
    }

    fn bars() -> Chart {
        let heights = vec![Some((0.4, Some([0.3, 0.5]))), None];
        let bars =
            ["SFT", "GRPO"].map(|label| Bars { label: label.to_owned(), heights: heights.clone() });
        let categories = vec!["VC to GR".to_owned(), "GR to VC".to_owned()];
        chart(Marks::Bars { categories, bars: bars.to_vec() })
    }

    #[test]
    fn svg_names_titles_axes_and_several_lines_and_escapes_them() {
        let lines = vec![line("<a> & \"b\"", LineStyle::Curve), line("c", LineStyle::Points)];
        let svg = chart(Marks::Lines(lines)).svg().unwrap();
        for text in
            ["Reward", "update", "mean", "&lt;a&gt; &amp; ", "role=\"img\"", "aria-label=\"Reward"]
        {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
        assert!(!svg.contains("<a>"), "{svg}");
        assert!(
            !chart(Marks::Lines(vec![line("alone", LineStyle::Curve)]))
                .svg()
                .unwrap()
                .contains(">alone<")
        );
    }

    #[test]
    fn bars_are_named_by_category_and_kind() {
        let svg = bars().svg().unwrap();
        for text in ["VC to GR", "GR to VC", "SFT", "GRPO"] {
            assert!(svg.contains(text), "{text} is not in {svg}");
        }
    }

    #[test]
    fn png_has_twice_the_pixels_and_a_title_that_can_be_read_without_fonts_of_the_system() {
        for chart in [chart(Marks::Lines(vec![line("a", LineStyle::Points)])), bars()] {
            let picture = image::load_from_memory(&chart.png().unwrap()).unwrap().into_rgb8();
            assert_eq!(picture.dimensions(), (1280, 720));
            let is_ink =
                |x: u32, y: u32| picture.get_pixel(x, y).0.iter().all(|level| *level < 0x80);
            let title = (560..720).flat_map(|x| (0..56).map(move |y| (x, y)));
            assert!(title.filter(|&(x, y)| is_ink(x, y)).count() > 200);
        }
    }

    #[test]
    fn words_tell_where_a_line_goes_and_how_high_bars_are() {
        let text = chart(Marks::Lines(vec![line("a", LineStyle::Curve)])).describe();
        assert_eq!(text, "Reward (mean): a goes from 0.2 at 1 to 0.25 (95%: 0.1 to 0.3) at 2.");
        let expected = "Reward (mean): SFT, VC to GR: 0.4 (95%: 0.3 to 0.5); \
                        GRPO, VC to GR: 0.4 (95%: 0.3 to 0.5).";
        assert_eq!(bars().describe(), expected);
    }

    #[test]
    fn chart_of_nothing_can_be_drawn() {
        assert!(chart(Marks::Lines(Vec::new())).svg().is_ok());
        assert!(chart(Marks::Bars { categories: Vec::new(), bars: Vec::new() }).png().is_ok());
    }
}
