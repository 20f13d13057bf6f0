//! Numbers that are dear by design, and that fraud therefore dials: premium rate, satellite, international networks.
//!
//! They are refused even when listed or covered by a general prefix such as `+49` or `+`; a prefix in `allow` that
//! names one of them, or a part of one, opens it.

/// In normalized form. Sources: ITU-T E.164 assigned codes for the worldwide ones; the national plans for the rest.
const PREFIXES: &[&str] = &[
    // Universal personal numbers, satellite systems, international networks, international premium rate.
    "+878", "+870", "+881", "+882", "+883", "+888", "+979", // North America.
    "+1900", "+1976", // Europe.
    "+30901", "+30909", "+31900", "+31906", "+31909", "+3290", "+3389", "+34803", "+34806", "+34807", "+34905",
    "+351760", "+351761", "+351762", "+36690", "+36691", "+39144", "+39166", "+39892", "+39894", "+39895", "+39899",
    "+4090", "+41900", "+41901", "+41906", "+42090", "+42190", "+43900", "+43901", "+43930", "+43931", "+43939",
    "+449", "+448717", "+448718", "+448719", "+4590", "+46900", "+46939", "+46944", "+4782", "+4870", "+49137",
    "+49900", "+353151", "+353152", "+353153", "+353154", "+353155", "+353156", "+353157", "+353158", "+353159",
    "+358600", "+358700", // Asia, Pacific.
    "+61190", "+64900", "+81990", "+90900", "+972190", "+9721919", "+972156",
    // As written inside their countries, for a PBX that takes national numbers.
    "0900", "0190", "1900",
];

/// The dear prefix that `number` falls under; the longest.
pub(super) fn premium(number: &str) -> Option<&'static str> {
    let found = PREFIXES.iter().copied().filter(|prefix| number.starts_with(prefix));
    found.max_by_key(|prefix| prefix.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dear_numbers_are_known_and_ordinary_ones_are_not() {
        for (number, dear) in [
            ("+881612345678", true),
            ("+8835100012345", true),
            ("+19005550100", true),
            ("+4990012345", true),
            ("+449012345678", true),
            ("090012345", true),
            ("+4930123456", false),
            ("+14155550123", false),
            ("+442079460000", false),
            ("+819012345678", false),
            ("900", false),
            ("1234", false),
        ] {
            assert_eq!(premium(number).is_some(), dear, "{number}");
        }
    }
}
