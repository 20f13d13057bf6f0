//! Hours of the week, as an operator writes them: `Mo-Fr 08:00-18:00, Sa 09:00-13:00`.

use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// Spans of the week, in minutes since Monday 00:00 of local time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hours(Vec<(u32, u32)>);

const DAYS: [&str; 7] = ["mo", "tu", "we", "th", "fr", "sa", "su"];
const DAY: u32 = 24 * 60;
const WEEK: u32 = 7 * DAY;

impl Hours {
    /// `weekday` counts from Monday, 0.
    pub fn hold(&self, weekday: u32, minute_of_day: u32) -> bool {
        let minute = (weekday % 7) * DAY + minute_of_day;
        // A night that begins on Sunday ends on Monday.
        self.0.iter().any(|(begin, end)| (*begin..*end).contains(&minute) || (*begin..*end).contains(&(minute + WEEK)))
    }
}

/// The mistake is the remedy.
impl FromStr for Hours {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Hours, &'static str> {
        const REMEDY: &str = "write days and times such as \"Mo-Fr 08:00-18:00, Sa 09:00-13:00\"";
        let mut spans = Vec::new();
        for part in text.split(',') {
            let (days, times) = part.trim().split_once(' ').ok_or(REMEDY)?;
            let (begin, end) = times.trim().split_once('-').ok_or(REMEDY)?;
            let (begin, end) = (minute(begin).ok_or(REMEDY)?, minute(end).ok_or(REMEDY)?);
            if begin == DAY {
                return Err(REMEDY);
            }
            // `22:00-06:00` goes on after midnight.
            let length = if end > begin { end - begin } else { end + DAY - begin };
            let (first, last) = days.split_once('-').unwrap_or((days, days));
            let (first, last) = (day(first).ok_or(REMEDY)?, day(last).ok_or(REMEDY)?);
            for step in 0..=(last + 7 - first) % 7 {
                let start = (first + step) % 7 * DAY + begin;
                spans.push((start, start + length));
            }
        }
        Ok(Hours(spans))
    }
}

fn day(name: &str) -> Option<u32> {
    let name = name.trim();
    DAYS.iter().position(|day| name.eq_ignore_ascii_case(day)).and_then(|day| u32::try_from(day).ok())
}

fn minute(text: &str) -> Option<u32> {
    let (hour, minute) = text.trim().split_once(':')?;
    let whole = |text: &str| text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    let digits = |text: &str| whole(text).then(|| text.parse::<u32>().ok()).flatten();
    let (hour, minute) = (digits(hour)?, digits(minute)?);
    (hour < 24 && minute < 60 || (hour, minute) == (24, 0)).then_some(hour * 60 + minute)
}

impl<'de> Deserialize<'de> for Hours {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hours, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_week_is_read_as_it_is_written() {
        let hours: Hours = "Mo-Fr 08:00-18:00, sa 09:00-13:00,Su 22:00-06:00".parse().expect("hours");
        for (weekday, hour, minute, inside) in [
            (0, 8, 0, true),
            (0, 7, 59, false),
            (4, 17, 59, true),
            (4, 18, 0, false),
            (5, 9, 0, true),
            (5, 13, 0, false),
            (6, 21, 59, false),
            (6, 22, 0, true),
            (0, 5, 59, true),
            (0, 6, 0, false),
            (1, 3, 0, false),
        ] {
            assert_eq!(hours.hold(weekday, hour * 60 + minute), inside, "{weekday} {hour}:{minute}");
        }
        let weekend: Hours = "Fr-Mo 00:00-24:00".parse().expect("hours");
        let days: Vec<bool> = (0..7).map(|day| weekend.hold(day, 720)).collect();
        assert_eq!(days, [true, false, false, false, true, true, true]);
    }

    #[test]
    fn what_is_no_time_is_refused() {
        for text in [
            "",
            "Mo",
            "08:00-18:00",
            "Mo 8-18",
            "Xx 08:00-18:00",
            "Mo 25:00-26:00",
            "Mo 08:60-09:00",
            "Mo 24:00-25:00",
            "Mo +8:00-18:00",
        ] {
            assert!(text.parse::<Hours>().is_err(), "{text:?}");
        }
    }
}
