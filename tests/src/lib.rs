//! Helpers of the tests.

#![forbid(unsafe_code)]
