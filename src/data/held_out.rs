//! Rows of one's own that a run is measured on instead of trained on.
//!
//! Which they are follows from a seed alone, so that a run that is resumed, and one that is compared with it, parts the same
//! rows. Rows with the same pictures stay together, and so do those with the same question and none: a model that was
//! trained on one would be asked what it has seen.
//!
//! Not here: when rows are held out (`configured`); a task's own held-out rows (`tasks`).

use super::{DataError, ListedRows};
use crate::rng::{Purpose, Stream};
use std::collections::BTreeMap;

/// Rows in two parts.
pub(super) struct Parted {
    pub(super) trained_on: ListedRows,
    pub(super) held_out: ListedRows,
}

/// Parts rows: at least one and at most all but one are held out, about as many as the fraction says.
///
/// # Errors
/// There is a single row.
pub(super) fn parted(rows: &ListedRows, fraction: f64, seed: u64) -> Result<Parted, DataError> {
    let n_rows = rows.len();
    if n_rows < 2 {
        return Err(DataError::TooFewRows { name: rows.name().to_owned(), n_rows });
    }
    let mut kin: BTreeMap<String, usize> = BTreeMap::new();
    let mut families: Vec<Vec<usize>> = Vec::new();
    for (idx, kinship) in rows.kinship().enumerate() {
        let family = *kin.entry(kinship).or_insert(families.len());
        match families.get_mut(family) {
            Some(members) => members.push(idx),
            None => families.push(vec![idx]),
        }
    }
    if families.len() == 1 {
        families = (0..n_rows).map(|idx| vec![idx]).collect();
    }
    let is_held_out = chosen(families, n_wanted(fraction, n_rows), seed, n_rows);
    let part = |wanted: bool| -> Vec<usize> {
        (0..n_rows).filter(|idx| is_held_out[*idx] == wanted).collect()
    };
    let name = rows.name();
    Ok(Parted {
        trained_on: rows.some(name.to_owned(), &part(false)),
        held_out: rows.some(format!("{name}, rows held out"), &part(true)),
    })
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rounded fraction of a number of rows"
)]
fn n_wanted(fraction: f64, n_rows: usize) -> usize {
    ((fraction * n_rows as f64).round() as usize).clamp(1, n_rows - 1)
}

/// Whether each row is held out: whole families in a drawn order, until there are enough rows. The last family stays.
fn chosen(mut families: Vec<Vec<usize>>, n_wanted: usize, seed: u64, n_rows: usize) -> Vec<bool> {
    Stream::new(seed, Purpose::HoldingOut, 0, 0, 0).draws().shuffle(&mut families);
    families.pop();
    let mut is_held_out = vec![false; n_rows];
    let mut n_held_out = 0;
    for members in families {
        if n_held_out >= n_wanted {
            break;
        }
        n_held_out += members.len();
        for idx in members {
            is_held_out[idx] = true;
        }
    }
    is_held_out
}

#[cfg(test)]
mod tests {
    use super::super::{Dataset, OpenOptions, open};
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn rows(lines: &[String]) -> ListedRows {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("rows.jsonl");
        std::fs::write(&path, lines.join("\n")).unwrap();
        match open(&path, None, &OpenOptions::default()).unwrap() {
            Dataset::Listed(rows) => rows,
            Dataset::Drawn(_) => panic!("drawn"),
        }
    }

    fn ids(rows: &ListedRows) -> Vec<String> {
        rows.texts().map(|row| row.id.clone()).collect()
    }

    fn row(problem: &str, image: Option<usize>) -> String {
        let image = image.map_or("null".to_owned(), |image| format!("\"{image}.png\""));
        format!("{{\"problem\":\"{problem}\",\"solution\":1,\"image\":{image}}}")
    }

    #[test]
    fn rows_of_one_picture_or_question_are_not_parted() {
        let lines: Vec<String> =
            (0..40).map(|idx| row(&format!("q{idx}"), Some(idx / 4))).collect();
        let Parted { trained_on, held_out } = parted(&rows(&lines), 0.1, 0).unwrap();
        assert_eq!((trained_on.len(), held_out.len()), (36, 4));
        assert_eq!(held_out.name(), "rows.jsonl, rows held out");
        let pictures = |rows: &ListedRows| -> BTreeSet<String> { rows.kinship().collect() };
        assert!(pictures(&trained_on).is_disjoint(&pictures(&held_out)));
        let twins: Vec<String> = (0..20).map(|idx| row(&format!("q{}", idx / 2), None)).collect();
        let parts = parted(&rows(&twins), 0.3, 0).unwrap();
        assert_eq!(parts.held_out.len(), 6);
        assert!(pictures(&parts.trained_on).is_disjoint(&pictures(&parts.held_out)));
    }

    #[test]
    fn one_row_cannot_be_parted_and_one_picture_is() {
        let one = rows(&[row("?", None)]);
        assert!(matches!(parted(&one, 0.1, 0), Err(DataError::TooFewRows { n_rows: 1, .. })));
        let same: Vec<String> = (0..10).map(|idx| row(&format!("q{idx}"), Some(0))).collect();
        assert_eq!(parted(&rows(&same), 0.2, 0).unwrap().held_out.len(), 2);
    }

    #[test]
    fn the_seed_decides_which_rows_are_held_out() {
        let lines: Vec<String> = (0..100).map(|idx| row(&format!("q{idx}"), Some(idx))).collect();
        let rows = rows(&lines);
        let held = |seed| ids(&parted(&rows, 0.1, seed).unwrap().held_out);
        assert_eq!(held(0), held(0));
        assert_ne!(held(0), held(1));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_row_is_in_one_part_and_neither_part_is_empty(
            pictures in prop::collection::vec(0_usize..6, 2..30), fraction in 0.001..0.999_f64, seed: u64,
        ) {
            let lines: Vec<String> = pictures.iter().enumerate()
                .map(|(idx, picture)| row(&format!("q{idx}"), Some(*picture))).collect();
            let rows = rows(&lines);
            let Parted { trained_on, held_out } = parted(&rows, fraction, seed).unwrap();
            prop_assert!(trained_on.len() > 0 && held_out.len() > 0);
            let mut all = [ids(&trained_on), ids(&held_out)].concat();
            all.sort();
            let mut expected = ids(&rows);
            expected.sort();
            prop_assert_eq!(all, expected);
        }
    }
}
