//! What a step of decoding launches: kernels that read and write arrays which are there for the whole run, so that a step
//! allocates nothing, uploads nothing and waits for nothing.
//! Not here: which step is made when, and the arrays.

mod attention;
mod graph;
mod product;
mod ring;
mod sample;
mod state;

pub use attention::{HeadShape, KeptTokens, NewestTokens, decode_attention};
pub use graph::Graph;
pub use product::{Finish, RowMap, Workspace, row_product};
pub use ring::TokenRing;
pub use sample::{DeviceSampler, Drawing, DrawnToken};
pub use state::RowStates;
