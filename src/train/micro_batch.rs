//! Cutting an update's groups into packed streams that fit a token budget.
//! Not here: what is computed on a stream (`accumulate`).

use std::ops::Range;

/// What a micro-batch holds of one group: its prompt and a range of its completions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSlice {
    /// The group's index in the batch.
    pub group: usize,
    /// Which of its completions.
    pub completions: Range<usize>,
}

/// Splits groups into micro-batches of at most `budget` tokens, in order.
///
/// A group stays together where it fits, so that its prompt is computed once; one that is larger than
/// the budget is cut between completions and its prompt computed in each micro-batch. A single completion
/// with its prompt is never cut, however long. The gradient is the same whatever the budget.
///
/// - `groups`: tokens of the prompt and of each completion
pub fn micro_batches(groups: &[(usize, Vec<usize>)], budget: usize) -> Vec<Vec<GroupSlice>> {
    let mut batches: Vec<Vec<GroupSlice>> = Vec::new();
    let mut room = 0;
    for (group, (prompt_len, completion_lens)) in groups.iter().enumerate() {
        let total = prompt_len + completion_lens.iter().sum::<usize>();
        let mut start = 0;
        while start < completion_lens.len() {
            let starts_group = start == 0;
            if batches.is_empty()
                || room < prompt_len + completion_lens[start]
                || (starts_group && total > room && total <= budget)
            {
                batches.push(Vec::new());
                room = budget;
            }
            room = room.saturating_sub(*prompt_len);
            let mut end = start;
            while end < completion_lens.len() && (completion_lens[end] <= room || end == start) {
                room = room.saturating_sub(completion_lens[end]);
                end += 1;
            }
            if let Some(batch) = batches.last_mut() {
                batch.push(GroupSlice { group, completions: start..end });
            }
            start = end;
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn slice(group: usize, completions: Range<usize>) -> GroupSlice {
        GroupSlice { group, completions }
    }

    #[test]
    fn groups_stay_together_where_they_fit() {
        let groups = [(10, vec![5, 5]), (10, vec![5, 5]), (10, vec![5, 5])];
        assert_eq!(
            micro_batches(&groups, 45),
            [vec![slice(0, 0..2), slice(1, 0..2)], vec![slice(2, 0..2)]]
        );
    }

    #[test]
    fn a_group_that_fits_into_a_micro_batch_of_its_own_is_not_cut() {
        let two = [(10, vec![5, 5]), (10, vec![5, 5])];
        assert_eq!(micro_batches(&two, 35), [vec![slice(0, 0..2)], vec![slice(1, 0..2)]]);
        assert_eq!(micro_batches(&two, 40), [vec![slice(0, 0..2), slice(1, 0..2)]]);
        let single = [(10, vec![5]), (10, vec![5])];
        assert_eq!(micro_batches(&single, 30), [vec![slice(0, 0..1), slice(1, 0..1)]]);
        let whole_budget = [(5, vec![5]), (10, vec![10, 10])];
        assert_eq!(micro_batches(&whole_budget, 30), [vec![slice(0, 0..1)], vec![slice(1, 0..2)]]);
    }

    #[test]
    fn a_group_beyond_the_budget_is_cut_between_completions() {
        let groups = [(10, vec![8, 8, 8, 8])];
        assert_eq!(micro_batches(&groups, 26), [vec![slice(0, 0..2)], vec![slice(0, 2..4)]]);
        assert_eq!(micro_batches(&groups, 1).len(), 4);
    }

    proptest! {
        #[test]
        fn every_completion_stands_in_one_part(
            groups in proptest::collection::vec((1usize..30, proptest::collection::vec(1usize..20, 1..6)), 1..8),
            budget in 1usize..120,
        ) {
            let batches = micro_batches(&groups, budget);
            let mut next = vec![0; groups.len()];
            for batch in &batches {
                prop_assert!(!batch.is_empty());
                let mut tokens = 0;
                let mut n_completions = 0;
                for slice in batch {
                    prop_assert_eq!(slice.completions.start, next[slice.group]);
                    prop_assert!(!slice.completions.is_empty());
                    next[slice.group] = slice.completions.end;
                    tokens += groups[slice.group].0;
                    tokens += groups[slice.group].1[slice.completions.clone()].iter().sum::<usize>();
                    n_completions += slice.completions.len();
                }
                prop_assert!(tokens <= budget || n_completions == 1);
            }
            for (next, (_, completions)) in next.iter().zip(&groups) {
                prop_assert_eq!(*next, completions.len());
            }
        }
    }
}
