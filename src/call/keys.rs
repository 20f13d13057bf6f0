//! Keys that the box presses for whoever asks.

/// Most keys of one order: what the signalling takes at once.
const MOST: usize = 32;

/// One to 32 keys of a telephone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keys(String);

impl Keys {
    pub fn parse(text: &str) -> Option<Keys> {
        let keys = text.to_ascii_uppercase();
        let good = (1..=MOST).contains(&keys.len()) && keys.bytes().all(|key| b"0123456789*#ABCD".contains(&key));
        good.then_some(Keys(keys))
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// Why keys were not pressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeysError {
    #[error("there is no such call")]
    Unknown,
    #[error("the call is not live")]
    NotLive,
    #[error("the call is on hold: the far end listens to nothing")]
    OnHold,
    #[error("the far end takes no key events; the trunk's `dtmf` allows no other way")]
    NoWay,
    #[error("too many keys are waiting to be sent")]
    Full,
    #[error("the store cannot be read")]
    Unavailable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_those_of_a_telephone() {
        assert_eq!(Keys::parse("123#*d").map(Keys::into_text).as_deref(), Some("123#*D"));
        assert!(Keys::parse(&"1".repeat(32)).is_some());
        for text in ["", "12 3", "E", "1\r\n", "\u{664}", &"1".repeat(33)] {
            assert_eq!(Keys::parse(text), None, "{text:?}");
        }
    }
}
