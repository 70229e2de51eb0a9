//! The fleet as its users meet it; see `wasmbed_e2e` for how it is started.

mod adoption;
mod certificates;
mod control;
mod doctor;
mod examples;
mod faults;
mod features;
mod firmware;
mod forgeries;
mod messages;
mod modules;
mod mosquitto;
mod orders;
mod pins;
mod power_cuts;
mod rabbitmq;
mod ros;
mod supervision;
mod survey;
mod up;
mod vehicles;
