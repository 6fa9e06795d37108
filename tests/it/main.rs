//! End-to-end tests, in one binary because each further one would link candle again.
//!
//! `cli` runs the program and compares what it prints; `tidy` holds the house rules of the source.
//! Not here: tests of a module's own claims, which stand beside its code.

#![expect(clippy::unwrap_used, reason = "a test ends where something unexpected happens")]
#![expect(clippy::needless_raw_string_hashes, reason = "snapbox writes its snapshots like this")]

mod chromium;
mod cli;
mod components;
mod datasets;
mod decoded_tokens;
mod dependencies;
mod device_counts;
mod doctor;
mod early_end;
mod examples;
mod experiments;
mod families;
#[cfg(unix)]
mod first_use;
mod fuzz;
mod golden;
mod gpu_check;
mod grade;
mod hostile_input;
mod hub;
mod identities;
mod installed;
mod lora;
mod lora_runs;
mod model_sizes;
mod optimizer_parity;
#[cfg(unix)]
mod out_files;
mod out_of_memory;
mod own_data;
mod own_data_commands;
mod page;
mod page_access;
mod page_size;
mod parity;
mod plan;
mod plan_time;
mod progress;
mod ranks;
mod recorded;
mod records;
mod replay;
mod replayed_updates;
mod report;
mod resumed;
mod rollouts;
#[path = "../runs/mod.rs"]
mod runs;
#[cfg(target_os = "linux")]
mod signals;
#[cfg(target_os = "linux")]
mod threads;
mod tidy;
mod told;
mod train;
mod trainer_golden;
mod training_parity;
mod watch;
mod wrong_family;
mod wrong_input;
