//! Which rows are added up to which: positions in a list of row numbers, grouped on the host so that a kernel adds in a fixed
//! order.
//! Not here: adding them (`rows`).

/// Positions in a list, those of one row together; no group is empty.
#[derive(Default)]
pub(crate) struct Groups {
    /// A row for each group.
    pub(crate) ids: Vec<u32>,
    /// Where in `order` each group's positions begin, and the end of the last.
    pub(crate) starts: Vec<u32>,
    /// Positions in the list.
    pub(crate) order: Vec<u32>,
}

impl Groups {
    fn push(&mut self, id: u32, positions: impl IntoIterator<Item = u32>) {
        if self.starts.is_empty() {
            self.starts.push(0);
        }
        self.ids.push(id);
        self.order.extend(positions);
        self.starts.push(self.order.len() as u32);
    }
}

/// How the rows of a list are added up so that no thread adds many: those of a row that is named often in pieces, whose sums
/// are added then.
#[derive(Default)]
pub(crate) struct Plan {
    /// Rows that are named at most [`Plan::MOST`] times.
    pub(crate) whole: Groups,
    /// Pieces of the others; their ids count them.
    pub(crate) pieces: Groups,
    /// The pieces of each of the others: positions among the pieces.
    pub(crate) joined: Groups,
}

impl Plan {
    /// Positions in a group.
    const MOST: usize = 64;

    pub(crate) fn of(list: &[u32]) -> Self {
        let mut plan = Self::default();
        let id = |position: &u32| list[*position as usize];
        for group in sorted_positions(list).chunk_by(|a, b| id(a) == id(b)) {
            if group.len() <= Self::MOST {
                plan.whole.push(id(&group[0]), group.iter().copied());
                continue;
            }
            let first = plan.pieces.ids.len() as u32;
            for (n, piece) in (first..).zip(group.chunks(Self::MOST)) {
                plan.pieces.push(n, piece.iter().copied());
            }
            plan.joined.push(id(&group[0]), first..plan.pieces.ids.len() as u32);
        }
        plan
    }
}

/// The positions in a list of row numbers, by row and then ascending. A radix sort: row numbers are small.
pub(crate) fn sorted_positions(list: &[u32]) -> Vec<u32> {
    const DIGIT: usize = 10; // bits
    let largest = list.iter().copied().max().unwrap_or(0);
    let mut order: Vec<u32> = (0..list.len() as u32).collect();
    let mut next = order.clone();
    for shift in (0..u32::BITS).step_by(DIGIT).take_while(|shift| largest >> shift > 0) {
        let digit = |id: u32| (id >> shift) as usize % (1 << DIGIT);
        let mut places = [0usize; (1 << DIGIT) + 1];
        for &id in list {
            places[digit(id) + 1] += 1;
        }
        for d in 0..1 << DIGIT {
            places[d + 1] += places[d];
        }
        for &position in &order {
            let place = &mut places[digit(list[position as usize])];
            next[*place] = position;
            *place += 1;
        }
        std::mem::swap(&mut order, &mut next);
    }
    order
}

/// Where among the sorted positions those of each of `rows` rows begin, and the end of the last.
pub(crate) fn starts_of_rows(list: &[u32], rows: usize) -> Vec<u32> {
    let mut starts = vec![0; rows + 1];
    for &id in list {
        starts[id as usize + 1] += 1;
    }
    for row in 0..rows {
        starts[row + 1] += starts[row];
    }
    starts
}
