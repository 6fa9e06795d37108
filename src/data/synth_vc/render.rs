//! How a scene of `synth-vc` looks: a wall with faint scratches, a shelf before it, shadows, shaded solids.
//!
//! The light comes from the upper left; what stands on a board is seen from about 25 degrees above, so that level circles
//! are ellipses `TILT` times as high as wide. Rubber shades softly, metal has a sharp highlight and a bright rim.
//!
//! Not here: what a scene holds (`scene`).

use super::scene::{BOARD, Background, Color, Material, PITCH, Placed, Scene, Shape};
use crate::data::canvas::{Canvas, Fill, Ink, Outline, SIDE};
use crate::data::plane::Point;
use crate::rng::Draws;
use image::RgbImage;

/// Height over width of a level circle.
const TILT: f64 = 0.42;

/// Draws a scene; `None` where a picture of that size cannot be made.
pub(super) fn render(scene: &Scene, side_pixels: u32, draws: &mut Draws) -> Option<RgbImage> {
    let mut canvas = Canvas::new(side_pixels, Ink::WHITE)?;
    background(&mut canvas, scene.background, draws);
    scratches(&mut canvas, draws);
    boards(&mut canvas);
    for placed in &scene.placed {
        shadow(&mut canvas, placed);
    }
    for placed in &scene.placed {
        solid(&mut canvas, placed, &Shades::of(placed));
    }
    Some(canvas.into_image())
}

/// Of each item's silhouette, the share that nothing covers; in the order of `scene.placed`.
#[cfg(test)]
pub(super) fn visible_shares(scene: &Scene, side_pixels: u32) -> Vec<f64> {
    let level = |idx: usize| u8::try_from(idx * 20).unwrap();
    let painted = |shown: &[(usize, &Placed)]| {
        let mut canvas = Canvas::new(side_pixels, Ink::WHITE).unwrap();
        for (idx, placed) in shown {
            solid(&mut canvas, placed, &Shades::flat(Ink::opaque([level(*idx), 0, 0])));
        }
        let image = canvas.into_image();
        let count = |idx: usize| image.pixels().filter(|p| p.0 == [level(idx), 0, 0]).count();
        shown.iter().map(|(idx, _)| count(*idx) as f64).collect::<Vec<_>>()
    };
    let all: Vec<(usize, &Placed)> = scene.placed.iter().enumerate().collect();
    let together = painted(&all);
    all.iter().zip(together).map(|(one, seen)| seen / painted(&[*one])[0]).collect()
}

/// The inks of one item.
struct Shades {
    light: Ink,
    base: Ink,
    dark: Ink,
    /// The edge of a sphere that turns away from the light.
    rim: Ink,
    /// Faces that look up.
    lid: Ink,
    /// The edge on the light's side of what is round and upright.
    edge: Ink,
    /// Faces that look away from the light.
    deep: Ink,
    outline: Ink,
    /// The highlight's ink; nearly invisible on rubber.
    gleam: Ink,
}

impl Shades {
    fn of(placed: &Placed) -> Self {
        let base = ink(placed.item.color);
        let outline = base.darker(0.6).with_opacity(0.7);
        let [light, dark, rim, gleam] = match placed.item.material {
            Material::Rubber => [0.22, 0.42, 0.5, 0.0],
            Material::Metal => [0.5, 0.6, 0.25, 0.9],
        };
        Self {
            light: base.lighter(light),
            base,
            dark: base.darker(dark),
            rim: base.darker(rim),
            lid: base.lighter(light * 0.9 + 0.08),
            edge: base.darker(0.12),
            deep: base.darker(dark + 0.12),
            outline,
            gleam: Ink::WHITE.with_opacity(gleam),
        }
    }

    #[cfg(test)]
    fn flat(ink: Ink) -> Self {
        let none = ink.with_opacity(0.0);
        let [light, base, dark, rim, lid, edge, deep] = [ink; 7];
        Self { light, base, dark, rim, lid, edge, deep, outline: none, gleam: none }
    }
}

fn ink(color: Color) -> Ink {
    Ink::opaque(match color {
        Color::Gray => [205, 208, 212],
        Color::Red => [205, 32, 38],
        Color::Blue => [40, 74, 214],
        Color::Green => [30, 132, 44],
        Color::Brown => [126, 76, 34],
        Color::Purple => [148, 52, 198],
        Color::Cyan => [36, 200, 208],
        Color::Yellow => [250, 218, 40],
    })
}

