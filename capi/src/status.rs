//! How a call ended, and what was wrong.

use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// How a call ended. Running out of memory is no error: see strandline_outcome.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum strandline_status {
    /// Done.
    OK = 0,
    /// A pointer that is needed is null, or not aligned for its type.
    NULL = 1,
    /// The handle was never handed out, or was given back already.
    UNKNOWN_HANDLE = 2,
    /// The reservation is of another pool. It stays reserved.
    OTHER_POOL = 3,
    /// An argument that cannot be meant; strandline_message says which.
    INVALID = 4,
    /// More bytes than the pool can ever serve.
    TOO_LARGE = 5,
    /// What provides slabs has failed; strandline_message says how.
    PROVIDER = 6,
    /// It is in use: a pool has live reservations. Nothing was changed.
    IN_USE = 7,
    /// The caller's buffer is too small; the count says how much is needed. Nothing was changed.
    BUFFER_TOO_SMALL = 8,
    /// The time was up first.
    TIMED_OUT = 9,
    /// What is waited for has failed or was retired, and will not be reached.
    ENDED = 10,
    /// As many as there is room for.
    FULL = 11,
    /// A fault of this library. What the call was about may be lost.
    INTERNAL = 12,
}

/// What was wrong.
#[derive(Debug)]
pub(crate) struct Fault(pub(crate) strandline_status, pub(crate) String);

impl Fault {
    pub(crate) fn new(status: strandline_status, what: impl Display) -> Self {
        Self(status, what.to_string())
    }
}

thread_local! {
    static MESSAGE: RefCell<Option<CString>> = const { RefCell::new(None) };
}

/// Runs a call: keeps the text of its fault for `strandline_message`, and lets nothing unwind.
#[inline]
pub(crate) fn guard(work: impl FnOnce() -> Result<(), Fault>) -> strandline_status {
    // What a panic leaves half done is behind locks that say so, or is never looked at again.
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(())) => strandline_status::OK,
        Ok(Err(fault)) => keep(fault),
        Err(_) => keep(Fault::new(strandline_status::INTERNAL, "a panic: a fault of strandline")),
    }
}

#[cold]
fn keep(Fault(status, mut what): Fault) -> strandline_status {
    what.retain(|letter| letter != '\0');
    let text = CString::new(what).unwrap_or_default();
    // A thread that ends has no message any more.
    let _ = MESSAGE.try_with(|message| message.replace(Some(text)));
    status
}

/// What was wrong with the last call on this thread that did not end with OK, in English. Never null; empty before there was one.
/// The text stays until such a call happens again on this thread. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn strandline_message() -> *const c_char {
    let text = |message: &RefCell<Option<CString>>| {
        message.borrow().as_ref().map_or(c"".as_ptr(), |text| text.as_ptr())
    };
    MESSAGE.try_with(text).unwrap_or(c"".as_ptr())
}

/// What a pointer points to, if it may be looked at.
///
/// # Safety
/// It is null, or points to a `T` that nobody changes during the call.
#[inline]
pub(crate) unsafe fn input<'a, T>(pointer: *const T, name: &str) -> Result<&'a T, Fault> {
    check(pointer, name)?;
    // SAFETY: it is neither null nor misaligned, and the caller vouches for the rest.
    Ok(unsafe { &*pointer })
}

/// `count` values that a pointer points to; any pointer will do for none.
///
/// # Safety
/// It is null, or points to that many `T`s that nobody changes during the call.
#[inline]
pub(crate) unsafe fn inputs<'a, T>(
    pointer: *const T,
    count: usize,
    name: &str,
) -> Result<&'a [T], Fault> {
    if count == 0 {
        return Ok(&[]);
    }
    check(pointer, name)?;
    if count > isize::MAX as usize / size_of::<T>().max(1) {
        return Err(Fault::new(strandline_status::INVALID, format_args!("{count} {name}")));
    }
    // SAFETY: it is neither null nor misaligned, no object is larger than that, and the caller vouches for the rest.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// Where an answer goes.
pub(crate) struct Output<T>(*mut T);

impl<T> Output<T> {
    /// # Safety
    /// It is null, or a `T` may be written there during the call.
    #[inline]
    pub(crate) unsafe fn new(pointer: *mut T, name: &str) -> Result<Self, Fault> {
        check(pointer, name)?;
        Ok(Self(pointer))
    }

    /// Writes the answer.
    #[inline]
    pub(crate) fn set(&self, value: T) {
        // SAFETY: checked in `new`, where the caller vouched for the rest.
        unsafe { self.0.write(value) }
    }
}

#[inline]
fn check<T>(pointer: *const T, name: &str) -> Result<(), Fault> {
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(unusable(pointer.is_null(), name));
    }
    Ok(())
}

#[cold]
fn unusable(null: bool, name: &str) -> Fault {
    let how = if null { "null" } else { "not aligned for its type" };
    Fault::new(strandline_status::NULL, format_args!("{name} is {how}"))
}
