//! Small values in words: delays (`4d`), sizes (`35M`), signed numbers.

use std::time::Duration;

use nom::bytes::complete::{take_while, take_while1};
use nom::character::complete::{anychar, char};
use nom::combinator::{all_consuming, opt};
use nom::sequence::{pair, preceded};
use nom::{IResult, Parser};

fn digits(text: &str) -> IResult<&str, &str> {
    take_while1(|c: char| c.is_ascii_digit())(text)
}

/// A delay: digits and one of `s m h d`, from 1 s to about 68 years as upstream.
pub(crate) fn delay(text: &str) -> Option<Duration> {
    let (_, (digits, unit)) = all_consuming(pair(digits, anychar)).parse(text).ok()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3_600,
        'd' => 86_400,
        _ => return None,
    };
    let count: u32 = digits.parse().ok()?;
    (count > 0 && count <= i32::MAX as u32 / seconds)
        .then(|| Duration::from_secs(u64::from(count) * u64::from(seconds)))
}

/// The shortest form of a delay.
pub(crate) fn delay_text(delay: Duration) -> String {
    let seconds = delay.as_secs();
    for (unit, size) in [('d', 86_400), ('h', 3_600), ('m', 60)] {
        if seconds >= size && seconds.is_multiple_of(size) {
            return format!("{}{unit}", seconds / size);
        }
    }
    format!("{seconds}s")
}

/// A size: digits, perhaps a fraction and a suffix `B K M G T P E` (powers of 1024).
pub(crate) fn size(text: &str) -> Option<u64> {
    let fraction = preceded(char('.'), take_while(|c: char| c.is_ascii_digit()));
    let (_, (whole, fraction, suffix)) =
        all_consuming((digits, opt(fraction), opt(anychar))).parse(text).ok()?;
    let power = match suffix.unwrap_or('B').to_ascii_uppercase() {
        'B' => 0,
        'K' => 1,
        'M' => 2,
        'G' => 3,
        'T' => 4,
        'P' => 5,
        'E' => 6,
        _ => return None,
    };
    let unit = 1u64 << (10 * power);
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    // Digits past the ninth are less than an octet of a terabyte; nobody writes them.
    let fraction = fraction.unwrap_or("");
    let fraction = &fraction[..fraction.len().min(9)];
    let part = match fraction {
        "" => 0,
        digits => {
            let part = u128::from(digits.parse::<u64>().ok()?) * u128::from(unit);
            u64::try_from(part / 10u128.pow(digits.len() as u32)).ok()?
        }
    };
    whole.checked_add(part)
}

/// The shortest form of a size.
pub(crate) fn size_text(size: u64) -> String {
    for (suffix, power) in [('G', 30), ('M', 20), ('K', 10)] {
        if size >= 1 << power && size.trailing_zeros() >= power {
            return format!("{}{suffix}", size >> power);
        }
    }
    size.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_have_one_unit() {
        assert_eq!(delay("4d"), Some(Duration::from_secs(345_600)));
        assert_eq!(delay("1s"), Some(Duration::from_secs(1)));
        for bad in ["", "4", "d", "0d", "1h30m", "-1d", "1 d", "4D", "99999999d", "1w"] {
            assert_eq!(delay(bad), None, "{bad}");
        }
        for text in ["90s", "4d", "36h", "61m"] {
            assert_eq!(delay(text).map(delay_text).as_deref(), Some(text));
        }
    }

    #[test]
    fn sizes_are_powers_of_1024() {
        assert_eq!(size("35M"), Some(36_700_160));
        assert_eq!(size("1.5k"), Some(1_536));
        assert_eq!(size("7"), Some(7));
        assert_eq!(size("15E"), Some(15 << 60));
        for bad in ["", "M", "35 M", "35MB", "-1", "1x", "99E", ".5M"] {
            assert_eq!(size(bad), None, "{bad}");
        }
        assert_eq!(size_text(36_700_160), "35M");
        assert_eq!(size_text(1_000), "1000");
        assert_eq!(size_text(0), "0");
    }
}