fn background(canvas: &mut Canvas, background: Background, draws: &mut Draws) {
    match background {
        Background::Plaster => plaster(canvas, draws),
        Background::Tiles => tiles(canvas),
        Background::Planks => planks(canvas, draws),
        Background::Stripes => stripes(canvas, draws),
    }
}

/// Plaster that is a little brighter where the light falls.
fn plaster(canvas: &mut Canvas, draws: &mut Draws) {
    let tint = Ink::opaque([[120, 120, 120], [124, 121, 116], [116, 120, 126]][draws.below(3)]);
    let wall = [(0.0, tint.lighter(0.06)), (0.55, tint), (1.0, tint.darker(0.06))];
    let lit = Point::new(draws.range(20.0, 60.0), draws.range(10.0, 50.0));
    canvas.fill(band(0.0, SIDE), Fill::Radial(lit, 95.0, &wall));
}

/// Pale blue and white tiles.
fn tiles(canvas: &mut Canvas) {
    let [pale, white] = [Ink::opaque([196, 210, 224]), Ink::opaque([236, 240, 243])];
    canvas.fill(band(0.0, SIDE), Fill::Flat(white));
    let side = SIDE / 12.0;
    for (row, column) in (0..12).flat_map(|row| (0..12).map(move |column| (row, column))) {
        if (row + column) % 2 == 0 {
            let [left, top] = [column, row].map(|n| f64::from(n) * side);
            let corners =
                [(left, top), (left + side, top), (left + side, top + side), (left, top + side)];
            let corners = corners.map(|(x, y)| Point::new(x, y));
            canvas.fill(Outline::new().polygon(&corners), Fill::Flat(pale));
        }
    }
}

/// Light wooden planks with joints here and there.
fn planks(canvas: &mut Canvas, draws: &mut Draws) {
    let wood = Ink::opaque([232, 206, 168]);
    let mut top = 0.0;
    while top < SIDE {
        let foot = (top + draws.range(5.0, 11.0)).min(SIDE);
        let plank = wood.mixed(Ink::opaque([206, 172, 128]), draws.range(0.0, 0.7));
        canvas.fill(band(top, foot), Fill::Flat(plank));
        let joint = draws.range(0.0, SIDE);
        for line in [[(0.0, top), (SIDE, top)], [(joint, top), (joint, foot)]] {
            let line = line.map(|(x, y)| Point::new(x, y));
            canvas.stroke(Outline::new().polyline(&line), wood.darker(0.35), 0.5);
        }
        top = foot;
    }
}

/// Wallpaper with slanted stripes in two pale colours.
fn stripes(canvas: &mut Canvas, draws: &mut Draws) {
    let pairs = [[[238, 226, 232], [218, 202, 216]], [[228, 238, 226], [206, 222, 208]]];
    let [ground, stripe] = pairs[draws.below(pairs.len())].map(Ink::opaque);
    canvas.fill(band(0.0, SIDE), Fill::Flat(ground));
    let slant = draws.range(-45.0, 45.0);
    for idx in -6..16 {
        let left = f64::from(idx) * 13.0 - slant * 0.5;
        let corners =
            [(left, 0.0), (left + 6.5, 0.0), (left + 6.5 + slant, SIDE), (left + slant, SIDE)];
        let corners = corners.map(|(x, y)| Point::new(x, y));
        canvas.fill(Outline::new().polygon(&corners), Fill::Flat(stripe));
    }
}

/// Faint scratches and specks: clutter that cannot be taken for an item.
fn scratches(canvas: &mut Canvas, draws: &mut Draws) {
    let ink = Ink::BLACK.with_opacity(0.13);
    for _ in 0..draws.below(7) {
        let start = Point::new(draws.range(0.0, SIDE), draws.range(0.0, SIDE));
        let end = start + Point::direction(draws.range(0.0, 360.0)) * draws.range(3.0, 12.0);
        canvas.stroke(Outline::new().polyline(&[start, end]), ink, 0.5);
    }
    for _ in 0..draws.below(14) {
        let place = Point::new(draws.range(0.0, SIDE), draws.range(0.0, SIDE));
        canvas.fill(Outline::new().circle(place, draws.range(0.3, 0.7)), Fill::Flat(ink));
    }
}

