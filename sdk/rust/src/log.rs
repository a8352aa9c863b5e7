//! Lines for the author and for whoever asks why a check failed; kept for the last failures of each check.

use std::fmt;

use crate::bindings::roundsman::check::log;

/// How important a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Every step.
    Trace,
    /// For the author.
    Debug,
    /// Worth knowing when the check failed.
    Info,
    /// Odd, and the run goes on.
    Warn,
    /// Why the run does not go on.
    Error,
}

/// Writes a line. The macros [`debug!`](crate::debug), [`info!`](crate::info), [`warn!`](crate::warn) and
/// [`error!`](crate::error) are shorter.
pub fn write(level: Level, message: fmt::Arguments<'_>) {
    let level = match level {
        Level::Trace => log::Level::Trace,
        Level::Debug => log::Level::Debug,
        Level::Info => log::Level::Info,
        Level::Warn => log::Level::Warn,
        Level::Error => log::Level::Error,
    };
    match message.as_str() {
        Some(text) => log::log(level, text),
        None => log::log(level, &message.to_string()),
    }
}

/// Writes a line of level debug, with the words of `format!`.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Debug, ::core::format_args!($($message)+)) };
}

/// Writes a line of level info, with the words of `format!`.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Info, ::core::format_args!($($message)+)) };
}

/// Writes a line of level warn, with the words of `format!`.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Warn, ::core::format_args!($($message)+)) };
}

/// Writes a line of level error, with the words of `format!`.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log::write($crate::log::Level::Error, ::core::format_args!($($message)+)) };
}
