//! Stretches of time that begin when a cron expression fires, and last for a fixed time: maintenance.

use std::time::Duration;

use roundsman_model::time::Timestamp;

use crate::cron::Cron;
use crate::error::CronError;

/// A window that opens again and again. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    cron: Cron,
    length: Duration,
}

impl Window {
    /// It opens whenever `cron` fires in `timezone`, for `length` of real time.
    pub fn new(cron: &str, timezone: &str, length: Duration) -> Result<Self, CronError> {
        Ok(Self { cron: Cron::new(cron, timezone)?, length })
    }

    /// The end of the window that covers an instant; of several, the latest. The end itself is not covered.
    pub fn covers(&self, at: Timestamp) -> Option<Timestamp> {
        // To look forward is cheap, and almost always says that there is none.
        let first = self.cron.next_after(at - self.length).filter(|begin| *begin <= at)?;
        let newest = self.cron.previous(at + Duration::from_nanos(1)).unwrap_or(first);
        Some(newest + self.length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        let instant: jiff::Timestamp = text.parse().unwrap();
        Timestamp(i64::try_from(instant.as_nanosecond()).unwrap())
    }

    #[test]
    fn windows_open_and_close() {
        for (cron, zone, hours, instant, end) in [
            ("0 2 * * sun", "UTC", 2, "2026-11-22T01:59:59.999999999Z", None),
            ("0 2 * * sun", "UTC", 2, "2026-11-22T02:00:00Z", Some("2026-11-22T04:00:00Z")),
            ("0 2 * * sun", "UTC", 2, "2026-11-22T03:59:59.999999999Z", Some("2026-11-22T04:00:00Z")),
            ("0 2 * * sun", "UTC", 2, "2026-11-22T04:00:00Z", None),
            ("0 2 * * sun", "UTC", 2, "2026-11-23T03:00:00Z", None),
            // Real time: clocks go from 02:00 to 03:00 and from 03:00 to 02:00 meanwhile.
            ("0 1 * * *", "Europe/Berlin", 2, "2026-03-29T01:59:00Z", Some("2026-03-29T02:00:00Z")),
            ("0 1 * * *", "Europe/Berlin", 2, "2026-03-29T02:00:00Z", None),
            ("0 2 * * *", "Europe/Berlin", 2, "2026-10-25T01:30:00Z", Some("2026-10-25T02:00:00Z")),
            ("0 2 * * *", "Europe/Berlin", 2, "2026-10-25T02:00:00Z", None),
            // Left out by the clock: it opens after the gap.
            ("30 2 * * *", "Europe/Berlin", 1, "2026-03-29T00:59:00Z", None),
            ("30 2 * * *", "Europe/Berlin", 1, "2026-03-29T01:00:00Z", Some("2026-03-29T02:00:00Z")),
            // Over each other: the latest end.
            ("0 * * * *", "UTC", 3, "2026-11-22T05:30:00Z", Some("2026-11-22T08:00:00Z")),
            ("0 8,9 * * *", "UTC", 3, "2026-11-22T08:30:00Z", Some("2026-11-22T11:00:00Z")),
            ("0 8,9 * * *", "UTC", 3, "2026-11-22T11:30:00Z", Some("2026-11-22T12:00:00Z")),
            // Longer than the time from one to the next.
            ("0 0 * * *", "UTC", 25, "2026-11-22T00:30:00Z", Some("2026-11-23T01:00:00Z")),
            ("0 0 1 1 *", "UTC", 0, "2027-01-01T00:00:00Z", None),
        ] {
            let window = Window::new(cron, zone, Duration::from_secs(hours * 3_600)).unwrap();
            assert_eq!(window.covers(at(instant)), end.map(at), "{cron} {zone} for {hours} h at {instant}");
        }
    }

    #[test]
    fn what_never_fires_is_no_window() {
        let error = Window::new("0 0 30 2 *", "UTC", Duration::from_secs(1)).unwrap_err().to_string();
        assert_eq!(error, "cron `0 0 30 2 *` never fires: February has at most 29 days");
    }

    #[test]
    fn time_ends() {
        let window = Window::new("0 0 1 1 *", "UTC", Duration::MAX).unwrap();
        assert_eq!(window.covers(at("2026-11-22T00:00:00Z")), Some(Timestamp(i64::MAX)));
        assert!(window.covers(Timestamp(i64::MAX)).is_some());
        assert_eq!(window.covers(Timestamp(i64::MIN)), None);
    }
}
