//! What is known not to hold yet, in one place: each entry is to be deleted with the gap that it names.
//! Not here: what must hold (the areas).

use crate::outcome::Outcome;

/// A run that is killed before its configuration is written leaves a folder that can neither be resumed nor begun in.
pub(crate) fn cannot_begin_where_a_run_was_killed_at_its_first_writes(outcome: &Outcome) -> bool {
    outcome.status.code() == Some(2) && outcome.told.contains("the folder is in use")
}
