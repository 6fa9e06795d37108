//! The run file: sections, defaults, overrides, validation.
