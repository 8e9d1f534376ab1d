//! The configuration as its users meet it: rules, expansion, and octets that nobody should write.
//! What files are read into and which mistakes are told is in `fixtures/config`.

mod expand;
mod listen;
mod machine;
mod maps;
mod noise;
mod observe;
mod rules;
