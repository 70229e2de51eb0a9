use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::Time;

const MINUTE_MS: u64 = 60_000;
const DAY: u64 = 24 * 60;
const WEEK: u64 = 7 * DAY;
const WEEKDAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const EVERY_DAY: u8 = 0x7f;

/// A time of the week, in UTC.
///
/// As text: days and the time from its first minute to the one after its last, for example
/// `mon-fri 02:00-04:30`, `sat,sun 00:00-24:00`, or `22:00-04:00` for every day. One that ends at or before
/// its start reaches into the next day; its days are those on which it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    /// Bit 0 is Monday; never zero.
    days: u8,
    /// Minute of the day, below [`DAY`].
    start: u64,
    /// In minutes, 1 to [`DAY`].
    length: u64,
}

/// The text is no window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no window; write DAYS HH:MM-HH:MM in UTC, for example \"mon-fri,sun 22:00-04:00\"")]
pub struct BadWindow(String);

impl Window {
    fn is_open(&self, minute: u64) -> bool {
        self.starts().any(|start| (minute + WEEK - start) % WEEK < self.length)
    }

    /// Minutes of the week at which it opens.
    fn starts(&self) -> impl Iterator<Item = u64> {
        let Window { days, start, .. } = *self;
        (0..7).filter(move |day| days & 1 << day != 0).map(move |day| day * DAY + start)
    }
}

/// When devices may be started: now, or from which moment on. No windows at all are always open.
pub(super) fn next_opening(now: Time, windows: &[Window]) -> Time {
    let minutes = now.0 / MINUTE_MS;
    // The first day of Unix time was a Thursday.
    let minute = (minutes + 3 * DAY) % WEEK;
    if windows.is_empty() || windows.iter().any(|window| window.is_open(minute)) {
        return now;
    }
    let starts = windows.iter().flat_map(Window::starts);
    let wait = starts.map(|start| (start + WEEK - minute) % WEEK).min().unwrap_or(WEEK);
    Time((minutes.saturating_add(wait)).saturating_mul(MINUTE_MS))
}

impl FromStr for Window {
    type Err = BadWindow;

    fn from_str(text: &str) -> Result<Self, BadWindow> {
        let parse = || {
            let (days, hours) = match text.trim().split_once(' ') {
                Some((days, hours)) => (parse_days(days)?, hours.trim()),
                None => (EVERY_DAY, text.trim()),
            };
            let (start, end) = hours.split_once('-')?;
            let (start, end) = (parse_minute(start)?, parse_minute(end)?);
            if start >= DAY || end == start {
                return None;
            }
            let length = if end > start { end - start } else { end + DAY - start };
            Some(Window { days, start, length })
        };
        parse().ok_or_else(|| BadWindow(text.to_owned()))
    }
}

fn parse_days(text: &str) -> Option<u8> {
    let day = |name: &str| WEEKDAYS.iter().position(|weekday| *weekday == name);
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let count = (last + 7 - first) % 7;
        days |= (0..=count).fold(0, |days, next| days | 1 << ((first + next) % 7));
    }
    Some(days)
}

fn parse_minute(text: &str) -> Option<u64> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| {
        let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| text.parse::<u64>().ok()).flatten()
    };
    let (hour, minute) = (two_digits(hour)?, two_digits(minute)?);
    (minute < 60 && hour * 60 + minute <= DAY).then_some(hour * 60 + minute)
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.days != EVERY_DAY {
            let names = WEEKDAYS.iter().enumerate().filter(|(day, _)| self.days & 1 << day != 0);
            let names: Vec<&str> = names.map(|(_, name)| *name).collect();
            write!(f, "{} ", names.join(","))?;
        }
        let end = self.start + self.length;
        // Midnight at the end of the first day is 24:00.
        let end = if end > DAY { end - DAY } else { end };
        write!(f, "{:02}:{:02}-{:02}:{:02}", self.start / 60, self.start % 60, end / 60, end % 60)
    }
}

impl TryFrom<String> for Window {
    type Error = BadWindow;

    fn try_from(text: String) -> Result<Self, BadWindow> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> String {
        window.to_string()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where its text is wrong")]
mod tests {
    use super::*;

    const HOUR_MS: u64 = 60 * MINUTE_MS;
    const DAY_MS: u64 = 24 * HOUR_MS;
    /// 1970-01-05, a Monday.
    const MONDAY: u64 = 4 * DAY_MS;

    fn opening(now_ms: u64, windows: &[&str]) -> u64 {
        let windows: Vec<Window> = windows.iter().map(|text| text.parse().unwrap()).collect();
        next_opening(Time(now_ms), &windows).0
    }

    #[test]
    fn no_windows_are_always_open() {
        assert_eq!(opening(12_345, &[]), 12_345);
    }

    #[test]
    fn a_window_is_open_from_its_first_minute_to_the_one_before_its_end() {
        let open = MONDAY + 2 * HOUR_MS;
        assert_eq!(opening(open - 1, &["02:00-04:30"]), open);
        assert_eq!(opening(open, &["02:00-04:30"]), open);
        let last = MONDAY + 4 * HOUR_MS + 30 * MINUTE_MS - 1;
        assert_eq!(opening(last, &["02:00-04:30"]), last);
        assert_eq!(opening(last + 1, &["02:00-04:30"]), open + DAY_MS);
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_starts_on() {
        let sunday = MONDAY + 6 * DAY_MS;
        let monday_night = MONDAY + 7 * DAY_MS + HOUR_MS;
        assert_eq!(opening(monday_night, &["sun 22:00-04:00"]), monday_night);
        assert_eq!(opening(sunday + HOUR_MS, &["sun 22:00-04:00"]), sunday + 22 * HOUR_MS);
        assert_eq!(opening(MONDAY + DAY_MS, &["sun 22:00-04:00"]), sunday + 22 * HOUR_MS);
    }

    #[test]
    fn the_earliest_of_several_windows_counts() {
        let windows = ["sat,sun 00:00-24:00", "mon-wed 23:00-23:30"];
        assert_eq!(opening(MONDAY, &windows), MONDAY + 23 * HOUR_MS);
        assert_eq!(opening(MONDAY + 3 * DAY_MS, &windows), MONDAY + 5 * DAY_MS);
        let weekend = MONDAY + 7 * DAY_MS - 1;
        assert_eq!(opening(weekend, &windows), weekend);
    }

    #[test]
    fn a_window_is_written_as_it_is_read() {
        for text in
            ["02:00-04:30", "mon,tue,wed 22:00-04:00", "sun 00:00-24:00", "22:00-00:00", "01:00-00:59"]
        {
            let window: Window = text.parse().unwrap();
            let again: Window = window.to_string().parse().unwrap();
            assert_eq!(window, again, "{text}");
        }
        assert_eq!(
            "fri-mon 01:00-02:00".parse::<Window>().unwrap().to_string(),
            "mon,fri,sat,sun 01:00-02:00"
        );
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "mon",
            "mon 02:00",
            "02:00-02:00",
            "24:00-01:00",
            "2:00-3:00",
            "00:00-24:01",
            "moon 01:00-02:00",
        ] {
            assert!(text.parse::<Window>().is_err(), "{text}");
        }
    }
}
