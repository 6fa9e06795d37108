//! What a scene of `synth-vc` holds and where: items with a shape, a size, a colour and a material,
//! on a floor seen from above, none of them hidden too much.
//!
//! Not here: which items a question needs (`question`); how they look (`render`).

use crate::data::Split;
use crate::data::plane::Point;
use crate::rng::Draws;
use std::fmt;

/// Of an item's silhouette, at least this share is never covered by other items. `arrange` keeps
/// items far enough apart for it; the tests count pixels.
#[cfg(test)]
pub(super) const SHARE_VISIBLE: f64 = 0.55;

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
pub(super) enum Size {
    Small,
    Large,
}

impl Size {
    pub(super) const ALL: [Self; 2] = [Self::Small, Self::Large];
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
    pub(super) size: Size,
    pub(super) material: Material,
}

impl Item {
    pub(super) fn draw(look: Look, draws: &mut Draws) -> Self {
        Self {
            shape: pick(look.shapes, draws),
            color: pick(Color::ALL, draws),
            size: pick(Size::ALL, draws),
            material: pick([Material::Rubber, Material::Metal], draws),
        }
    }
}

/// An item's short name, "red cube".
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

impl fmt::Display for Size {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Self::Small => "small",
            Self::Large => "large",
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Background {
    Studio,
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
                backgrounds: &[Background::Studio],
            },
            Split::Shifted => Self {
                shapes: [Shape::Cone, Shape::Star, Shape::Ring],
                backgrounds: &[Background::Tiles, Background::Planks, Background::Stripes],
            },
        }
    }
}

/// An item in the picture; lengths in canvas units.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) item: Item,
    /// The middle of its silhouette.
    pub(super) center: Point,
    /// The silhouette's radius, roughly.
    pub(super) radius: f64,
    /// How far it is turned about its upright axis, degrees.
    pub(super) turn: f64,
}

/// A background and the items on it, the farthest first.
#[derive(Clone, Debug)]
pub(super) struct Scene {
    pub(super) background: Background,
    pub(super) placed: Vec<Placed>,
}

/// Canvas heights between which the middles of items lie: the floor.
const FLOOR: [f64; 2] = [34.0, 86.0];
/// Places tried before the items are made smaller.
const N_TRIES: usize = 400;

impl Scene {
    /// Puts the items on the floor, none too close to another.
    pub(super) fn arrange(items: &[Item], look: Look, draws: &mut Draws) -> Self {
        let background = look.backgrounds.get(draws.below(look.backgrounds.len()));
        let background = background.copied().unwrap_or(Background::Studio);
        let mut scale = if items.len() > 7 { 0.85 } else { 1.0 };
        let mut placed = loop {
            if let Some(placed) = scatter(items, scale, draws) {
                break placed;
            }
            scale *= 0.94;
        };
        placed.sort_by(|one, other| one.center.y.total_cmp(&other.center.y));
        Self { background, placed }
    }
}

/// A place for each item, or `None` where the tries run out.
fn scatter(items: &[Item], scale: f64, draws: &mut Draws) -> Option<Vec<Placed>> {
    let mut placed: Vec<Placed> = Vec::with_capacity(items.len());
    let mut n_left = N_TRIES;
    // Large ones first: they are the harder to place.
    let mut order: Vec<&Item> = items.iter().collect();
    order.sort_by_key(|item| item.size == Size::Small);
    for item in order {
        loop {
            n_left = n_left.checked_sub(1)?;
            let place = place(*item, scale, draws);
            if placed.iter().all(|other| is_apart(&place, other)) {
                placed.push(place);
                break;
            }
        }
    }
    Some(placed)
}

fn place(item: Item, scale: f64, draws: &mut Draws) -> Placed {
    let height = draws.range(FLOOR[0], FLOOR[1]);
    let nearness = (height - FLOOR[0]) / (FLOOR[1] - FLOOR[0]);
    let full = match item.size {
        Size::Small => 6.4,
        Size::Large => 11.6,
    };
    let radius = full * scale * (0.88 + 0.24 * nearness);
    let margin = radius + 3.0;
    let center = Point::new(draws.range(margin, 100.0 - margin), height.min(100.0 - margin));
    Placed { item, center, radius, turn: draws.range(0.0, 90.0) }
}

/// Items of one colour do not touch, others cover little of each other.
fn is_apart(one: &Placed, other: &Placed) -> bool {
    let share = if one.item.color == other.item.color { 1.08 } else { 0.86 };
    one.center.distance(other.center) > share * (one.radius + other.radius)
}

/// One of an array that is not empty.
pub(super) fn pick<T: Copy, const N: usize>(items: [T; N], draws: &mut Draws) -> T {
    items[draws.below(N)]
}
