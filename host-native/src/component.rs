//! Components: guests that get pools and queues of the host, in [`guest`].

pub mod guest;
