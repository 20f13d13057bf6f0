//! The program and its configuration: one file a subject.

mod cli_common;

mod admin;
mod check;
mod config_files;
mod config_mistakes;
mod drain;
mod serve;
