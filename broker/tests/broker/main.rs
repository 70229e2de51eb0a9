//! The broker from outside, in one program: each more would be linked with the whole of it.
//!
//! Not here: a crowd of clients, which is in a process of its own for the connections that it holds.

mod common;

mod admission;
mod clients;
mod hostile;
mod messages;
mod process;
mod retained;
mod sessions;
mod shares;
mod tls;
mod websocket;
