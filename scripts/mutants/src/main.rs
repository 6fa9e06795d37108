//! Plants all mutants of some files at once, each behind its number, so that one build serves all of them.
//! Not here: making the list (cargo-mutants), running tests (`scripts/mutants.py`).
//!
//! `plant-mutants MUTANTS.json ROOT LEFT_OUT.json` rewrites the files below ROOT and prints what it did as JSON. An
//! expression that N mutants change becomes a `match` on `crate::planted(point)` with N more arms; a function whose body a
//! mutant replaces returns early. `crate::planted` gives the number of the mutant that is switched on, and records
//! which points a test reaches.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::Span;
use serde::{Deserialize, Serialize};
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Arm, Block, Expr, ImplItemFn, ItemConst, ItemFn, ItemStatic, ReturnType, Signature, Type,
};

/// A mutant as `cargo mutants --list --json` describes it.
#[derive(Deserialize)]
struct Listed {
    file: String,
    genre: String,
    replacement: String,
    span: ListedSpan,
}

#[derive(Deserialize)]
struct ListedSpan {
    start: Position,
    end: Position,
}

/// Both counted from 1, in characters.
#[derive(Deserialize)]
struct Position {
    line: usize,
    column: usize,
}

/// What was done.
#[derive(Default, Serialize)]
struct Planted {
    /// The mutants at each point.
    points: Vec<Vec<usize>>,
    /// Where the text of a mutant is in the rewritten file, in bytes.
    texts: BTreeMap<usize, (String, usize, usize)>,
    /// Mutants that need a build of their own: in constants, and bodies of functions that return `impl Trait`.
    apart: BTreeSet<usize>,
    /// Mutants that cannot compile: `||` in a chain with `let`.
    unviable: BTreeSet<usize>,
}

struct Mutant {
    id: usize,
    genre: String,
    replacement: String,
    start: usize,
    end: usize,
}

/// The text of a file, and where its lines begin.
struct Source {
    text: String,
    lines: Vec<usize>,
}

impl Source {
    fn new(text: String) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let lines = std::iter::once(0).chain(ends.map(|(i, _)| i + 1)).collect();
        Self { text, lines }
    }

    /// The byte at a line, from 1, and a column in characters, from 0.
    fn byte(&self, line: usize, column: usize) -> usize {
        let start = self.lines[line - 1];
        let rest = &self.text[start..];
        rest.char_indices().nth(column).map_or(self.text.len(), |(i, _)| start + i)
    }

    fn range(&self, span: Span) -> (usize, usize) {
        let (start, end) = (span.start(), span.end());
        (self.byte(start.line, start.column), self.byte(end.line, end.column))
    }
}

enum Kind {
    /// An expression, replaced by a `match`.
    Expression,
    /// The block of a function, which may return early.
    Body,
    /// The place behind a pattern, where a guard goes.
    Guard,
}

/// A range of the source that some mutants change, with the text that each puts there.
struct Edit {
    start: usize,
    end: usize,
    kind: Kind,
    texts: Vec<(usize, String)>,
}

/// Finds what each mutant changes.
struct Finder<'a> {
    source: &'a Source,
    /// Those not found yet.
    mutants: Vec<Mutant>,
    edits: Vec<Edit>,
    planted: &'a mut Planted,
    is_constant: bool,
}

