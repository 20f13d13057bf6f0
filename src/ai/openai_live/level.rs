//! Whether somebody speaks in a piece of sound.

use crate::ai::engine::Sound;

/// What is louder is no noise of a codec: about −48 dBFS.
const LOUD: u16 = 132;
/// One sample in so many must be loud.
const FEW: usize = 50;

pub fn is_audible(sound: &Sound) -> bool {
    let (loud, all) = match sound {
        Sound::Linear { pcm, .. } => (pcm.iter().filter(|sample| sample.unsigned_abs() >= LOUD).count(), pcm.len()),
        // Above the lowest of the eight segments: 132 of 32,768 and more (G.711, table 2).
        Sound::Ulaw(octets) => (octets.iter().filter(|octet| !**octet & 0x70 != 0).count(), octets.len()),
        // From the middle of the lowest segment on: 136 of 32,768 and more (G.711, table 1).
        Sound::Alaw(octets) => (octets.iter().filter(|octet| (**octet ^ 0x55) & 0x7F >= 8).count(), octets.len()),
    };
    all > 0 && loud * FEW >= all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_and_the_noise_of_codecs_are_not_audible_and_a_quiet_voice_is() {
        let wave = |peak: f32| (0..160).map(|n| (peak * (n as f32 * 0.4).sin()) as i16).collect::<Vec<i16>>();
        let linear = |pcm| is_audible(&Sound::Linear { pcm, rate: 24_000 });
        assert!(!linear(Vec::new()) && !linear(vec![0; 480]) && !linear(wave(60.0)));
        assert!(linear(wave(400.0)));
        for (silent, loud) in [
            (Sound::Ulaw(vec![0xFF, 0x7F, 0xFE, 0x7D]), Sound::Ulaw(vec![0xFF, 0x6F, 0xFF, 0xEF])),
            (Sound::Alaw(vec![0xD5, 0x55, 0xD4, 0x57]), Sound::Alaw(vec![0xD5, 0x5D, 0xD5, 0x45])),
        ] {
            assert!(!is_audible(&silent) && is_audible(&loud), "{loud:?}");
        }
    }
}
