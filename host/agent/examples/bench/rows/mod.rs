//! One function for each row of the table.

pub(crate) mod cron;
pub(crate) mod engine;
pub(crate) mod floor;
pub(crate) mod network;
pub(crate) mod overload;
pub(crate) mod process;
pub(crate) mod stream;
pub(crate) mod yardstick;
