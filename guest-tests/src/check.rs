//! How a case says what is wrong: [`Wrong`] and [`check!`].

use alloc::string::String;
use core::fmt;

/// What a case found wrong: where, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Returns [`Wrong`] from the case unless the condition holds.
macro_rules! check {
    ($holds:expr $(, $shown:expr)* $(,)?) => {
        if !$holds {
            let shown: &[alloc::string::String] =
                &[$(alloc::format!("\n  {} = {:?}", stringify!($shown), $shown)),*];
            let text = alloc::format!("{}:{}: {}{}", file!(), line!(), stringify!($holds), shown.concat());
            return Err($crate::check::Wrong(text));
        }
    };
}

/// The value of a result or of a pattern; [`Wrong`] otherwise.
macro_rules! got {
    ($value:expr) => {
        match $value {
            Ok(value) => value,
            Err(error) => {
                let text = alloc::format!(
                    "{}:{}: {} gave {error:?}",
                    file!(),
                    line!(),
                    stringify!($value)
                );
                return Err($crate::check::Wrong(text));
            }
        }
    };
    ($value:expr, $pattern:pat => $then:expr) => {
        match $value {
            $pattern => $then,
            #[allow(unreachable_patterns, reason = "a pattern may cover everything")]
            other => {
                let text = alloc::format!(
                    "{}:{}: {} is not {} but {other:?}",
                    file!(),
                    line!(),
                    stringify!($value),
                    stringify!($pattern)
                );
                return Err($crate::check::Wrong(text));
            }
        }
    };
}

pub(crate) use {check, got};
