//! Units, by an explicit table: what is in it is understood, what is not is text.
//! Not here: where a unit may stand (`parse`); what a missing or other unit means (`compare`).

use std::fmt;

use crate::algebra::Rational;

/// What a number is a number of.
#[derive(Clone, Debug, PartialEq)]
pub enum Unit {
    /// A measure, with what it is worth in the base unit of its kind.
    Measure {
        /// What is measured.
        kind: Kind,
        /// Its worth in base units.
        scale: Rational,
    },
    /// An angle in radians; 180/π degrees.
    Radian,
    /// Things that are counted, or `units`: never contradicts a length, an area or another thing.
    Things,
}

/// Exponents of the base units: metre, gram, second, degree of arc, degree Celsius.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    pub(crate) length: i8,
    pub(crate) mass: i8,
    pub(crate) time: i8,
    pub(crate) angle: i8,
    pub(crate) temperature: i8,
}

const NOTHING: Kind = Kind { length: 0, mass: 0, time: 0, angle: 0, temperature: 0 };
const LENGTH: Kind = Kind { length: 1, ..NOTHING };
const AREA: Kind = Kind { length: 2, ..NOTHING };
const VOLUME: Kind = Kind { length: 3, ..NOTHING };
const MASS: Kind = Kind { mass: 1, ..NOTHING };
const TIME: Kind = Kind { time: 1, ..NOTHING };
const SPEED: Kind = Kind { length: 1, time: -1, ..NOTHING };
const ANGLE: Kind = Kind { angle: 1, ..NOTHING };
const TEMPERATURE: Kind = Kind { temperature: 1, ..NOTHING };

/// Spellings, kind, and worth in metres, grams, seconds or degrees as a fraction.
type Row = (&'static [&'static str], Kind, (i128, i128));

const MEASURES: &[Row] = &[
    (&["m", "meter", "meters", "metre", "metres", "米"], LENGTH, (1, 1)),
    (&["dm", "decimeter", "decimeters", "decimetre", "decimetres", "分米"], LENGTH, (1, 10)),
    (&["cm", "centimeter", "centimeters", "centimetre", "centimetres", "厘米"], LENGTH, (1, 100)),
    (&["mm", "millimeter", "millimeters", "millimetre", "millimetres", "毫米"], LENGTH, (1, 1000)),
    (
        &["km", "kilometer", "kilometers", "kilometre", "kilometres", "千米", "公里"],
        LENGTH,
        (1000, 1),
    ),
    (&["inch", "inches"], LENGTH, (254, 10_000)),
    (&["ft", "foot", "feet"], LENGTH, (3048, 10_000)),
    (&["yd", "yard", "yards"], LENGTH, (9144, 10_000)),
    (&["mi", "mile", "miles"], LENGTH, (1_609_344, 1000)),
    (&["海里", "nmi"], LENGTH, (1852, 1)),
    (&["平方米", "平方公尺"], AREA, (1, 1)),
    (&["平方厘米"], AREA, (1, 10_000)),
    (&["平方分米"], AREA, (1, 100)),
    (&["平方毫米"], AREA, (1, 1_000_000)),
    (&["平方千米", "平方公里"], AREA, (1_000_000, 1)),
    (&["hectare", "hectares", "公顷"], AREA, (10_000, 1)),
    (&["立方米"], VOLUME, (1, 1)),
    (&["立方厘米"], VOLUME, (1, 1_000_000)),
    (&["立方分米"], VOLUME, (1, 1000)),
    (&["L", "l", "liter", "liters", "litre", "litres", "升"], VOLUME, (1, 1000)),
    (&["mL", "ml", "milliliter", "milliliters", "毫升"], VOLUME, (1, 1_000_000)),
    (&["g", "gram", "grams", "克"], MASS, (1, 1)),
    (&["kg", "kilogram", "kilograms", "千克", "公斤"], MASS, (1000, 1)),
    (&["mg", "milligram", "milligrams", "毫克"], MASS, (1, 1000)),
    (&["ton", "tons", "tonne", "tonnes", "吨"], MASS, (1_000_000, 1)),
    (&["lb", "lbs", "pound", "pounds"], MASS, (45_359_237, 100_000)),
    (&["s", "sec", "secs", "second", "seconds", "秒"], TIME, (1, 1)),
    (&["ms", "millisecond", "milliseconds"], TIME, (1, 1000)),
    (&["min", "mins", "minute", "minutes", "分钟", "分"], TIME, (60, 1)),
    (&["h", "hr", "hrs", "hour", "hours", "小时", "时"], TIME, (3600, 1)),
    (&["day", "days", "天"], TIME, (86_400, 1)),
    (&["week", "weeks", "周"], TIME, (604_800, 1)),
    (&["mph"], SPEED, (1_609_344, 3_600_000)),
    (&["kmh", "kmph", "kph"], SPEED, (1000, 3600)),
    (&["knot", "knots", "节"], SPEED, (1852, 3600)),
    (&["deg", "degs", "degree", "degrees", "度"], ANGLE, (1, 1)),
    (&["celsius"], TEMPERATURE, (1, 1)),
];

