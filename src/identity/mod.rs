//! Who is calling: what a client certificate says, judged for every request.
//!
//! [`Caller`]s are made here and nowhere else.

mod caller;

pub use caller::Caller;
