//! Choosing tokens: scores, and the guard against a model that repeats itself.

/// Longest phrase, in tokens, whose repetition is looked for.
const LONGEST_PHRASE: usize = 16;

/// Unnormalised log-probabilities of all tokens.
pub(super) struct Scores(Vec<f32>);

impl Scores {
    pub(super) fn new(scores: Vec<f32>) -> Scores {
        Scores(scores)
    }

    pub(super) fn forbid(&mut self, tokens: &[u32]) {
        for token in tokens {
            if let Some(score) = self.0.get_mut(*token as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
    }

    pub(super) fn probability(&self, token: u32) -> f32 {
        self.0.get(token as usize).map_or(0.0, |score| (score - self.normalizer()).exp())
    }

    /// The likeliest token and the logarithm of its probability.
    pub(super) fn best(&self) -> (u32, f32) {
        let best = (0..).zip(&self.0).max_by(|(_, a), (_, b)| a.total_cmp(b));
        best.map_or((0, 0.0), |(token, score)| (token, score - self.normalizer()))
    }

    fn normalizer(&self) -> f32 {
        let top = self.0.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        top + self.0.iter().map(|score| (score - top).exp()).sum::<f32>().ln()
    }
}

/// `tokens` up to the point where a phrase has been said often enough in a row that only a model, not a person, says
/// it again: short phrases four times, longer ones three. One saying of it stays.
pub(super) fn cut_repetition(tokens: &[u32]) -> &[u32] {
    for start in 0..tokens.len() {
        for length in 1..=LONGEST_PHRASE.min((tokens.len() - start) / 3) {
            let phrase = &tokens[start..start + length];
            let times = tokens[start..].chunks_exact(length).take_while(|chunk| *chunk == phrase).count();
            if times > if length < 4 { 4 } else { 2 } {
                return &tokens[..start + length];
            }
        }
    }
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn picks_the_likeliest_that_is_allowed() {
        let mut scores = Scores::new(vec![1.0, 3.0, 2.0]);
        assert_eq!(scores.best().0, 1);
        assert!((scores.probability(1) - 0.665).abs() < 0.001);
        scores.forbid(&[1, 99]);
        assert_eq!(scores.best().0, 2);
        assert_eq!(scores.probability(1), 0.0);
    }

    #[test]
    fn a_phrase_that_goes_round_is_said_once() {
        assert_eq!(cut_repetition(&[9, 1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4, 1]), [9, 1, 2, 3, 4]);
        assert_eq!(cut_repetition(&[7, 7, 7, 7, 7, 7]), [7]);
        let person = [5, 5, 5, 6, 1, 2, 1, 2, 8];
        assert_eq!(cut_repetition(&person), person, "a person says yes yes yes");
        assert!(cut_repetition(&[]).is_empty());
    }
}
