//! What runs have recorded, as a page and as charts for people.
//!
//! Reading order: a run's records ([`recorded_run`]), runs of one configuration under several seeds
//! ([`seeds`]), curves over updates ([`curves`]) made smooth ([`smooth`]) and drawn ([`chart`]),
//! completions worth reading ([`cases`]), and the page with its tables ([`page`], [`tables`]).
//! Not here: what is recorded while a run goes on, TensorBoard's files included (`run_folder`); flags (`cli`).

pub mod error;

pub mod recorded_run;

pub mod seeds;

pub mod smooth;

pub mod chart;
mod drawing;

pub mod curves;

pub mod cases;

pub mod tables;

pub mod page;
