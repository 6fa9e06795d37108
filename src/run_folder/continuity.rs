//! Which lines of a file of records stay when a run goes on: exactly those of the updates up to its checkpoint, in order and none
//! missing.
//! Not here: reading and cutting the file (`json_lines`), what a line holds (`records`, `metrics`).

use std::ops::RangeInclusive;

/// How many records of an update a file has, at least and at most.
pub(super) type Expected<'a> = &'a dyn Fn(u64) -> RangeInclusive<usize>;

/// Reads the updates of a file's lines in turn.
pub(super) struct Continuity<'a> {
    last_update: u64,
    expected: Expected<'a>,
    /// The update whose records are read, and how many there were.
    at: u64,
    n: usize,
}

impl<'a> Continuity<'a> {
    /// - `last_update`: the checkpoint's, after which nothing stays
    pub(super) fn new(last_update: u64, expected: Expected<'a>) -> Self {
        Self { last_update, expected, at: 0, n: 0 }
    }

    /// Goes on to a later update; says which one before it has too few records.
    pub(super) fn lacking_before(&mut self, update: u64) -> Option<String> {
        let mut lacking = None;
        while self.at < update.min(self.last_update + 1) {
            let (n, at, least) = (self.n, self.at, *(self.expected)(self.at).start());
            if n < least && lacking.is_none() {
                lacking = Some(format!("{n} records of update {at}, expected {least}"));
            }
            (self.at, self.n) = (at + 1, 0);
        }
        lacking
    }

    /// The same for all updates up to the checkpoint's, at the end of a file.
    pub(super) fn lacking(&mut self) -> Option<String> {
        self.lacking_before(self.last_update + 1)
    }

    /// Whether the next line stays, or comes after the checkpoint.
    ///
    /// # Errors
    /// It is not in its place; the message says why.
    pub(super) fn takes(&mut self, update: u64) -> Result<bool, String> {
        let at = self.at;
        if update < at {
            return Err(format!(
                "a record of update {update}, expected one of update {at} or later"
            ));
        }
        if update > at {
            (self.at, self.n) = (update, 0);
        }
        if update > self.last_update {
            return Ok(false);
        }
        let most = *(self.expected)(update).end();
        if self.n == most {
            return Err(format!("one more record of update {update}, expected {most}"));
        }
        self.n += 1;
        Ok(true)
    }
}
