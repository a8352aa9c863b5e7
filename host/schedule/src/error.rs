//! Why a text is no cron expression, or one that cannot be used.

/// What is wrong with `cron:` or `timezone:`.
#[derive(Debug, Clone, thiserror::Error)]
pub enum CronError {
    #[error(
        "cron `{expression}` has {found} fields; write five: minute, hour, day of month, month, day of week, \
         for instance `*/5 8-18 * * mon-fri`"
    )]
    Fields { expression: String, found: usize },
    #[error("cron `{expression}`: `{part}` is no {field}: {hint}")]
    Part { expression: String, field: &'static str, part: String, hint: String },
    #[error("cron `{expression}` is no known short form: {hint}")]
    ShortForm { expression: String, hint: &'static str },
    #[error("cron `{expression}` never fires: {reason}")]
    Never { expression: String, reason: String },
    #[error("time zone `{name}` is not in the IANA database; write for instance `Europe/Berlin` or `UTC`")]
    TimeZone { name: String, source: jiff::Error },
}