impl Finder<'_> {
    fn take(&mut self, is_meant: impl Fn(&Mutant) -> bool) -> Vec<Mutant> {
        let (found, rest) = std::mem::take(&mut self.mutants).into_iter().partition(is_meant);
        self.mutants = rest;
        if self.is_constant {
            self.planted.apart.extend(found.iter().map(|mutant: &Mutant| mutant.id));
            return Vec::new();
        }
        found
    }

    fn edit(&mut self, (start, end): (usize, usize), kind: Kind, texts: Vec<(usize, String)>) {
        if !texts.is_empty() {
            self.edits.push(Edit { start, end, kind, texts });
        }
    }

    /// An operator at `operator` of the expression at `whole`.
    fn operator(&mut self, whole: (usize, usize), operator: (usize, usize), has_let: bool) {
        let is_meant = |m: &Mutant| m.genre.ends_with("Operator") && m.start == operator.0;
        let found = self.take(is_meant);
        if has_let {
            self.planted.unviable.extend(found.iter().map(|mutant| mutant.id));
            return;
        }
        let text = &self.source.text;
        let (before, after) = (&text[whole.0..operator.0], &text[operator.1..whole.1]);
        let texts = found.iter().map(|m| (m.id, format!("{before}{}{after}", m.replacement)));
        let texts = texts.collect();
        self.edit(whole, Kind::Expression, texts);
    }

    fn function(&mut self, signature: &Signature, block: &Block) {
        let (start, end) = self.source.range(block.span());
        let first = block.stmts.first().map_or(end, |first| self.source.range(first.span()).0);
        let found = self.take(|m| m.genre == "FnValue" && (start + 1..=first).contains(&m.start));
        let is_opaque = matches!(&signature.output, ReturnType::Type(_, of) if matches!(**of, Type::ImplTrait(_)));
        if is_opaque || signature.constness.is_some() {
            self.planted.apart.extend(found.iter().map(|mutant| mutant.id));
            return;
        }
        let texts = found.into_iter().map(|m| (m.id, m.replacement)).collect();
        self.edit((start, end), Kind::Body, texts);
    }
}

fn has_let(expression: &Expr) -> bool {
    match expression {
        Expr::Let(_) => true,
        Expr::Binary(binary) => has_let(&binary.left) || has_let(&binary.right),
        _ => false,
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.function(&item.sig, &item.block);
        visit::visit_impl_item_fn(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        let outside = std::mem::replace(&mut self.is_constant, true);
        visit::visit_item_const(self, item);
        self.is_constant = outside;
    }

    fn visit_item_static(&mut self, item: &'ast ItemStatic) {
        let outside = std::mem::replace(&mut self.is_constant, true);
        visit::visit_item_static(self, item);
        self.is_constant = outside;
    }

    fn visit_expr(&mut self, expression: &'ast Expr) {
        let whole = self.source.range(expression.span());
        match expression {
            Expr::Binary(binary) => {
                let operator = self.source.range(binary.op.span());
                self.operator(whole, operator, has_let(expression));
            }
            Expr::Unary(unary) => {
                let operator = self.source.range(unary.op.span());
                self.operator(whole, operator, false);
            }
            _ => {}
        }
        visit::visit_expr(self, expression);
        // After its children, so that the innermost one takes the field.
        if let Expr::Struct(_) = expression {
            let is_inside =
                |m: &Mutant| m.genre == "StructField" && whole.0 < m.start && m.end < whole.1;
            let found = self.take(is_inside);
            let text = &self.source.text;
            let without = |m: &Mutant| {
                let after = &text[m.end..whole.1];
                let after = after.trim_start().strip_prefix(',').unwrap_or(after);
                (m.id, format!("{}{after}", &text[whole.0..m.start]))
            };
            let texts = found.iter().map(without).collect();
            self.edit(whole, Kind::Expression, texts);
        }
    }

    fn visit_arm(&mut self, arm: &'ast Arm) {
        let (start, end) = self.source.range(arm.span());
        let is_here = |m: &Mutant| start <= m.start && m.start < end;
        if let Some((_, guard)) = &arm.guard {
            let guard = self.source.range(guard.span());
            let found =
                self.take(|m| m.genre == "MatchArmGuard" && is_here(m) && m.start <= guard.0);
            let texts = found.into_iter().map(|m| (m.id, m.replacement)).collect();
            self.edit(guard, Kind::Expression, texts);
        } else {
            let (_, pattern_end) = self.source.range(arm.pat.span());
            let found = self.take(|m| m.genre == "MatchArm" && m.start == start);
            for mutant in found {
                let text = vec![(mutant.id, String::new())];
                self.edit((pattern_end, pattern_end), Kind::Guard, text);
            }
        }
        visit::visit_arm(self, arm);
    }
}

/// Writes a file's text with its edits, those of a range around those inside it.
struct Writer<'a> {
    file: &'a str,
    source: &'a Source,
    /// Outer ones first.
    edits: std::iter::Peekable<std::vec::IntoIter<Edit>>,
    planted: &'a mut Planted,
    out: String,
}

