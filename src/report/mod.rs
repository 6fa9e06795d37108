//! What runs have recorded, as a page and as charts for people.
//!
//! Reading order: a run's records ([`recorded_run`]), runs of one configuration under several seeds
//! ([`seeds`]), curves over updates ([`curves`]) made smooth ([`smooth`]) and drawn ([`chart`]); what is shown of them
//! ([`cards`], [`tables`], [`summary`]); rollouts and their pictures ([`rollouts`], [`pictures`]); the page in a file ([`page`],
//! [`packed`]) and the same page while a run goes on ([`live`], [`loopback`]).
//! Not here: what is recorded while a run goes on, TensorBoard's files included (`run_folder`); flags (`cli`).

pub mod error;

pub mod recorded_run;

pub mod seeds;

pub mod smooth;

mod axes;
pub mod chart;
mod drawing;

pub mod curves;

pub mod cards;

pub mod tables;

pub mod summary;

pub mod rollouts;

pub mod pictures;

pub mod packed;

pub mod page;

pub mod live;
pub mod loopback;
