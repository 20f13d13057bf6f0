//! How numbers are written on a trunk: E.164 inside the box, the trunk's own form outside. Pure.
//!
//! | Format | `+4930123` out | `+43123` out | in |
//! |---|---|---|---|
//! | as-is | `+4930123` | `+43123` | as it came |
//! | e164 | `+4930123` | `+43123` | `00…` becomes `+…` |
//! | plain | `4930123` | `43123` | seven digits or more that begin with none 0 get `+` |
//! | national, country 49 | `030123` | `0043123` | `00…` becomes `+…`, `0…` becomes `+49…` |
//!
//! Short numbers and names stay as they are. Rules ("beginning → in its place", the first that fits) come after the
//! format on the way out and before it on the way in.

use crate::config::{NumberFormat, NumberRule, TrunkConfig};

pub struct Numbers {
    format: NumberFormat,
    country: String,
    called_out: Vec<NumberRule>,
    caller_out: Vec<NumberRule>,
    called_in: Vec<NumberRule>,
    caller_in: Vec<NumberRule>,
}

/// Fewer digits are a short number, not one without its plus.
const LEAST_DIGITS: usize = 7;
/// E.164 has 15; prefixes come on top.
const LONGEST: usize = 64;

impl Numbers {
    pub fn new(config: &TrunkConfig) -> Numbers {
        Numbers {
            format: config.number_format,
            country: config.country.clone().unwrap_or_default(),
            called_out: config.called_out.clone(),
            caller_out: config.caller_out.clone(),
            called_in: config.called_in.clone(),
            caller_in: config.caller_in.clone(),
        }
    }

    pub fn called_out(&self, number: &str) -> String {
        rewritten(&self.called_out, &self.outward(number))
    }

    pub fn caller_out(&self, number: &str) -> String {
        rewritten(&self.caller_out, &self.outward(number))
    }

    pub fn called_in(&self, number: &str) -> String {
        self.inward(&rewritten(&self.called_in, number))
    }

    pub fn caller_in(&self, number: &str) -> String {
        self.inward(&rewritten(&self.caller_in, number))
    }

    fn outward(&self, number: &str) -> String {
        let Some(digits) = number.strip_prefix('+').filter(|digits| all_digits(digits)) else {
            return number.to_owned();
        };
        match self.format {
            NumberFormat::AsIs | NumberFormat::E164 => number.to_owned(),
            NumberFormat::Plain => digits.to_owned(),
            NumberFormat::National => match digits.strip_prefix(self.country.as_str()) {
                Some(rest) if !self.country.is_empty() => format!("0{rest}"),
                _ => format!("00{digits}"),
            },
        }
    }

    fn inward(&self, number: &str) -> String {
        if !all_digits(number) {
            return number.to_owned();
        }
        let international = number.strip_prefix("00").filter(|rest| rest.len() >= LEAST_DIGITS);
        match (self.format, international, number.strip_prefix('0')) {
            (NumberFormat::E164 | NumberFormat::National, Some(rest), _) => format!("+{rest}"),
            (NumberFormat::National, None, Some(rest)) if rest.len() >= 2 => format!("+{}{rest}", self.country),
            (NumberFormat::Plain, _, None) if number.len() >= LEAST_DIGITS => format!("+{number}"),
            _ => number.to_owned(),
        }
    }
}

fn rewritten(rules: &[NumberRule], number: &str) -> String {
    let changed = rules.iter().find_map(|rule| Some(format!("{}{}", rule.to, number.strip_prefix(&rule.from)?)));
    changed.filter(|changed| changed.len() <= LONGEST).unwrap_or_else(|| number.to_owned())
}

fn all_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(more: &str) -> Numbers {
        let config = format!("name = \"a\"\nhost = \"b\"\n{more}");
        Numbers::new(&toml::from_str(&config).expect("a trunk"))
    }

    #[test]
    fn the_rows_of_the_table() {
        let rows = [
            ("as-is", "+4930123", "+43123", [("0049301234567", "0049301234567"), ("030123", "030123")]),
            ("e164", "+4930123", "+43123", [("0049301234567", "+49301234567"), ("030123", "030123")]),
            ("plain", "4930123", "43123", [("4930123", "+4930123"), ("100", "100")]),
            ("national", "030123", "0043123", [("0043301234567", "+43301234567"), ("030123", "+4930123")]),
        ];
        for (format, home, abroad, inward) in rows {
            let numbers = numbers(&format!("number_format = \"{format}\"\ncountry = \"49\""));
            assert_eq!(numbers.called_out("+4930123"), home, "{format}");
            assert_eq!(numbers.caller_out("+43123"), abroad, "{format}");
            for (came, becomes) in inward {
                assert_eq!(numbers.caller_in(came), becomes, "{format}");
                assert_eq!(numbers.called_in(came), becomes, "{format}");
            }
            for short in ["100", "alice", "*21#", "anonymous", "", "+"] {
                assert_eq!((numbers.called_out(short), numbers.caller_in(short)), (short.into(), short.into()));
            }
        }
    }

    #[test]
    fn rules_come_last_on_the_way_out_and_first_on_the_way_in() {
        let numbers = numbers(
            "number_format = \"national\"\ncountry = \"49\"\ncalled_out = [\"0049 -> 1\", \"-> 9\"]\n\
             caller_out = [\"030 -> \"]\ncalled_in = [\"99 -> 0\"]\ncaller_in = [\"9 -> 0\"]",
        );
        assert_eq!(numbers.called_out("+4930123"), "9030123", "an outside line");
        assert_eq!(numbers.caller_out("+4930123"), "123");
        assert_eq!(numbers.called_in("9930123"), "+4930123");
        assert_eq!(numbers.caller_in("930123"), "+4930123");
    }
}
