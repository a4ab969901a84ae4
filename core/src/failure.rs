//! Why progress ended: an error, shared by all who are told.

use alloc::string::String;
use alloc::sync::Arc;
use core::error::Error;
use core::fmt;

/// Why an axis or a semaphore failed: any error, shared by all who are told.
///
/// ```
/// use strandline_core::Failure;
///
/// let lost = Failure::message("device lost");
/// assert_eq!(lost.clone().to_string(), "device lost");
/// assert_eq!(lost.as_message(), Some("device lost"));
///
/// let parse = Failure::new("x".parse::<u8>().unwrap_err());
/// assert!(parse.get_ref().downcast_ref::<std::num::ParseIntError>().is_some());
/// ```
#[derive(Clone)]
pub struct Failure(Arc<dyn Error + Send + Sync>);

impl Failure {
    /// The failure caused by `error`.
    pub fn new(error: impl Error + Send + Sync + 'static) -> Self {
        Self(Arc::new(error))
    }

    /// A failure that is described in words only.
    pub fn message(text: impl Into<String>) -> Self {
        Self(Arc::new(Message(text.into())))
    }

    /// The error itself.
    #[must_use]
    pub fn get_ref(&self) -> &(dyn Error + Send + Sync + 'static) {
        &*self.0
    }

    /// The words of a [`message`](Self::message); `None` of other errors.
    #[must_use]
    pub fn as_message(&self) -> Option<&str> {
        self.0.downcast_ref().map(|Message(text)| &text[..])
    }

    /// Whether both are one and the same failure, not merely alike.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// An error of words only.
struct Message(String);

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The same as [`Display`](fmt::Display).
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Error for Message {}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}
