//! Mail data.
