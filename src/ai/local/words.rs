//! What a caller means by a few words: yes, no, a message, once more.

/// The answers that the script understands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    Yes,
    No,
    Message,
    /// Speak to somebody of flesh and blood.
    Person,
    /// Say it again; also the answer to any question of the caller.
    Repeat,
    Unclear,
}

const YES: [&str; 16] = [
    "yes",
    "yeah",
    "yep",
    "yup",
    "yea",
    "aye",
    "yah",
    "absolutely",
    "certainly",
    "definitely",
    "agreed",
    "agree",
    "confirm",
    "confirmed",
    "affirmative",
    "accept",
];
/// Words that mean yes unless something in the sentence denies them: "that is not correct".
const WEAK_YES: [&str; 12] =
    ["sure", "ok", "okay", "correct", "right", "fine", "good", "great", "perfect", "works", "alright", "course"];
const NO: [&str; 9] = ["no", "nope", "nah", "decline", "declined", "cancel", "refuse", "negative", "reject"];
const DENIAL: [&str; 13] = [
    "not",
    "never",
    "dont",
    "cant",
    "cannot",
    "wont",
    "isnt",
    "doesnt",
    "didnt",
    "wouldnt",
    "couldnt",
    "wrong",
    "incorrect",
];
const MESSAGE: [&str; 4] = ["message", "voicemail", "messages", "record"];
const REPEAT: [&str; 9] = ["repeat", "again", "pardon", "sorry", "excuse", "understand", "hear", "hello", "hi"];
const QUESTION: [&str; 10] = ["who", "whos", "what", "whats", "why", "where", "how", "which", "when", "whose"];
/// Phrases whose words would mislead.
const IDIOMS: [(&str, &str); 9] = [
    ("no problem", "yes"),
    ("no worries", "yes"),
    ("why not", "yes"),
    ("not sure", ""),
    ("not yet", "no"),
    ("dont know", ""),
    ("thank you", ""),
    ("no idea", ""),
    ("of course not", "no"),
];

/// Reads `text` as the recogniser wrote it.
pub(super) fn understand(text: &str) -> Answer {
    let text = plain(text);
    let words: Vec<&str> = text.split(' ').filter(|word| !word.is_empty()).collect();
    let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
    if let Some(answer) = number(&words) {
        return answer;
    }
    if wants_person(&words) {
        return Answer::Person;
    }
    if has(&MESSAGE) && !has(&QUESTION) {
        return Answer::Message;
    }
    if has(&QUESTION) || asks(&words) {
        return Answer::Repeat;
    }
    match (has(&YES), has(&NO), has(&WEAK_YES), has(&DENIAL)) {
        (true, true, ..) => Answer::Unclear,
        (true, false, _, false) => Answer::Yes,
        (false, true, ..) => Answer::No,
        _ if has(&REPEAT) => Answer::Repeat,
        (true, false, _, true) => Answer::Unclear,
        (false, false, _, true) => Answer::No,
        (false, false, true, false) => Answer::Yes,
        (false, false, false, false) => Answer::Unclear,
    }
}

/// Lower case, words apart by single spaces, apostrophes dropped, idioms replaced.
fn plain(text: &str) -> String {
    let kept = text.to_lowercase().replace(['\'', '’'], "");
    let spaced: String = kept.chars().map(|c| if c.is_alphanumeric() { c } else { ' ' }).collect();
    let mut joined = format!(" {} ", spaced.split_whitespace().collect::<Vec<_>>().join(" "));
    joined = joined.replace(" voice mail ", " voicemail ");
    for (idiom, meaning) in IDIOMS {
        joined = joined.replace(&format!(" {idiom} "), &format!(" {meaning} "));
    }
    joined
}

/// "One", "press two", "number 3": a key named aloud; only in so few words is a number an answer.
fn number(words: &[&str]) -> Option<Answer> {
    let rest: Vec<&&str> =
        words.iter().filter(|word| !["press", "number", "option", "the", "key", "please"].contains(*word)).collect();
    match rest.as_slice() {
        [one] => match **one {
            "one" | "1" => Some(Answer::Yes),
            "two" | "2" => Some(Answer::No),
            "three" | "3" => Some(Answer::Message),
            "nine" | "9" => Some(Answer::Repeat),
            _ => None,
        },
        _ => None,
    }
}

/// "Operator", "a person, please", "can I speak to somebody"; but not "are you a person".
fn wants_person(words: &[&str]) -> bool {
    const DESK: [&str; 4] = ["operator", "receptionist", "reception", "representative"];
    const SOMEBODY: [&str; 6] = ["person", "human", "somebody", "someone", "colleague", "people"];
    const WISH: [&str; 10] = ["speak", "talk", "connect", "transfer", "want", "need", "get", "put", "like", "please"];
    let has = |list: &[&str]| words.iter().any(|word| list.contains(word));
    has(&DESK) || (has(&SOMEBODY) && (has(&WISH) || (words.len() <= 3 && !asks(words))))
}

/// "Is this …", "are you …", "can you say …".
fn asks(words: &[&str]) -> bool {
    matches!(words, ["is" | "are" | "can" | "could" | "do" | "does" | "did", "this" | "that" | "you" | "it" | "i", ..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn understands_answers_in_many_words() {
        let table: &[(Answer, &[&str])] = &[
            (
                Answer::Yes,
                &[
                    "Yes.",
                    "Yeah, sure!",
                    "That's correct.",
                    "Okay",
                    "Yes, no problem.",
                    "One.",
                    "Press 1.",
                    "Of course.",
                    "Why not",
                    "Yes please",
                ],
            ),
            (
                Answer::No,
                &[
                    "No.",
                    "Nope",
                    "No, thank you.",
                    "That is not correct.",
                    "I can't.",
                    "I won't be there",
                    "Two",
                    "Not right",
                    "Of course not.",
                    "Not yet.",
                ],
            ),
            (
                Answer::Message,
                &["I'd like to leave a message.", "Message", "Voice mail, please.", "Three.", "Can you take a message"],
            ),
            (
                Answer::Repeat,
                &[
                    "Who is this?",
                    "Repeat.",
                    "Sorry, what?",
                    "Say that again please",
                    "Hello?",
                    "I didn't hear you.",
                    "Is this the dentist?",
                    "What message?",
                    "I don't understand",
                    "Nine",
                ],
            ),
            (
                Answer::Person,
                &[
                    "Operator.",
                    "A person, please.",
                    "Can I speak to somebody?",
                    "A human",
                    "I'd like to talk to a real person.",
                ],
            ),
            (Answer::Repeat, &["Are you a person?", "Who is that person?"]),
            (Answer::Unclear, &["", "Banana.", "Yes and no.", "I'm not sure.", "You", "Thank you.", "I don't know."]),
        ];
        for (meaning, texts) in table {
            for text in *texts {
                assert_eq!(understand(text), *meaning, "{text:?}");
            }
        }
    }
}
