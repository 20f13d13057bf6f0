//! Which indices of a source were seen, and which index a sequence number stands for.

/// The last 128 indices of one source.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// Highest index that was authentic.
    highest: u64,
    /// Bit n: `highest - n` was seen.
    seen: u128,
}

impl Window {
    /// Begins with an authentic packet.
    pub fn new(index: u64) -> Window {
        Window { highest: index, seen: 1 }
    }

    /// Whether `index` may be new. Too old to tell counts as seen.
    pub fn is_new(&self, index: u64) -> bool {
        match self.highest.checked_sub(index) {
            None => true,
            Some(behind) => behind < 128 && self.seen >> behind & 1 == 0,
        }
    }

    /// Remembers an authentic packet.
    pub fn note(&mut self, index: u64) {
        if let Some(ahead) = index.checked_sub(self.highest) {
            self.seen = if ahead < 128 { self.seen << ahead } else { 0 } | 1;
            self.highest = index;
        } else if self.highest - index < 128 {
            self.seen |= 1 << (self.highest - index);
        }
    }

    /// The index that is nearest to the highest one and ends in `sequence` (RFC 3711 §3.3.1, appendix A).
    pub fn index_of(&self, sequence: u16) -> u64 {
        nearest(self.highest, sequence)
    }

    pub fn highest(&self) -> u64 {
        self.highest
    }
}

/// The index nearest to `highest` that ends in `sequence`.
pub fn nearest(highest: u64, sequence: u16) -> u64 {
    let here = highest & !0xFFFF | u64::from(sequence);
    if here + 0x8000 < highest {
        here + 0x1_0000
    } else if here > highest + 0x8000 {
        // Before the first rollover there is no earlier one.
        here.checked_sub(0x1_0000).unwrap_or(here)
    } else {
        here
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_sequence_number_is_placed_near_the_highest() {
        for (highest, sequence, index) in [
            (0, 5, 5),
            (65_535, 0, 65_536),
            (65_536, 65_535, 65_535),
            (65_530, 65_535, 65_535),
            (10, 65_535, 65_535),
            (0x2_0003, 0xFFFE, 0x1_FFFE),
            (0x2_FFFE, 3, 0x3_0003),
        ] {
            assert_eq!(nearest(highest, sequence), index, "{highest:#x} {sequence:#x}");
        }
    }

    #[test]
    fn nothing_is_new_twice_and_what_is_too_old_is_not_new() {
        let mut window = Window::new(1_000);
        assert!(!window.is_new(1_000) && window.is_new(1_001) && window.is_new(873) && !window.is_new(872));
        window.note(1_010);
        assert!(!window.is_new(1_010) && !window.is_new(1_000) && window.is_new(1_005));
        window.note(1_005);
        assert!(!window.is_new(1_005));
        window.note(5_000);
        assert!(window.is_new(4_999) && !window.is_new(1_010));
    }

    proptest! {
        #[test]
        fn a_window_agrees_with_a_list(indices in proptest::collection::vec(0u64..600, 1..200)) {
            let mut window = Window::new(indices[0]);
            let mut seen = vec![indices[0]];
            for index in indices {
                let highest = seen.iter().max().copied().unwrap_or_default();
                let expected = index > highest || (highest - index < 128 && !seen.contains(&index));
                prop_assert_eq!(window.is_new(index), expected);
                if expected {
                    window.note(index);
                    seen.push(index);
                }
            }
        }
    }
}