const RADIANS: &[&str] = &["rad", "rads", "radian", "radians", "弧度"];

/// What is counted in questions about figures.
const THINGS: &[&str] = &[
    "unit",
    "units",
    "item",
    "items",
    "object",
    "objects",
    "thing",
    "things",
    "piece",
    "pieces",
    "shape",
    "shapes",
    "cube",
    "cubes",
    "sphere",
    "spheres",
    "cylinder",
    "cylinders",
    "ball",
    "balls",
    "block",
    "blocks",
    "car",
    "cars",
    "bus",
    "buses",
    "bike",
    "bikes",
    "bicycle",
    "bicycles",
    "motorbike",
    "motorbikes",
    "motorcycle",
    "motorcycles",
    "truck",
    "trucks",
    "plane",
    "planes",
    "airplane",
    "airplanes",
    "aeroplane",
    "aeroplanes",
    "jet",
    "jets",
    "bird",
    "birds",
    "person",
    "people",
    "man",
    "men",
    "woman",
    "women",
    "child",
    "children",
    "student",
    "students",
    "boy",
    "boys",
    "girl",
    "girls",
    "triangle",
    "triangles",
    "square",
    "squares",
    "circle",
    "circles",
    "rectangle",
    "rectangles",
    "side",
    "sides",
    "angle",
    "angles",
    "edge",
    "edges",
    "vertex",
    "vertices",
    "face",
    "faces",
    "point",
    "points",
    "line",
    "lines",
    "apple",
    "apples",
    "time",
    "times",
    "way",
    "ways",
    "dollar",
    "dollars",
    "yuan",
    "euro",
    "euros",
    "cent",
    "cents",
    "元",
    "个",
    "件",
    "人",
    "次",
    "辆",
    "块",
];

/// Single letters that are units only where white space or a slash stands before them, since `2h` and `3l` are more
/// often a letter's multiple.
const SHY: &[&str] = &["h", "l", "L", "min"];

impl Unit {
    /// Degrees of arc.
    pub const DEGREE: Self = Self::Measure { kind: ANGLE, scale: Rational::ONE };

    /// The unit called `word`; `is_apart` says that white space or a slash stands before it.
    pub(super) fn named(word: &str, is_apart: bool) -> Option<Self> {
        // Most letters in formulas are no units.
        if word.len() == 1 && !"mgshlL".contains(word) {
            return None;
        }
        if SHY.contains(&word) && !is_apart {
            return None;
        }
        let lower = word.to_ascii_lowercase();
        let is_short = word.len() <= 2;
        let spelled = |spelling: &str| spelling == word || (!is_short && spelling == lower);
        if let Some((_, kind, (above, below))) = MEASURES
            .iter()
            .find(|(spellings, ..)| spellings.iter().any(|spelling| spelled(spelling)))
        {
            return Some(Self::Measure { kind: *kind, scale: Rational::new(*above, *below)? });
        }
        if RADIANS.contains(&lower.as_str()) {
            return Some(Self::Radian);
        }
        THINGS.contains(&lower.as_str()).then_some(Self::Things)
    }

