//! Counts on the command line: whole numbers from one to a limit.
//! Not here: the limits (`limits`); the same counts in run files (`config`).

use std::num::NonZeroUsize;

/// A parser of counts up to `most`; anything else is refused with the range.
pub(super) fn up_to(
    most: usize,
) -> impl Fn(&str) -> Result<NonZeroUsize, String> + Clone + Send + Sync + 'static {
    move |text| {
        let count = text.parse::<NonZeroUsize>().ok().filter(|count| count.get() <= most);
        count.ok_or_else(|| format!("expected a whole number from 1 to {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_end_at_their_limit() {
        let parse = up_to(9);
        assert_eq!((parse("1").unwrap().get(), parse("9").unwrap().get()), (1, 9));
        for text in ["0", "10", "-1", "1e3", "", "99999999999999999999999"] {
            assert_eq!(parse(text).unwrap_err(), "expected a whole number from 1 to 9", "{text}");
        }
    }
}
