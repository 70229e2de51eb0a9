//! The host role from outside: a real broker, real processes, boards played by the test.

mod adoption;
mod board;
mod bridge;
mod broker;
mod chip;
mod flash;
mod orders;
mod processes;
mod watchdog;
mod world;
