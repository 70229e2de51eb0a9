//! Rollouts, by scripts and by simulation of fleets that misbehave.
#![allow(clippy::unwrap_used, reason = "a test may stop where its script is wrong")]

mod controls;
mod devices;
mod scripts;
mod simulation;
mod specs;
mod world;
