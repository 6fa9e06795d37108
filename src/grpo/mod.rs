//! The paper's equations, one file each.
