//! What a scene of `synth-vc` holds and where: items with a shape, a colour and a material, on a shelf with four
//! boards of four places, none before another.
//!
//! Not here: how it looks (`render`).

use crate::data::Split;
use crate::data::canvas::SIDE;
use crate::data::plane::Point;
use crate::rng::Draws;
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Sphere,
    Cube,
    Cylinder,
    Cone,
    Star,
    Ring,
}

/// The colour names and shades of CLEVR, made a little easier to tell apart in small pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    Gray,
    Red,
    Blue,
    Green,
    Brown,
    Purple,
    Cyan,
    Yellow,
}

impl Color {
    pub(super) const ALL: [Self; 8] = [
        Self::Gray,
        Self::Red,
        Self::Blue,
        Self::Green,
        Self::Brown,
        Self::Purple,
        Self::Cyan,
        Self::Yellow,
    ];
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Material {
    Rubber,
    Metal,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) shape: Shape,
    pub(super) color: Color,
    pub(super) material: Material,
}

impl Item {
    pub(super) fn draw(look: Look, draws: &mut Draws) -> Self {
        Self {
            shape: pick(look.shapes, draws),
            color: pick(Color::ALL, draws),
            material: pick([Material::Rubber, Material::Metal], draws),
        }
    }
}

/// "red cube".
impl fmt::Display for Item {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{} {}", self.color, self.shape)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Self::Sphere => "sphere",
            Self::Cube => "cube",
            Self::Cylinder => "cylinder",
            Self::Cone => "cone",
            Self::Star => "star",
            Self::Ring => "ring",
        })
    }
}

impl fmt::Display for Color {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Self::Gray => "gray",
            Self::Red => "red",
            Self::Blue => "blue",
            Self::Green => "green",
            Self::Brown => "brown",
            Self::Purple => "purple",
            Self::Cyan => "cyan",
            Self::Yellow => "yellow",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Background {
    Plaster,
    Tiles,
    Planks,
    Stripes,
}

/// What may appear in a split.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) shapes: [Shape; 3],
    pub(super) backgrounds: &'static [Background],
}

impl Look {
    pub(super) fn of(split: Split) -> Self {
        match split {
            Split::Train | Split::Test => Self {
                shapes: [Shape::Sphere, Shape::Cube, Shape::Cylinder],
                backgrounds: &[Background::Plaster],
            },
            Split::Shifted => Self {
                shapes: [Shape::Cone, Shape::Star, Shape::Ring],
                backgrounds: &[Background::Tiles, Background::Planks, Background::Stripes],
            },
        }
    }
}

/// Boards of the shelf, and places on each.
const N_BOARDS: usize = 4;
const N_COLUMNS: usize = 4;
/// Places on the shelf.
const N_PLACES: usize = N_BOARDS * N_COLUMNS;
/// Between two boards, and from place to place; a fourth of the picture, which at 112 pixels is the part that one image
/// token shows.
pub(super) const PITCH: f64 = SIDE / N_BOARDS as f64;
/// How thick a board is.
pub(super) const BOARD: f64 = 1.6;

/// An item in the picture; lengths in canvas units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) item: Item,
    /// Its place on the shelf, in the order in which one reads.
    place: usize,
    /// The middle of its silhouette.
    pub(super) center: Point,
    /// The silhouette's radius, roughly.
    pub(super) radius: f64,
    /// How far it is turned about its upright axis, degrees.
    pub(super) turn: f64,
}

/// A background and the items before it, in the order in which one reads: board by board, from left to right.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) background: Background,
    pub(super) placed: Vec<Placed>,
}

impl Scene {
    /// Puts items on the shelf, each in a place of its own.
    ///
    /// - `n_items`: at most [`N_PLACES`] are drawn
    pub(super) fn draw(n_items: usize, look: Look, draws: &mut Draws) -> Self {
        let background = look.backgrounds.get(draws.below(look.backgrounds.len()));
        let background = background.copied().unwrap_or(Background::Plaster);
        let mut free: Vec<usize> = (0..N_PLACES).collect();
        let taken = (0..n_items.min(N_PLACES)).map(|_| free.swap_remove(draws.below(free.len())));
        let mut taken: Vec<usize> = taken.collect();
        taken.sort_unstable();
        let placed = taken.into_iter().map(|place| put(Item::draw(look, draws), place, draws));
        Self { background, placed: placed.collect() }
    }
}

/// Its place and what it is, "b3 red cube": columns are `a` to `d` from the left, boards 1 to 4 from the top.
impl fmt::Display for Placed {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let column = ["a", "b", "c", "d"][self.place % N_COLUMNS];
        write!(out, "{column}{} {}", self.place / N_COLUMNS + 1, self.item)
    }
}

/// An item on its board, within its place.
fn put(item: Item, place: usize, draws: &mut Draws) -> Placed {
    let radius = draws.range(7.0, 11.3);
    let play = PITCH / 2.0 - radius - 0.5;
    let [left, foot] = [place % N_COLUMNS, place / N_COLUMNS + 1].map(|n| n as f64 * PITCH);
    let center = Point::new(left + PITCH / 2.0 + draws.range(-play, play), foot - BOARD - radius);
    Placed { item, place, center, radius, turn: draws.range(0.0, 90.0) }
}

/// One of an array that is not empty.
pub(super) fn pick<T: Copy, const N: usize>(items: [T; N], draws: &mut Draws) -> T {
    items[draws.below(N)]
}