    /// The unit to an integer power.
    pub(super) fn power(self, exponent: i8) -> Option<Self> {
        match self {
            Self::Measure { kind, scale } => Some(Self::Measure {
                kind: kind.combine(NOTHING, exponent)?,
                scale: scale.power(i32::from(exponent))?,
            }),
            Self::Things => Some(Self::Things),
            Self::Radian => None,
        }
    }

    /// The product of two units, the second to an integer power.
    pub(super) fn times(self, other: Self, exponent: i8) -> Option<Self> {
        match (self, other) {
            (Self::Measure { kind, scale }, Self::Measure { kind: other, scale: other_scale }) => {
                Some(Self::Measure {
                    kind: other.combine(kind, exponent)?,
                    scale: scale.multiply(other_scale.power(i32::from(exponent))?)?,
                })
            }
            (Self::Things, _) | (_, Self::Things) => Some(Self::Things),
            _ => None,
        }
    }

    /// Whether the unit measures length, area or volume.
    pub(super) fn is_length(&self) -> bool {
        matches!(self, Self::Measure { kind, .. } if *kind == LENGTH)
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Radian => f.write_str("radians"),
            Self::Things => f.write_str("things"),
            Self::Measure { kind, scale } => {
                if *scale != Rational::ONE {
                    write!(f, "{scale} ")?;
                }
                let bases = [
                    ("m", kind.length),
                    ("g", kind.mass),
                    ("s", kind.time),
                    ("degree", kind.angle),
                    ("°C", kind.temperature),
                ];
                for (base, exponent) in bases.into_iter().filter(|(_, exponent)| *exponent != 0) {
                    match exponent {
                        1 => write!(f, "{base}")?,
                        exponent => write!(f, "{base}^{exponent}")?,
                    }
                }
                Ok(())
            }
        }
    }
}

impl Kind {
    /// `other * self ^ exponent`.
    fn combine(self, other: Self, exponent: i8) -> Option<Self> {
        let part = |mine: i8, others: i8| mine.checked_mul(exponent)?.checked_add(others);
        Some(Self {
            length: part(self.length, other.length)?,
            mass: part(self.mass, other.mass)?,
            time: part(self.time, other.time)?,
            angle: part(self.angle, other.angle)?,
            temperature: part(self.temperature, other.temperature)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_spelling_names_one_unit() {
        let mut seen = std::collections::BTreeSet::new();
        let spellings = MEASURES.iter().flat_map(|row| row.0).chain(RADIANS).chain(THINGS);
        for spelling in spellings {
            assert!(seen.insert(*spelling), "{spelling} twice");
            assert!(Unit::named(spelling, true).is_some(), "{spelling}");
        }
    }

    #[test]
    fn units_multiply() {
        let metre = Unit::named("m", false).unwrap();
        let second = Unit::named("s", false).unwrap();
        let hour = Unit::named("h", true).unwrap();
        let kilometre = Unit::named("km", false).unwrap();
        // 1 km/h = 5/18 m/s
        let slow = kilometre.times(hour, -1).unwrap();
        let fast = metre.times(second, -1).unwrap();
        let scale = |unit: &Unit| match unit {
            Unit::Measure { scale, .. } => *scale,
            _ => Rational::ZERO,
        };
        assert_eq!(scale(&slow).divide(scale(&fast)), Rational::new(5, 18));
    }

    #[test]
    fn letters_that_are_rarely_units_need_room() {
        assert_eq!(Unit::named("h", false), None);
        assert_eq!(Unit::named("x", true), None);
        assert!(Unit::named("M", true).is_none());
        assert_eq!(Unit::named("Meters", false), Unit::named("m", false));
    }
}
