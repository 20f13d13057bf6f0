//! What of an agent's item has really been heard, by the clock of the playout queue.

use std::time::Duration;

use super::transcript::join;

/// Speech without a known end is taken to go on at this pace.
const CHARACTERS_PER_SECOND: f64 = 14.0;
/// Chunks that follow one another within a frame are one.
const FRAME: Duration = Duration::from_millis(20);

/// An item of the agent on its way to the phone.
#[derive(Debug, Default)]
pub(super) struct Item {
    pub(super) id: u64,
    /// All text so far.
    pub(super) text: String,
    /// Where in the item's audio each piece of text (by its end in `text`, bytes) was announced.
    pieces: Vec<(Duration, usize)>,
    /// Where in the playout's timeline (`Playout::sent`) the item's audio lies.
    chunks: Vec<(Duration, Duration)>,
    pushed: Duration,
    /// No more audio will come.
    pub(super) ended: bool,
    /// Its first sound has been marked.
    pub(super) begun: bool,
}

impl Item {
    pub(super) fn new(id: u64) -> Item {
        Item { id, ..Item::default() }
    }

    /// A piece of text, announced ahead of or with its audio.
    pub(super) fn add_text(&mut self, piece: &str) {
        self.text = join(&self.text, piece);
        match self.pieces.last_mut() {
            Some((at, end)) if *at == self.pushed => *end = self.text.len(),
            _ => self.pieces.push((self.pushed, self.text.len())),
        }
    }

    /// `span` of audio was queued; its first sample goes out at `start` of the playout's timeline.
    pub(super) fn add_audio(&mut self, start: Duration, span: Duration) {
        self.pushed += span;
        match self.chunks.last_mut() {
            Some((from, length)) if start <= *from + *length + FRAME && start >= *from => *length += span,
            _ => self.chunks.push((start, span)),
        }
    }

    pub(super) fn has_audio(&self) -> bool {
        !self.pushed.is_zero()
    }

    /// Audio of the item that has gone out when the playout stands at `sent`.
    pub(super) fn played(&self, sent: Duration) -> Duration {
        self.chunks.iter().map(|(start, length)| sent.saturating_sub(*start).min(*length)).sum()
    }

    pub(super) fn played_out(&self, sent: Duration) -> bool {
        self.ended && self.played(sent) + FRAME > self.pushed
    }

    /// The text heard after `played` of the audio, in whole words.
    pub(super) fn heard(&self, played: Duration) -> &str {
        if played.is_zero() {
            return "";
        }
        let mut begin = 0;
        for (index, (from, end)) in self.pieces.iter().enumerate() {
            let until = match self.pieces.get(index + 1) {
                Some((next, _)) => *next,
                None => self.end_of_text(*from, *end - begin),
            };
            if played < until {
                let part = fraction(played.saturating_sub(*from), until.saturating_sub(*from));
                return self.words(begin, *end, part);
            }
            begin = *end;
        }
        self.text.trim_end()
    }

    /// Where the last piece of text will have been spoken.
    fn end_of_text(&self, from: Duration, length: usize) -> Duration {
        if self.ended {
            // A frame of padding may never be counted as sent.
            return self.pushed.saturating_sub(FRAME);
        }
        self.pushed.max(from + Duration::from_secs_f64(length as f64 / CHARACTERS_PER_SECOND))
    }

    /// The text up to `part` of the way from byte `begin` to byte `end`, without a word that had only begun.
    fn words(&self, begin: usize, end: usize, part: f64) -> &str {
        let piece = &self.text[begin..end];
        let limit = (piece.len() as f64 * part) as usize;
        let boundary = piece
            .char_indices()
            .filter(|(at, c)| c.is_whitespace() && *at <= limit)
            .map(|(at, _)| at)
            .next_back()
            .unwrap_or(0);
        self.text[..begin + boundary].trim_end()
    }
}

fn fraction(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 1.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(value: u64) -> Duration {
        Duration::from_millis(value)
    }

    #[test]
    fn a_whole_text_announced_first_is_cut_in_proportion_at_a_word() {
        let mut item = Item::new(1);
        item.add_text("one two three four five");
        item.add_audio(ms(500), ms(2000));
        item.ended = true;
        assert_eq!(item.heard(item.played(ms(500))), "");
        assert_eq!(item.heard(item.played(ms(1500))), "one two");
        assert_eq!(item.heard(item.played(ms(2500))), "one two three four five");
    }

    #[test]
    fn sentences_announced_with_their_audio_are_cut_inside_the_right_one() {
        let mut item = Item::new(1);
        item.add_text("First sentence.");
        item.add_audio(ms(0), ms(1000));
        item.add_text("Second one here.");
        item.add_audio(ms(1000), ms(1000));
        item.ended = true;
        assert_eq!(item.heard(ms(1000)), "First sentence.");
        assert_eq!(item.heard(ms(1600)), "First sentence. Second");
        assert_eq!(item.heard(ms(2000)), "First sentence. Second one here.");
    }

    #[test]
    fn a_pause_of_the_queue_between_two_chunks_is_not_counted_as_played() {
        let mut item = Item::new(1);
        item.add_audio(ms(0), ms(400));
        item.add_audio(ms(5000), ms(400));
        assert_eq!(item.played(ms(4000)), ms(400));
        assert_eq!(item.played(ms(5100)), ms(500));
        assert_eq!(item.played(ms(9000)), ms(800));
    }

    #[test]
    fn text_whose_audio_is_still_to_come_is_measured_by_the_pace_of_speech() {
        let mut item = Item::new(1);
        item.add_text("one two three four five six seven eight");
        item.add_audio(ms(0), ms(500));
        // 39 characters take about 2.8 s; half a second is 7 characters.
        assert_eq!(item.heard(ms(500)), "one");
    }

    #[test]
    fn text_of_several_bytes_a_letter_is_cut_between_letters() {
        let mut item = Item::new(1);
        item.add_text("Grüße aus Köln für ältere Höfe");
        item.add_audio(ms(0), ms(1000));
        item.ended = true;
        for at in 0..=1000 {
            let heard = item.heard(ms(at));
            assert!(item.text.starts_with(heard));
        }
    }
}
