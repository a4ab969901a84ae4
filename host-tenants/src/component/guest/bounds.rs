//! What a component may ask of the compiler: [`CompileLimits`], and what is told of one that asks for more.
//!
//! All of it is counted before the compiler starts, in time proportional to the component's bytes; see
//! [`judge`](super::judge). What takes the compiler long within these limits is a matter for a process that can be ended:
//! [`CompileProcess`](super::CompileProcess).

use core::fmt;

/// Makes the fields, their defaults and their names of one list.
macro_rules! limits {
    ($($(#[doc = $doc:literal])* $name:ident: $default:expr, $what:literal;)*) => {
        /// What a component may ask of the compiler; see [`GuestHost::compile`](super::GuestHost::compile). Real guests keep far
        /// below the defaults.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct CompileLimits {
            $($(#[doc = $doc])* pub $name: u64,)*
        }

        impl Default for CompileLimits {
            fn default() -> Self {
                Self { $($name: $default,)* }
            }
        }

        impl CompileLimits {
            /// The names of all limits, as [`set`](Self::set) takes them.
            pub const NAMES: &[&str] = &[$(stringify!($name),)*];

            /// A limit by its name.
            #[must_use]
            pub fn get(&self, name: &str) -> Option<u64> {
                match name {
                    $(stringify!($name) => Some(self.$name),)*
                    _ => None,
                }
            }

            /// Sets a limit by its name; whether there is one of that name.
            #[must_use]
            pub fn set(&mut self, name: &str, value: u64) -> bool {
                match name {
                    $(stringify!($name) => self.$name = value,)*
                    _ => return false,
                }
                true
            }
        }

        /// What was counted so far, under the limits' names.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub(super) struct Counts {
            $(pub(super) $name: u64,)*
        }

        impl Counts {
            /// # Errors
            /// The first that is above its limit.
            pub(super) fn check(&self, limits: &CompileLimits) -> Result<(), LimitExceeded> {
                $(if self.$name > limits.$name {
                    return Err(LimitExceeded {
                        setting: stringify!($name),
                        what: $what,
                        limit: limits.$name,
                        found: self.$name,
                    });
                })*
                Ok(())
            }
        }
    };
}

limits! {
    /// Bytes of the component. The default is 32 MiB.
    bytes: 32 << 20, "bytes of the component";
    /// Components, modules and types within each other. The default is 16.
    depth: 16, "levels of nesting";
    /// Bytes of one section of types of components. The default is 256 KiB.
    type_bytes: 256 << 10, "bytes of a section of types";
    /// Types of components and of instances that are written within such types, of one section. Counted by their marks before the
    /// section is parsed, so that a name may count as one. The default is 1,000.
    nested_types: 1_000, "types within types";
    /// Instances, of components and of modules, that instantiating the component makes: one that is defined once and
    /// instantiated twice, within one that is instantiated twice, counts four times. The default is 1,000.
    instances: 1_000, "instances";
    /// Items (types, imports, exports, aliases, functions) of all those instances, each as large as its type with all that
    /// is within it. The default is 1,000,000.
    items: 1_000_000, "items and parts of their types, over all instances";
    /// Modules that are defined. The default is 256.
    modules: 256, "modules";
    /// Imports and exports of all modules. The default is 50,000.
    externs: 50_000, "imports and exports of modules";
    /// Functions of all modules. The default is 100,000.
    functions: 100_000, "functions";
    /// Types, globals and tags of all modules. The default is 100,000.
    declarations: 100_000, "types, globals and tags of modules";
    /// Parameters and results of one type of function. The default is 128.
    arity: 128, "parameters and results of a function";
    /// Bytes of code. The default is 16 MiB.
    code_bytes: 16 << 20, "bytes of code";
    /// Bytes of one function. The default is 512 KiB.
    function_bytes: 512 << 10, "bytes of one function";
    /// Local variables of one function, its parameters not counted. The default is 8,192.
    locals: 8_192, "local variables of one function";
    /// Local variables of all functions. The default is 2,000,000.
    all_locals: 2_000_000, "local variables";
    /// Blocks within each other, of one function. The default is 2,048.
    blocks: 2_048, "blocks within each other";
    /// Loops within each other, of one function. The default is 64.
    loops: 64, "loops within each other";
    /// The product of a function's loops and local variables. The default is 4,000,000.
    loop_locals: 4_000_000, "loops times local variables of one function";
    /// Targets of all branch tables, each with the values that it may carry. The default is 500,000.
    targets: 500_000, "targets of branch tables";
    /// Segments of data and elements. The default is 50,000.
    segments: 50_000, "segments of data and elements";
    /// Memories of all modules. The default is 64.
    memories: 64, "memories";
    /// Tables of all modules. The default is 64.
    tables: 64, "tables";
    /// Elements that all tables begin with, and those of segments. The default is 1,000,000.
    table_elements: 1_000_000, "elements of tables";
}

/// Why a component is not compiled: it asks for more than a [limit](CompileLimits) allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitExceeded {
    /// The field of [`CompileLimits`].
    pub setting: &'static str,
    /// What it counts.
    pub what: &'static str,
    /// Its value.
    pub limit: u64,
    /// What was counted, up to where counting stopped.
    pub found: u64,
}

impl fmt::Display for LimitExceeded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { setting, what, limit, found } = self;
        if *found == u64::MAX {
            f.write_str("more than can be counted")?;
        } else {
            write!(f, "at least {found}")?;
        }
        write!(f, " {what}; the limit is {limit} (compile limit `{setting}`)")
    }
}

impl core::error::Error for LimitExceeded {}
