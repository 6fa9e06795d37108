//! `eval --against`: what a model is compared with, and the comparison.
//! Not here: its arithmetic (`eval::paired`), asking a model (`eval`).

use std::path::Path;

use serde::Serialize;

use crate::eval::Answer;
use crate::eval::answers_file::read_answers;
use crate::eval::paired::{PairedComparison, compare};
use crate::model::source;

use super::failure::UsageError;

/// What a model's answers are compared with.
pub(super) struct Other {
    name: String,
    /// The answers that were read from a file; `None` for a model, which must still be asked.
    answers: Option<Vec<Answer>>,
}

/// The comparison with another model.
#[derive(Debug, Serialize)]
pub(super) struct Against {
    pub(super) model: String,
    #[serde(flatten)]
    pub(super) paired: PairedComparison,
}

impl Other {
    /// Opens a file of answers, or a model.
    ///
    /// # Errors
    /// The file holds something else, or there is no such model.
    pub(super) fn open(against: &str) -> anyhow::Result<Self> {
        let path = Path::new(against);
        let answers = path.is_file().then(|| read_answers(path)).transpose()?;
        if answers.is_none() {
            source::resolve(against)?;
        }
        Ok(Self { name: against.to_owned(), answers })
    }

    /// Compares answers with the other's; `None` if asking the other model was interrupted.
    ///
    /// # Errors
    /// The model cannot be asked, or the two have no question in common.
    pub(super) fn compared(
        self,
        answers: &[Answer],
        ask: impl FnOnce(&str) -> anyhow::Result<Option<Vec<Answer>>>,
    ) -> anyhow::Result<Option<Against>> {
        let others = match self.answers {
            Some(others) => Some(others),
            None => ask(&self.name)?,
        };
        let Some(others) = others else { return Ok(None) };
        let paired = compare(answers, &others);
        if paired.n == 0 {
            let problem =
                format!("--against {}: found no answer to any of these questions", self.name);
            let hint = "name answers to the same task, split and data";
            return Err(UsageError::new(problem, hint).into());
        }
        Ok(Some(Against { model: self.name, paired }))
    }
}
