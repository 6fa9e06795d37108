//! LaTeX commands and Unicode fractions as the signs they stand for.
//! Not here: how they are read (`lexer`).

use super::lexer::{Bracket, Sign};

/// Commands whose argument counts as if it stood alone.
pub(super) const TRANSPARENT: &[&str] = &[
    "text",
    "textbf",
    "textit",
    "textrm",
    "textnormal",
    "mathrm",
    "mathbf",
    "mathit",
    "mathsf",
    "mbox",
    "boxed",
    "fbox",
    "operatorname",
    "displaystyle",
    "rm",
    "bf",
    "overline",
    "vec",
    "mathbb",
];

/// Commands that are signs.
pub(super) const COMMANDS: &[(&str, Sign)] = &[
    ("frac", Sign::Fraction),
    ("dfrac", Sign::Fraction),
    ("tfrac", Sign::Fraction),
    ("cfrac", Sign::Fraction),
    ("sqrt", Sign::Root),
    ("surd", Sign::Root),
    ("pi", Sign::Pi),
    ("times", Sign::Times),
    ("cdot", Sign::Times),
    ("ast", Sign::Times),
    ("div", Sign::Over),
    ("pm", Sign::PlusMinus),
    ("circ", Sign::Degree),
    ("degree", Sign::Degree),
    ("infty", Sign::Infinity),
    ("leq", Sign::LessOrEqual),
    ("le", Sign::LessOrEqual),
    ("leqslant", Sign::LessOrEqual),
    ("geq", Sign::GreaterOrEqual),
    ("ge", Sign::GreaterOrEqual),
    ("geqslant", Sign::GreaterOrEqual),
    ("lt", Sign::Less),
    ("gt", Sign::Greater),
    ("neq", Sign::NotEqual),
    ("ne", Sign::NotEqual),
    ("approx", Sign::Approximate),
    ("in", Sign::Element),
    ("angle", Sign::Figure),
    ("triangle", Sign::Figure),
    ("colon", Sign::Colon),
    ("lbrace", Sign::Open(Bracket::Set)),
    ("rbrace", Sign::Close(Bracket::Set)),
    ("lbrack", Sign::Open(Bracket::Square)),
    ("rbrack", Sign::Close(Bracket::Square)),
    ("vert", Sign::Bar),
    ("lvert", Sign::Bar),
    ("rvert", Sign::Bar),
];

/// Commands that only make room.
pub(super) const SPACING: &[&str] =
    &["left", "right", "quad", "qquad", "ldots", "dots", "cdots", "limits", "big", "Big"];

/// Fractions that are one character.
pub(super) const FRACTIONS: &[(char, (i128, i128))] = &[
    ('½', (1, 2)),
    ('⅓', (1, 3)),
    ('⅔', (2, 3)),
    ('¼', (1, 4)),
    ('¾', (3, 4)),
    ('⅕', (1, 5)),
    ('⅖', (2, 5)),
    ('⅗', (3, 5)),
    ('⅘', (4, 5)),
    ('⅙', (1, 6)),
    ('⅛', (1, 8)),
    ('⅜', (3, 8)),
    ('⅝', (5, 8)),
    ('⅞', (7, 8)),
];