/// The boards, each with a lit edge and a shadow on the wall below it.
fn boards(canvas: &mut Canvas) {
    let wood = Ink::opaque([150, 132, 112]);
    let mut foot = PITCH;
    while foot <= SIDE {
        let shade = Fill::Flat(Ink::BLACK.with_opacity(0.12));
        canvas.fill(band(foot, (foot + 1.8).min(SIDE)), shade);
        canvas.fill(band(foot - BOARD, foot), Fill::Flat(wood));
        canvas.fill(band(foot - BOARD, foot - BOARD * 0.7), Fill::Flat(wood.lighter(0.4)));
        foot += PITCH;
    }
}

fn shadow(canvas: &mut Canvas, placed: &Placed) {
    let radius = placed.radius;
    let center = placed.center + Point::new(0.32, 0.72) * radius;
    for (share, opacity) in [(1.3, 0.10), (1.1, 0.14), (0.9, 0.18)] {
        let pool = Outline::new().ellipse(center, radius * share, radius * share * TILT);
        canvas.fill(pool, Fill::Flat(Ink::BLACK.with_opacity(opacity)));
    }
}

fn solid(canvas: &mut Canvas, placed: &Placed, shades: &Shades) {
    match placed.item.shape {
        Shape::Sphere => sphere(canvas, placed, shades),
        Shape::Cube => cube(canvas, placed, shades),
        Shape::Cylinder => cylinder(canvas, placed, shades),
        Shape::Cone => cone(canvas, placed, shades),
        Shape::Star => star(canvas, placed, shades),
        Shape::Ring => ring(canvas, placed, shades),
    }
}

fn sphere(canvas: &mut Canvas, placed: &Placed, shades: &Shades) {
    let Placed { center, radius, .. } = *placed;
    let lit = center + Point::new(-0.35, -0.42) * radius;
    let stops = [(0.0, shades.light), (0.42, shades.base), (0.88, shades.dark), (1.0, shades.rim)];
    let disc = || Outline::new().circle(center, radius);
    canvas.fill(disc(), Fill::Radial(lit, radius * 1.5, &stops));
    canvas.stroke(disc(), shades.outline, 0.6);
    gleam(canvas, lit, radius * 0.3, shades);
}

fn cube(canvas: &mut Canvas, placed: &Placed, shades: &Shades) {
    let half = placed.radius * 0.76;
    // The corners of the top face: a quarter turn apart, the second one nearest to the viewer.
    let skew = (placed.turn - 45.0) * 0.75;
    let corner = |idx: u32| {
        let floor = Point::direction(skew + 90.0 * f64::from(idx)) * (half * 1.25);
        placed.center + Point::new(floor.x, floor.y * TILT - half * 0.85)
    };
    let top = [0, 1, 2, 3].map(corner);
    let down = Point::new(0.0, half * 1.75);
    let [right, front, left, _] = top;
    let faces = [
        ([left, front, front + down, left + down], shades.base, shades.dark),
        ([front, right, right + down, front + down], shades.dark, shades.deep),
        (top, shades.light, shades.lid),
    ];
    for (corners, from, to) in faces {
        let fill = [(0.0, from), (1.0, to)];
        let outline = || Outline::new().polygon(&corners);
        canvas.fill(outline(), Fill::Linear(corners[0], corners[2], &fill));
        canvas.stroke(outline(), shades.outline, 0.6);
    }
    gleam(canvas, left.towards(front + down, 0.35), half * 0.22, shades);
}

fn cylinder(canvas: &mut Canvas, placed: &Placed, shades: &Shades) {
    let [wide, high] = [placed.radius * 0.8, placed.radius * 0.66];
    let [top, foot] = [-high, high].map(|y| placed.center + Point::new(0.0, y));
    let across = [foot - Point::new(wide, 0.0), foot + Point::new(wide, 0.0)];
    let stops = [(0.0, shades.edge), (0.28, shades.light), (0.55, shades.base), (1.0, shades.dark)];
    let side = [top - Point::new(wide, 0.0), top + Point::new(wide, 0.0), across[1], across[0]];
    let body = Fill::Linear(across[0], across[1], &stops);
    canvas.fill(Outline::new().ellipse(foot, wide, wide * TILT), body);
    canvas.stroke(Outline::new().ellipse(foot, wide, wide * TILT), shades.outline, 0.6);
    canvas.fill(Outline::new().polygon(&side), body);
    canvas.stroke(Outline::new().polyline(&[side[0], side[3]]), shades.outline, 0.6);
    canvas.stroke(Outline::new().polyline(&[side[1], side[2]]), shades.outline, 0.6);
    let lid = || Outline::new().ellipse(top, wide, wide * TILT);
    canvas.fill(lid(), Fill::Flat(shades.lid));
    canvas.stroke(lid(), shades.outline, 0.6);
    gleam(canvas, top.towards(foot, 0.55) - Point::new(wide * 0.42, 0.0), wide * 0.22, shades);
}

