//! Dates as a header field has them (RFC 5322 section 3.3).
//!
//! The engine knows neither the wall clock nor the time zone: the caller gives both.

use std::fmt;

/// A moment of local time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Date<'z> {
    /// Of the Gregorian calendar.
    pub year: i32,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 60.
    pub second: u8,
    /// Seconds east of UTC; shown in whole minutes.
    pub offset: i32,
    /// The zone's name, `CET`; empty, or with anything but letters, digits, `+` and `-`
    /// in it, it is left out.
    pub zone: &'z str,
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];

impl<'z> Date<'z> {
    /// The local time `seconds` after 1970-01-01 00:00:00 UTC in a zone `offset` seconds
    /// east of it. Years beyond those of 32 bits are cut to them.
    #[must_use]
    pub fn from_unix(seconds: i64, offset: i32, zone: &'z str) -> Self {
        let local = seconds.saturating_add(offset.into());
        let (days, second) = (local.div_euclid(86_400), local.rem_euclid(86_400));
        // Years that begin in March put the leap day at their end; eras of 400 years
        // have one length.
        let shifted = days.saturating_add(719_468);
        let (era, of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let march = (5 * of_year + 2) / 153;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let year = era * 400 + year + i64::from(month <= 2);
        Self {
            year: year.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
            month: month as u8,
            day: (of_year - (153 * march + 2) / 5 + 1) as u8,
            hour: (second / 3600) as u8,
            minute: (second / 60 % 60) as u8,
            second: (second % 60) as u8,
            offset,
            zone,
        }
    }

    /// Days since 1970-01-01, a Thursday.
    fn days(&self) -> i64 {
        let year = i64::from(self.year) - i64::from(self.month <= 2);
        let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
        let march = (i64::from(self.month) + 9) % 12;
        let of_year = (153 * march + 2) / 5 + i64::from(self.day) - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }
}

impl fmt::Display for Date<'_> {
    /// `Sun, 1 Dec 2024 10:00:00 +0100 (CET)`, in English, the day without padding.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let day = DAYS[self.days().rem_euclid(7) as usize];
        let month = MONTHS[usize::from(self.month.clamp(1, 12)) - 1];
        let Self { day: of_month, year, hour, minute, second, .. } = self;
        write!(f, "{day}, {of_month} {month} {year} {hour:02}:{minute:02}:{second:02} ")?;
        let sign = if self.offset < 0 { '-' } else { '+' };
        let minutes = self.offset.unsigned_abs() / 60;
        write!(f, "{sign}{:02}{:02}", minutes / 60, minutes % 60)?;
        let plain = |c: u8| c.is_ascii_alphanumeric() || c == b'+' || c == b'-';
        if !self.zone.is_empty() && self.zone.bytes().all(plain) {
            write!(f, " ({})", self.zone)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments() {
        for (seconds, offset, zone, text) in [
            (0, 0, "UTC", "Thu, 1 Jan 1970 00:00:00 +0000 (UTC)"),
            (1_733_043_600, 3600, "CET", "Sun, 1 Dec 2024 10:00:00 +0100 (CET)"),
            (1_709_164_800, 0, "", "Thu, 29 Feb 2024 00:00:00 +0000"),
            (951_868_799, 0, "", "Tue, 29 Feb 2000 23:59:59 +0000"),
            (-1, -12_600, "x y", "Wed, 31 Dec 1969 20:29:59 -0330"),
            (4_102_444_800, 0, "", "Fri, 1 Jan 2100 00:00:00 +0000"),
        ] {
            assert_eq!(Date::from_unix(seconds, offset, zone).to_string(), text);
        }
    }

    #[test]
    fn every_day_follows_the_last() {
        let mut before = Date::from_unix(-86_400 * 800, 0, "").days();
        for day in -799..40_000 {
            let date = Date::from_unix(86_400 * day, 0, "");
            assert_eq!(date.days(), before + 1, "{date}");
            assert_eq!(date.days(), day);
            before = date.days();
        }
        let _ = Date::from_unix(i64::MAX, i32::MAX, "").to_string();
        let _ = Date::from_unix(i64::MIN, i32::MIN, "").to_string();
    }
}