impl Writer<'_> {
    fn write(&mut self, start: usize, end: usize) {
        let mut at = start;
        while let Some(edit) = self.edits.next_if(|edit| edit.start < end) {
            self.out.push_str(&self.source.text[at..edit.start]);
            at = edit.end;
            self.edit(edit);
        }
        self.out.push_str(&self.source.text[at..end]);
    }

    fn edit(&mut self, edit: Edit) {
        let Edit { start, end, kind, texts } = edit;
        let point = self.planted.points.len();
        self.planted.points.push(texts.iter().map(|(id, _)| *id).collect());
        match kind {
            Kind::Expression => {
                self.out.push_str(&format!("(match crate::planted({point}) {{ "));
                self.arms(&texts, "{ ", " } ");
                self.out.push_str("_ => { ");
                self.write(start, end);
                self.out.push_str(" } })");
            }
            Kind::Body => {
                self.out.push_str(&format!("{{ match crate::planted({point}) {{ "));
                self.arms(&texts, "{ return ", "; } ");
                self.out.push_str("_ => {} } ");
                self.write(start + 1, end);
            }
            Kind::Guard => {
                self.out.push_str(&format!(" if crate::planted({point}) != {}", texts[0].0));
            }
        }
    }

    fn arms(&mut self, texts: &[(usize, String)], before: &str, after: &str) {
        for (id, text) in texts {
            let start = self.out.len();
            self.out.push_str(&format!("{id} => {before}{text}{after}"));
            self.planted.texts.insert(*id, (self.file.to_owned(), start, self.out.len()));
        }
    }
}

fn plant(
    path: &Path,
    file: &str,
    listed: Vec<(usize, Listed)>,
    planted: &mut Planted,
) -> Result<(), Box<dyn std::error::Error>> {
    let source = Source::new(std::fs::read_to_string(path)?);
    let at = |position: &Position| source.byte(position.line, position.column - 1);
    let mutants = listed.into_iter().map(|(id, Listed { genre, replacement, span, .. })| Mutant {
        id,
        genre,
        replacement,
        start: at(&span.start),
        end: at(&span.end),
    });
    let mutants = mutants.collect();
    let syntax = syn::parse_file(&source.text)?;
    let mut finder =
        Finder { source: &source, mutants, edits: Vec::new(), planted, is_constant: false };
    finder.visit_file(&syntax);
    let Finder { mutants, mut edits, planted, .. } = finder;
    planted.apart.extend(mutants.iter().map(|mutant| mutant.id)); // found nowhere
    edits.sort_by_key(|edit| (edit.start, std::cmp::Reverse(edit.end)));
    let (edits, out) = (edits.into_iter().peekable(), String::new());
    let mut writer = Writer { file, source: &source, edits, planted, out };
    writer.write(0, source.text.len());
    std::fs::write(path, writer.out)?;
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, list, root, left_out] = arguments.as_slice() else {
        return Err("usage: plant-mutants MUTANTS.json ROOT LEFT_OUT.json".into());
    };
    let listed: Vec<Listed> = serde_json::from_str(&std::fs::read_to_string(list)?)?;
    let left_out: BTreeSet<usize> = serde_json::from_str(&std::fs::read_to_string(left_out)?)?;
    let mut of_file: BTreeMap<String, Vec<(usize, Listed)>> = BTreeMap::new();
    for (i, mutant) in listed.into_iter().enumerate() {
        // From 1: 0 is no mutant.
        if !left_out.contains(&(i + 1)) {
            of_file.entry(mutant.file.clone()).or_default().push((i + 1, mutant));
        }
    }
    let mut planted = Planted::default();
    for (file, mutants) in of_file {
        plant(&Path::new(root).join(&file), &file, mutants, &mut planted)?;
    }
    println!("{}", serde_json::to_string(&planted)?);
    Ok(())
}