fn cone(canvas: &mut Canvas, placed: &Placed, shades: &Shades) {
    let wide = placed.radius * 0.95;
    let [tip, foot] = [-1.1, 0.62].map(|y| placed.center + Point::new(0.0, y * placed.radius));
    let [left, right] = [foot - Point::new(wide, 0.0), foot + Point::new(wide, 0.0)];
    let stops = [(0.0, shades.edge), (0.34, shades.light), (0.6, shades.base), (1.0, shades.dark)];
    let body = Fill::Linear(left, right, &stops);
    canvas.fill(Outline::new().ellipse(foot, wide, wide * TILT), body);
    canvas.stroke(Outline::new().ellipse(foot, wide, wide * TILT), shades.outline, 0.6);
    canvas.fill(Outline::new().polygon(&[tip, right, left]), body);
    canvas.stroke(Outline::new().polyline(&[left, tip, right]), shades.outline, 0.6);
    gleam(canvas, tip.towards(foot, 0.6) - Point::new(wide * 0.2, 0.0), wide * 0.16, shades);
}

fn star(canvas: &mut Canvas, placed: &Placed, shades: &Shades) {
    let tips = |shift: Point| -> Vec<Point> {
        let spike = |idx: u32| {
            let reach = placed.radius * if idx.is_multiple_of(2) { 1.1 } else { 0.5 };
            let turn = placed.turn * 0.3 - 13.5 - 90.0;
            placed.center + shift + Point::direction(turn + 36.0 * f64::from(idx)) * reach
        };
        (0..10).map(spike).collect()
    };
    let depth = Point::new(0.14, 0.1) * placed.radius;
    canvas.fill(Outline::new().polygon(&tips(depth)), Fill::Flat(shades.dark));
    canvas.stroke(Outline::new().polygon(&tips(depth)), shades.outline, 0.6);
    let corner = Point::new(0.8, 0.8) * placed.radius;
    let stops = [(0.0, shades.light), (0.5, shades.base), (1.0, shades.dark)];
    let front = Fill::Linear(placed.center - corner, placed.center + corner, &stops);
    canvas.fill(Outline::new().polygon(&tips(Point::default())), front);
    canvas.stroke(Outline::new().polygon(&tips(Point::default())), shades.outline, 0.5);
    gleam(
        canvas,
        placed.center - Point::new(0.12, 0.16) * placed.radius,
        placed.radius * 0.18,
        shades,
    );
}

fn ring(canvas: &mut Canvas, placed: &Placed, shades: &Shades) {
    let Placed { center, radius, .. } = *placed;
    let band = || Outline::new().circle(center, radius).circle(center, radius * 0.5);
    let tube = [
        (0.5, shades.dark),
        (0.62, shades.base),
        (0.74, shades.light),
        (0.88, shades.base),
        (1.0, shades.dark),
    ];
    canvas.fill(band(), Fill::Radial(center, radius, &tube));
    canvas.stroke(Outline::new().circle(center, radius), shades.outline, 0.6);
    canvas.stroke(Outline::new().circle(center, radius * 0.5), shades.outline, 0.6);
    gleam(canvas, center + Point::new(-0.5, -0.55) * radius, radius * 0.14, shades);
}

/// The light's reflection on metal.
fn gleam(canvas: &mut Canvas, center: Point, radius: f64, shades: &Shades) {
    let fade = [(0.0, shades.gleam), (0.35, shades.gleam), (1.0, shades.gleam.with_opacity(0.0))];
    canvas.fill(Outline::new().circle(center, radius), Fill::Radial(center, radius, &fade));
}

/// The full width of the picture between two heights.
fn band(top: f64, bottom: f64) -> Outline {
    let corners = [(0.0, top), (SIDE, top), (SIDE, bottom), (0.0, bottom)];
    Outline::new().polygon(&corners.map(|(x, y)| Point::new(x, y)))
}
