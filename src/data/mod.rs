//! Samples and where they come from: JSON lines and the procedurally drawn tasks.
